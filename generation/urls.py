"""Pages and files of the generation app."""

from django.urls import path

from generation.views import coverage, files, planning, runs

urlpatterns = [
    path("files/<slug:kind>/<int:pk>/", files.picture, name="file"),
    path("files/<str:token>", files.opened, name="opened_file"),
    path("brands/<slug:brand>/campaigns/<slug:slug>/", coverage.campaign, name="campaign"),
    path("brands/<slug:brand>/campaigns/<slug:slug>/runs/new/", planning.new, name="run_new"),
    path("brands/<slug:brand>/campaigns/<slug:slug>/runs/preview/", planning.preview, name="run_preview"),
    path("brands/<slug:brand>/runs/<int:run_id>/", runs.detail, name="run"),
    path("brands/<slug:brand>/runs/<int:run_id>/live/", runs.live, name="run_live"),
    path("brands/<slug:brand>/runs/<int:run_id>/rows/", runs.rows, name="run_rows"),
    path("brands/<slug:brand>/runs/<int:run_id>/<slug:verb>/", runs.act, name="run_act"),
]
