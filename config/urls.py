"""All addresses of the site."""

from django.contrib import admin
from django.contrib.auth.decorators import login_required
from django.http import Http404
from django.urls import include, path, re_path

from config.errors import page_not_found
from core.accounts import VerifiedEmailView

handler400 = "config.errors.bad_request"
handler403 = "config.errors.permission_denied"
handler404 = "config.errors.page_not_found"
handler500 = "config.errors.server_error"

urlpatterns = [
    # Django's links from the admin to a row's page. No model here has one, and a model without a table would fail.
    re_path(r"^admin/r/", page_not_found, {"exception": Http404()}),
    path("admin/", admin.site.urls),
    path("accounts/email/", login_required(VerifiedEmailView.as_view()), name="account_email"),
    path("accounts/", include("allauth.account.urls")),
    path("api/v1/", include("config.api")),
    path("", include("core.urls")),
    path("", include("campaigns.urls")),
    path("", include("generation.urls")),
    path("", include("review.urls")),
]
