"""Pages of the review app."""

from django.urls import path

from review.views import cells, deliveries, home, library, prompt_versions, reports, room

urlpatterns = [
    path("", home.entry, name="home"),
    path("brands/<slug:brand>/", home.home, name="brand_home"),
    path("brands/<slug:brand>/prompts/<slug:slug>/compare/", prompt_versions.compare, name="prompt_compare"),
    path("brands/<slug:brand>/library/", library.index, name="library"),
    path("brands/<slug:brand>/library/approved.zip", library.approved, name="approved_zip"),
    path("brands/<slug:brand>/assets/<int:asset_id>/", library.asset, name="asset"),
    path("brands/<slug:brand>/assets/<int:asset_id>/<slug:verb>/", library.judge_again, name="asset_act"),
    path("brands/<slug:brand>/tasks/<int:task_id>/<slug:verb>/", library.settle, name="task_settle"),
    path("brands/<slug:brand>/runs/<int:run_id>/cells/<int:cell_id>/", cells.detail, name="run_cell"),
    path("brands/<slug:brand>/reports/runs/<int:run_id>/", reports.run, name="run_report"),
    path("brands/<slug:brand>/reports/campaigns/<slug:slug>/", reports.campaign, name="campaign_report"),
    path("brands/<slug:brand>/deliveries/", deliveries.index, name="deliveries"),
    path("brands/<slug:brand>/deliveries/stale/", deliveries.stale_use, name="stale_use"),
    path("brands/<slug:brand>/review/", room.door, name="review"),
    path("brands/<slug:brand>/review/room/", room.page, name="room"),
    path("brands/<slug:brand>/review/more/", room.more, name="review_more"),
    path("brands/<slug:brand>/review/leave/", room.leave, name="review_leave"),
    path("brands/<slug:brand>/review/tasks/<int:task_id>/rail/", room.rail, name="task_rail"),
    path("brands/<slug:brand>/review/tasks/<int:task_id>/approve/", room.approve, name="task_approve"),
    path("brands/<slug:brand>/review/tasks/<int:task_id>/reject/", room.reject, name="task_reject"),
    path("brands/<slug:brand>/review/tasks/<int:task_id>/revise/", room.revise, name="task_revise"),
    path("brands/<slug:brand>/review/tasks/<int:task_id>/skip/", room.skip, name="task_skip"),
    path("brands/<slug:brand>/review/decisions/<int:decision_id>/undo/", room.undo, name="decision_undo"),
]
