"""Django's admin site for operators: only for superusers, with the normal sign-in page."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.admin import AdminSite
from django.contrib.admin.apps import AdminConfig
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import resolve_url
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from core.errors import NotAllowed


class OperatorSite(AdminSite):
    site_title = "Proofline"
    site_header = "Proofline"
    index_title = gettext_lazy("Administration")
    enable_nav_sidebar = False

    def has_permission(self, request: HttpRequest) -> bool:
        """Return True for active superusers. Other staff use the normal pages, which check their roles."""
        return request.user.is_active and request.user.is_superuser

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """Return the apps, with a readable name for knox."""
        apps = super().get_app_list(request, app_label)
        for app in apps:
            app["name"] = _("API access") if app["app_label"] == "knox" else app["name"]
        return apps

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Redirect to the sign-in page, which limits guesses. Raises NotAllowed for a signed-in non-superuser."""
        next_url = request.GET.get("next") or request.path.removesuffix("login/")
        if not request.user.is_authenticated:
            return HttpResponseRedirect(f"{resolve_url(settings.LOGIN_URL)}?{urlencode({'next': next_url})}")
        if not self.has_permission(request):
            raise NotAllowed(_("Administration is for operators (superusers); what your role allows is on the pages."))
        return super().login(request, extra_context)


class OperatorAdminConfig(AdminConfig):
    default_site = "config.operators.OperatorSite"
