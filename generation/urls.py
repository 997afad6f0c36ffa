"""Pages and files of the generation app."""

from django.urls import path

from generation.views import coverage, files, planning, prompt_editor, runs, standing, studio, webhooks, workflows

urlpatterns = [
    path("files/<slug:kind>/<int:pk>/", files.picture, name="file"),
    path("files/<str:token>", files.opened, name="opened_file"),
    path("hooks/replicate/<slug:endpoint>/<uuid:marker>", webhooks.replicate, name="replicate_hook"),
    path("brands/<slug:brand>/campaigns/<slug:slug>/", coverage.campaign, name="campaign"),
    path("brands/<slug:brand>/campaigns/<slug:slug>/runs/new/", planning.new, name="run_new"),
    path("brands/<slug:brand>/campaigns/<slug:slug>/runs/preview/", planning.preview, name="run_preview"),
    path("brands/<slug:brand>/campaigns/<slug:slug>/runs/axes/", planning.axes, name="run_axes"),
    path("brands/<slug:brand>/campaigns/<slug:slug>/runs/new/outputs/", planning.outputs, name="run_outputs"),
    path("brands/<slug:brand>/campaigns/<slug:slug>/standing/", standing.index, name="standing"),
    path("brands/<slug:brand>/campaigns/<slug:slug>/standing/<int:pk>/", standing.edit, name="standing_edit"),
    path("brands/<slug:brand>/campaigns/<slug:slug>/standing/<int:pk>/<slug:verb>/", standing.act, name="standing_act"),
    path("brands/<slug:brand>/prompts/<slug:slug>/", prompt_editor.editor, name="prompt"),
    path("brands/<slug:brand>/prompts/<slug:slug>/v<int:number>/", prompt_editor.editor, name="prompt_version"),
    path("brands/<slug:brand>/prompts/<slug:slug>/preview/", prompt_editor.preview, name="prompt_preview"),
    path("brands/<slug:brand>/prompts/<slug:slug>/engine/", prompt_editor.engine_part, name="prompt_engine"),
    path("brands/<slug:brand>/prompts/<slug:slug>/try/", prompt_editor.try_out, name="prompt_try"),
    path("brands/<slug:brand>/prompts/<slug:slug>/subjects/", prompt_editor.subjects, name="prompt_subjects"),
    path(
        "brands/<slug:brand>/prompts/<slug:slug>/v<int:number>/pictures/",
        prompt_editor.pictures,
        name="prompt_pictures",
    ),
    path("brands/<slug:brand>/studio/", studio.page, name="studio"),
    path("brands/<slug:brand>/studio/make/", studio.make, name="studio_make"),
    path("brands/<slug:brand>/studio/engine/", studio.engine_part, name="studio_engine"),
    path("brands/<slug:brand>/studio/history/", studio.history, name="studio_history"),
    path("brands/<slug:brand>/studio/pictures/", studio.add_picture, name="studio_picture"),
    path("brands/<slug:brand>/studio/products/", studio.products, name="studio_products"),
    path("brands/<slug:brand>/studio/<int:run_id>/", studio.look, name="studio_look"),
    path("brands/<slug:brand>/studio/<int:run_id>/cancel/", studio.cancel, name="studio_cancel"),
    path("brands/<slug:brand>/studio/<int:run_id>/again/", studio.again, name="studio_again"),
    path("brands/<slug:brand>/studio/<int:run_id>/keep/", studio.keep, name="studio_keep"),
    path("brands/<slug:brand>/endpoints/<slug:slug>/workflow/", workflows.page, name="workflow"),
    path("brands/<slug:brand>/runs/<int:run_id>/", runs.detail, name="run"),
    path("brands/<slug:brand>/runs/<int:run_id>/live/", runs.live, name="run_live"),
    path("brands/<slug:brand>/runs/<int:run_id>/rows/", runs.rows, name="run_rows"),
    path("brands/<slug:brand>/runs/<int:run_id>/schedule/", planning.schedule, name="run_schedule"),
    path("brands/<slug:brand>/runs/<int:run_id>/compare/<int:other_id>/", planning.compare, name="run_compare"),
    path("brands/<slug:brand>/runs/<int:run_id>/<slug:verb>/", runs.act, name="run_act"),
]
