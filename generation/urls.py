"""Pages and files of the generation app."""

from django.urls import path

from generation.views import files

urlpatterns = [
    path("files/<slug:kind>/<int:pk>/", files.picture, name="file"),
    path("files/<str:token>", files.opened, name="opened_file"),
]
