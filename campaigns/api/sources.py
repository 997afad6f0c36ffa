"""API views of feed sources. Rows that are pushed as JSON or JSON lines are imported like a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.urls import reverse
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, OpenApiTypes, extend_schema
from rest_framework import serializers as fields
from rest_framework.decorators import action
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from campaigns.api import serializers
from campaigns.choices import SourceKind, SubjectKind
from campaigns.models import FeedSource
from campaigns.services import pushes, sources
from core import storable
from core.api.conventions import BrandRowsViewSet, get_caller, idempotent, read_input
from core.api.inputs import JSONParser, read_text
from core.errors import Invalid, Problem
from core.models import Brand
from core.selectors import brands as brand_rows


class RowLines(BaseParser):
    """JSON lines: one row per line."""

    media_type = "application/x-ndjson"

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        rows = []
        for place, line in enumerate(read_text(stream).splitlines(), start=1):
            if not line.strip():
                continue
            try:
                rows.append(storable.read_json(line, prefix=f"/{place - 1}"))
            except storable.InvalidJson as error:
                message = _("Line %(number)d: %(problem)s") % {"number": place, "problem": error.message}
                raise Invalid(message, [Problem(f"/{place - 1}", message, line[:100])]) from None
        return rows


class OtherRowLines(RowLines):
    """JSON lines under their other media type."""

    media_type = "application/jsonl"


class FeedSourceSerializer(fields.ModelSerializer[FeedSource]):
    """A source without its URL, which may contain a key."""

    brand = fields.SlugRelatedField[Brand](slug_field="slug", read_only=True)
    next_fetch_at = fields.DateTimeField(source="due_at", allow_null=True, required=False)

    class Meta:
        model = FeedSource
        fields = [
            "id", "brand", "slug", "name", "kind", "subject_kind", "every_minutes", "is_enabled", "next_fetch_at",
            "fetched_at", "failures", "error",
        ]  # fmt: skip


class FeedSourceRequest(fields.Serializer[Any]):
    """The settings of a new source."""

    brand = fields.SlugField()
    name = fields.CharField(max_length=120)
    kind = fields.ChoiceField(choices=[SourceKind.URL, SourceKind.PUSH])
    url = fields.CharField(max_length=2000, required=False)
    subject_kind = fields.ChoiceField(choices=SubjectKind.choices, default=SubjectKind.PRODUCT)
    every_minutes = fields.IntegerField(default=1440)


class FeedSourceViewSet(BrandRowsViewSet[FeedSource]):
    """Feed sources: fetched from a URL on a schedule, or pushed by the client."""

    serializer_class = FeedSourceSerializer
    filterset_fields = ["brand__slug", "kind", "slug"]
    queryset = FeedSource.objects.select_related("brand")

    @extend_schema(request=FeedSourceRequest, responses={201: FeedSourceSerializer})
    @idempotent
    def create(self, request: Request) -> Response:
        settings = read_input(FeedSourceRequest, request)
        brand = brand_rows.get(get_caller(request), settings.pop("brand"))
        return self._answer(sources.create(brand=brand, by=get_caller(request), **settings), 201)

    @extend_schema(request=None, responses={202: FeedSourceSerializer})
    @action(detail=True, methods=["post"])
    def fetch(self, request: Request, pk: str) -> Response:
        """Fetch the source now. 202: the result is at the URL of the source."""
        return self._answer(sources.fetch_now(source_id=self.get_object().pk, by=get_caller(request)), 202)

    def _answer(self, source: FeedSource, status: int) -> Response:
        address = reverse("api:source-detail", args=[source.pk])
        return Response(self.get_serializer(source).data, status=status, headers={"Location": address})


class SourceRowsView(APIView):
    """Send rows to a pushed feed source. All of them are imported, or none."""

    parser_classes = [JSONParser, RowLines, OtherRowLines]

    @extend_schema(
        request={
            "application/json": {"type": "array", "maxItems": pushes.MAX_ROWS, "items": {"type": "object"}},
            "application/x-ndjson": {"type": "string"},
        },
        parameters=[
            OpenApiParameter("dry_run", OpenApiTypes.BOOL, description="Only check the rows."),
            OpenApiParameter("Idempotency-Key", OpenApiTypes.STR, OpenApiParameter.HEADER),
        ],
        responses={201: serializers.ImportSerializer},
    )
    @idempotent
    def post(self, request: Request, brand: str, source: str) -> Response:
        """Import up to 10,000 rows, each an object of columns and values.

        A 422 has row and column of each mistake (the first 200): `/13/price` is the column "price" of the 14th
        row; `import` is the refused import.
        """
        given = request.data
        rows = given.get("rows") if isinstance(given, Mapping) else given
        if not isinstance(rows, list):
            raise Invalid(_("Send a list of rows, or {“rows”: […]}."), [Problem("/", _("no list"))])
        done = pushes.push(
            brand=brand_rows.get(get_caller(request), brand),
            source_slug=source,
            rows=rows,
            by=get_caller(request),
            dry_run=request.query_params.get("dry_run", "").lower() in ("1", "true", "yes"),
        )
        address = reverse("api:import-detail", args=[done.pk])
        return Response(serializers.ImportSerializer(done).data, status=201, headers={"Location": address})
