"""Pages of products, articles and concepts, their photos and cut-outs."""

from django.urls import path

from campaigns.views import imports, photos, subjects

urlpatterns = [
    path("products/", subjects.index, name="products"),
    path("products/new/", subjects.new, name="subjects_new"),
    path("products/photos/", imports.add_photos, name="photos"),
    path("products/<int:pk>/", subjects.detail, name="product"),
    path("products/<int:pk>/edit/", subjects.edit, name="subject_edit"),
    path("products/<int:pk>/retire/", subjects.switch, {"verb": "retire"}, name="subject_retire"),
    path("products/<int:pk>/return/", subjects.switch, {"verb": "return"}, name="subject_return"),
    path("products/<int:pk>/photo/", photos.add, name="add_photo"),
    path("photos/<int:photo_id>/", photos.change, name="photo_change"),
    path("photos/<int:photo_id>/move/", photos.move, name="photo_move"),
    path("photos/<int:photo_id>/remove/", photos.switch, {"verb": "remove"}, name="photo_remove"),
    path("photos/<int:photo_id>/restore/", photos.switch, {"verb": "restore"}, name="photo_restore"),
    path("photos/<int:photo_id>/cutout/", photos.repair_cutout, name="cutout"),
    path("cutouts/", photos.cutout_sheet, name="cutouts"),
    path("cutouts/undo/", photos.undo_cutouts, name="cutouts_undo"),
    path("cutouts/accept/", photos.decide_cutouts, {"decision": "accept"}, name="cutouts_accept"),
    path("cutouts/refuse/", photos.decide_cutouts, {"decision": "refuse"}, name="cutouts_refuse"),
]
