"""The API's OpenAPI document and the page that shows it."""

from __future__ import annotations

from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.request import Request


class SchemaView(SpectacularAPIView):
    """The OpenAPI document. There is one version, so `?version=` is ignored; it would end up in a header."""

    def _get_version_parameter(self, request: Request) -> None:
        return None


class DocsView(SpectacularSwaggerSplitView):
    """Swagger UI with its script at a separate address: our content security policy forbids inline scripts."""
