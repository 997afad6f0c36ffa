"""Every address of the site."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("accounts/", include("allauth.account.urls")),
    path("api/v1/", include("config.api")),
    path("", include("campaigns.urls")),
    path("", include("generation.urls")),
    path("", include("review.urls")),
]
