"""API views of tokens, brands and the audit trail, and the OpenAPI document with the page that shows it."""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import get_adapter
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import StreamingHttpResponse
from django.utils.translation import gettext as _
from drf_spectacular.authentication import BasicScheme
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework import serializers
from rest_framework.authentication import BasicAuthentication
from rest_framework.exceptions import AuthenticationFailed, Throttled
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core import access, storable
from core.access import Action
from core.api.conventions import (
    BrandRowsViewSet,
    ensure_match,
    get_brand,
    get_caller,
    read_whole_number,
    response_with_etag,
)
from core.models import Brand, User
from core.services import audit, brands, tokens

BRAND = OpenApiParameter("brand", str, required=True, description="The brand's slug.")
SINCE = OpenApiParameter("since", int, description="The `next` of the previous response; 0 for the whole trail.")


class Password(BasicAuthentication):
    """Basic authentication by user name and password, with the rate limits of the sign-in page."""

    def authenticate_credentials(self, userid: str, password: str, request: Any = None) -> tuple[User, None]:
        if storable.text_problem(userid) or storable.text_problem(password):
            raise AuthenticationFailed(_("User name or password is wrong."))
        try:
            user = get_adapter().authenticate(request, username=userid, password=password)
        except ValidationError as error:
            raise Throttled(wait=getattr(error, "wait_seconds", None), detail="; ".join(error.messages)) from None
        if not isinstance(user, User) or not user.is_active:
            raise AuthenticationFailed(_("User name or password is wrong."))
        return user, None


class PasswordInSchema(BasicScheme):
    """Describes `Password` as basic authentication in the schema."""

    target_class = "core.api.views.Password"


class TokenView(APIView):
    """Exchange user name and password for a token: `curl -u name:password -X POST …/tokens/`."""

    authentication_classes = [Password]

    @extend_schema(request=None, responses={201: {"type": "object", "properties": {"token": {"type": "string"}}}})
    def post(self, request: Request) -> Response:
        token = tokens.create(user=get_caller(request))
        return Response({"token": token, "use": "Authorization: Token <token>"}, status=201)


class BrandSerializer(serializers.ModelSerializer[Brand]):
    class Meta:
        model = Brand
        fields = ["id", "slug", "name", "currency", "stale_use", "banned_words"]
        read_only_fields = ["id", "slug", "name", "currency"]


class BrandViewSet(BrandRowsViewSet[Brand]):
    """The brands in which you have a role."""

    serializer_class = BrandSerializer
    lookup_field = "slug"
    queryset = Brand.objects.all()

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return response_with_etag(self.get_serializer(self.get_object()).data)

    def partial_update(self, request: Request, slug: str) -> Response:
        """Set what happens to published images that go stale ("keep" or "withdraw"), and what banned words in a
        prompt cause ("warn" or "block"). Needs If-Match."""
        current = self.get_object()
        serializer = self.get_serializer(current, data=request.data, partial=True)
        serializer.is_valid(raise_exception=True)
        with transaction.atomic():
            locked = Brand.objects.select_for_update().get(pk=current.pk)
            ensure_match(request, self.get_serializer(locked).data)
            locked = brands.change(brand_id=locked.pk, by=get_caller(request), **serializer.validated_data)
        return response_with_etag(self.get_serializer(locked).data)


class AuditView(APIView):
    """The brand's sealed audit trail as JSON lines. Each line has the hash that links it to the previous one."""

    @extend_schema(parameters=[BRAND, SINCE], responses={(200, "application/jsonl"): OpenApiTypes.STR})
    def get(self, request: Request) -> StreamingHttpResponse:
        brand = get_brand(request)
        access.require(get_caller(request), Action.READ_AUDIT, brand)
        lines = audit.export(brand, since=read_whole_number(request, "since", 0, most=10**18))
        return StreamingHttpResponse((f"{line}\n" for line in lines), content_type="application/jsonl")


class SchemaView(SpectacularAPIView):
    """The OpenAPI document. There is one version, so `?version=` is ignored; it would end up in a header."""

    def _get_version_parameter(self, request: Request) -> None:
        return None


class DocsView(SpectacularSwaggerSplitView):
    """Swagger UI with its script at a separate address: our content security policy forbids inline scripts."""
