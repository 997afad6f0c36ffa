"""Django's admin as the operators' desk: superusers only, through the one sign-in page that there is.

What stands on the desk is declared in each app's admin.py.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.admin import AdminSite
from django.contrib.admin.apps import AdminConfig
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import resolve_url
from django.utils.http import urlencode

from core.errors import NotAllowed


class OperatorSite(AdminSite):
    site_title = "Proofline"
    site_header = "Proofline"
    index_title = "Administration"
    enable_nav_sidebar = False

    def has_permission(self, request: HttpRequest) -> bool:
        """Staff who are no superusers work on the pages, where their roles count; here no role is asked."""
        return request.user.is_active and request.user.is_superuser

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """The apps as they are called here, not by their package."""
        found = super().get_app_list(request, app_label)
        for app in found:
            app["name"] = "API access" if app["app_label"] == "knox" else app["name"]
        return found

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Leave signing in to the page that limits guesses; who is signed in and may not come here is told so."""
        wanted = request.GET.get("next") or request.path.removesuffix("login/")
        if not request.user.is_authenticated:
            return HttpResponseRedirect(f"{resolve_url(settings.LOGIN_URL)}?{urlencode({'next': wanted})}")
        if not self.has_permission(request):
            raise NotAllowed("Administration is for operators (superusers); what your role allows is on the pages.")
        return super().login(request, extra_context)


class OperatorAdminConfig(AdminConfig):
    default_site = "config.operators.OperatorSite"
