"""Pages of the campaigns app."""

from django.urls import path

from campaigns.views import audit, campaigns, imports, palette, prompts, subjects

urlpatterns = [
    path("brands/<slug:brand>/campaigns/", campaigns.index, name="campaigns"),
    path("brands/<slug:brand>/campaigns/new/", campaigns.new, name="campaign_new"),
    path("brands/<slug:brand>/campaigns/<slug:slug>/brief/", campaigns.edit, name="campaign_edit"),
    path("brands/<slug:brand>/campaigns/<slug:slug>/specs/", campaigns.specs, name="campaign_specs"),
    path("brands/<slug:brand>/campaigns/<slug:slug>/subjects/", campaigns.add_subjects, name="campaign_subjects"),
    path("brands/<slug:brand>/products/", subjects.index, name="products"),
    path("brands/<slug:brand>/products/<int:pk>/", subjects.detail, name="product"),
    path("brands/<slug:brand>/products/photos/", subjects.photos, name="photos"),
    path("brands/<slug:brand>/products/<int:pk>/photo/", subjects.add_photo, name="add_photo"),
    path(
        "brands/<slug:brand>/products/<int:pk>/cutouts/<int:cutout_id>/", subjects.accept_cutout, name="accept_cutout"
    ),
    path("brands/<slug:brand>/import/", imports.offer, name="import"),
    path("brands/<slug:brand>/import/<int:import_id>/", imports.detail, name="import_detail"),
    path("brands/<slug:brand>/import/<int:import_id>/mistakes.csv", imports.errors, name="import_errors"),
    path("brands/<slug:brand>/prompts/", prompts.index, name="prompts"),
    path("brands/<slug:brand>/prompts/<slug:slug>/", prompts.editor, name="prompt"),
    path("brands/<slug:brand>/prompts/<slug:slug>/preview/", prompts.preview, name="prompt_preview"),
    path("brands/<slug:brand>/prompts/<slug:slug>/v<int:number>/", prompts.editor, name="prompt_version"),
    path("brands/<slug:brand>/prompts/<slug:slug>/v<int:number>/approve/", prompts.approve, name="prompt_approve"),
    path("brands/<slug:brand>/audit/", audit.index, name="audit"),
    path("brands/<slug:brand>/audit/verify/", audit.verify, name="audit_verify"),
    path("brands/<slug:brand>/audit/export.jsonl", audit.export, name="audit_export"),
    path("brands/<slug:brand>/palette/", palette.search, name="palette"),
]
