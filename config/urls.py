"""Every address of the site."""

from django.contrib import admin
from django.contrib.auth.decorators import login_required
from django.urls import include, path

from config.accounts import ProvedEmailView

handler400 = "config.errors.bad_request"
handler403 = "config.errors.permission_denied"
handler404 = "config.errors.page_not_found"
handler500 = "config.errors.server_error"

urlpatterns = [
    path("admin/", admin.site.urls),
    path("accounts/email/", login_required(ProvedEmailView.as_view()), name="account_email"),
    path("accounts/", include("allauth.account.urls")),
    path("api/v1/", include("config.api")),
    path("", include("campaigns.urls")),
    path("", include("generation.urls")),
    path("", include("review.urls")),
]
