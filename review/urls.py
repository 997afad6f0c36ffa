"""Pages of the review app."""

from django.urls import path

from review.views import (
    deliveries,
    delivery_detail,
    destinations,
    home,
    library,
    prompt_versions,
    reports,
    workspace,
)

urlpatterns = [
    path("", home.entry, name="home"),
    path("brands/<slug:brand>/", home.home, name="brand_home"),
    path("brands/<slug:brand>/prompts/<slug:slug>/compare/", prompt_versions.compare, name="prompt_compare"),
    path("brands/<slug:brand>/library/", library.index, name="library"),
    path("brands/<slug:brand>/library/approved.zip", library.download_approved, name="approved_zip"),
    path("brands/<slug:brand>/assets/<int:asset_id>/", library.asset, name="asset"),
    path("brands/<slug:brand>/assets/<int:asset_id>/<slug:verb>/", library.revoke_or_reopen, name="asset_act"),
    path("brands/<slug:brand>/tasks/<int:task_id>/<slug:verb>/", library.settle_escalation, name="task_settle"),
    path("brands/<slug:brand>/runs/<int:run_id>/cells/<int:cell_id>/", library.cell, name="run_cell"),
    path("brands/<slug:brand>/reports/runs/<int:run_id>/", reports.run, name="run_report"),
    path("brands/<slug:brand>/reports/campaigns/<slug:slug>/", reports.campaign, name="campaign_report"),
    path("brands/<slug:brand>/deliveries/", deliveries.index, name="deliveries"),
    path("brands/<slug:brand>/deliveries/act/", deliveries.act, name="deliveries_act"),
    path("brands/<slug:brand>/deliveries/stale/", deliveries.set_stale_use, name="stale_use"),
    path("brands/<slug:brand>/deliveries/<int:delivery_id>/", delivery_detail.detail, name="delivery"),
    path("brands/<slug:brand>/deliveries/<int:delivery_id>/alt/", delivery_detail.set_alt_text, name="delivery_alt"),
    path(
        "brands/<slug:brand>/deliveries/<int:delivery_id>/product/",
        delivery_detail.choose_product,
        name="delivery_product",
    ),
    path("brands/<slug:brand>/destinations/", destinations.index, name="destinations"),
    path("brands/<slug:brand>/destinations/new/", destinations.kinds, name="destination_kinds"),
    path("brands/<slug:brand>/destinations/new/<slug:kind>/", destinations.new, name="destination_new"),
    path("brands/<slug:brand>/destinations/<int:pk>/", destinations.detail, name="destination"),
    path("brands/<slug:brand>/destinations/<int:pk>/test/", destinations.test_connection, name="destination_test"),
    path("brands/<slug:brand>/destinations/<int:pk>/plan/", destinations.plan, name="destination_plan"),
    path("brands/<slug:brand>/destinations/<int:pk>/rules/", destinations.rules, name="destination_rules"),
    path(
        "brands/<slug:brand>/destinations/<int:pk>/update/<slug:kind>/", destinations.update, name="destination_update"
    ),
    path("brands/<slug:brand>/destinations/<int:pk>/<slug:verb>/", destinations.switch, name="destination_switch"),
    path("brands/<slug:brand>/review/", workspace.queue_page, name="review"),
    path("brands/<slug:brand>/review/room/", workspace.page, name="workspace"),
    path("brands/<slug:brand>/review/more/", workspace.more, name="review_more"),
    path("brands/<slug:brand>/review/leave/", workspace.leave, name="review_leave"),
    path("brands/<slug:brand>/review/tasks/<int:task_id>/rail/", workspace.sidebar, name="task_sidebar"),
    path("brands/<slug:brand>/review/tasks/<int:task_id>/approve/", workspace.approve, name="task_approve"),
    path("brands/<slug:brand>/review/tasks/<int:task_id>/reject/", workspace.reject, name="task_reject"),
    path("brands/<slug:brand>/review/tasks/<int:task_id>/revise/", workspace.revise, name="task_revise"),
    path("brands/<slug:brand>/review/tasks/<int:task_id>/skip/", workspace.skip, name="task_skip"),
    path("brands/<slug:brand>/review/decisions/<int:decision_id>/undo/", workspace.undo, name="decision_undo"),
]
