"""API views of feeds: imports of files, and feed sources, which are fetched or to which rows are pushed.

Imports are checked, fixed, applied and undone by the services of the pages; pushed rows are imported like a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.urls import reverse
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, OpenApiTypes, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from campaigns.choices import ImportStatus, SourceKind, SubjectKind
from campaigns.feeds.encodings import LABELS as ENCODINGS
from campaigns.models import FeedImport, FeedSource, ImportIssue
from campaigns.services import imports, pushes, sources
from core import storable
from core.api.conventions import BrandRowsViewSet, get_caller, idempotent, read_input
from core.api.inputs import JSONParser, read_text
from core.errors import Invalid, Problem
from core.models import Brand
from core.selectors import brands as brand_rows

SHOWN_ISSUES = 100


class ImportSerializer(serializers.ModelSerializer[FeedImport]):
    brand = serializers.SlugRelatedField[Brand](slug_field="slug", read_only=True)
    source: Any = serializers.SlugRelatedField[FeedSource](slug_field="slug", read_only=True, allow_null=True)
    mapping: Any = serializers.DictField(child=serializers.CharField(), read_only=True)
    issue_counts: Any = serializers.DictField(child=serializers.IntegerField(), read_only=True)
    undone_counts: Any = serializers.DictField(child=serializers.IntegerField(), read_only=True)

    class Meta:
        model = FeedImport
        fields = [
            "id", "brand", "file_name", "file_sha256", "file_bytes", "dialect", "status", "rows", "created",
            "updated", "unchanged", "error_count", "issue_counts", "subject_kind", "source", "mapping", "encoding",
            "fixes", "bytes_read", "undone_at", "undone_counts", "created_at",
        ]  # fmt: skip


class ImportIssueSerializer(serializers.ModelSerializer[ImportIssue]):
    class Meta:
        model = ImportIssue
        fields = ["row", "column", "cell", "value", "cause", "message"]


class ImportShown(ImportSerializer):
    """An import with its first hundred mistakes."""

    errors: Any = ImportIssueSerializer(many=True, read_only=True)

    class Meta(ImportSerializer.Meta):
        fields = [*ImportSerializer.Meta.fields, "errors"]


class ImportFix(serializers.Serializer[Any]):
    """One fix for all cells with a cause; without columns, it applies to every column in which the cause can occur."""

    cause = serializers.CharField(max_length=60)
    fix = serializers.CharField(max_length=60)
    columns = serializers.ListField(child=serializers.CharField(max_length=200), required=False)


class ImportUpload(serializers.Serializer[Any]):
    """multipart/form-data; `mapping` and `fixes` are JSON. mapping: heading -> field, and what is not in it is
    detected; without one, that which people saved for such headings is used. kind: of rows that name none."""

    brand = serializers.SlugField()
    file = serializers.FileField(allow_empty_file=True)
    dry_run = serializers.BooleanField(default=False)
    kind = serializers.ChoiceField(choices=SubjectKind.choices, default=SubjectKind.PRODUCT)
    mapping = serializers.JSONField(required=False, help_text='{"Artikel": "key", "Was": "name", …}')
    fixes = serializers.JSONField(required=False, help_text='[{"cause": "price_unreadable", "fix": "leave_empty"}]')
    encoding = serializers.ChoiceField(
        choices=list(ENCODINGS.items()), required=False, help_text="of a text that is not UTF-8; default: detected"
    )

    def validate_mapping(self, value: Any) -> dict[str, str]:
        if not isinstance(value, dict):
            raise serializers.ValidationError(_("Expected an object: heading -> field."))
        return value

    def validate_fixes(self, value: Any) -> list[dict[str, Any]]:
        fixes = ImportFix(data=value, many=True)
        fixes.is_valid(raise_exception=True)
        return [dict(fix) for fix in fixes.validated_data]


class ImportChange(serializers.Serializer[Any]):
    """New settings for reading a file. Missing settings stay unchanged."""

    kind = serializers.ChoiceField(choices=SubjectKind.choices, required=False)
    mapping = serializers.DictField(child=serializers.CharField(max_length=200), required=False)
    fixes = ImportFix(many=True, required=False)
    encoding = serializers.ChoiceField(
        choices=list(ENCODINGS.items()), required=False, allow_blank=True, help_text="empty: detected"
    )


class ImportViewSet(BrandRowsViewSet[FeedImport]):
    """Feeds: checked first with `dry_run`, then applied in full or not at all; what was applied can be undone.

    Files above 5 MB are read by a worker: 202, `status` is "waiting", and the `Location` tells when it is over.
    """

    serializer_class = ImportSerializer
    filterset_fields = ["brand__slug", "status"]
    queryset = FeedImport.objects.select_related("brand", "source")

    @extend_schema(request={"multipart/form-data": ImportUpload}, responses={201: ImportShown, 202: ImportShown})
    @idempotent
    def create(self, request: Request) -> Response:
        upload = read_input(ImportUpload, request)
        brand = brand_rows.get(get_caller(request), upload.pop("brand"))
        is_to_apply, name = not upload.pop("dry_run"), upload["file"].name
        feed_import = imports.upload(
            brand=brand, file_name=name, by=get_caller(request), is_to_apply=is_to_apply, **upload
        )
        return self._answer(feed_import, 201)

    @extend_schema(request=ImportChange, responses={200: ImportShown, 202: ImportShown})
    @action(detail=True, methods=["post"])
    def check(self, request: Request, pk: str) -> Response:
        """Check a file again with another mapping, kind or list of fixes. Missing settings stay unchanged."""
        changes = read_input(ImportChange, request)
        feed_import = imports.check_again(import_id=self.get_object().pk, by=get_caller(request), **changes)
        return self._answer(feed_import, 200)

    @extend_schema(request=None, responses={200: ImportShown, 202: ImportShown})
    @action(detail=True, methods=["post"])
    def apply(self, request: Request, pk: str) -> Response:
        """Apply a checked file without mistakes, in full."""
        return self._answer(imports.apply(import_id=self.get_object().pk, by=get_caller(request)), 200)

    @extend_schema(request=None, responses={200: ImportShown})
    @action(detail=True, methods=["post"])
    def undo(self, request: Request, pk: str) -> Response:
        """Undo an applied import: delete the rows that it created and restore those that it changed.

        Rows that an image uses, or that were changed since, stay as they are. `undone_counts` has the numbers.
        """
        return self._answer(imports.undo(import_id=self.get_object().pk, by=get_caller(request)), 200)

    @extend_schema(responses=ImportIssueSerializer(many=True))
    @action(detail=True, pagination_class=None)
    def issues(self, request: Request, pk: str) -> Response:
        """Return the first 10,000 mistakes, each with row, column and value."""
        rows = self.get_object().issues.all()[:10_000]
        return Response(ImportIssueSerializer(rows, many=True).data)

    def _answer(self, feed_import: FeedImport, status: int) -> Response:
        """Return the import with its first mistakes; the status is 202 while it waits for a worker."""
        issues = ImportIssueSerializer(feed_import.issues.all()[:SHOWN_ISSUES], many=True).data
        shown = {**self.get_serializer(feed_import).data, "errors": issues}
        status = 202 if feed_import.status == ImportStatus.WAITING else status
        address = reverse("api:import-detail", args=[feed_import.pk])
        return Response(shown, status=status, headers={"Location": address})


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


class FeedSourceSerializer(serializers.ModelSerializer[FeedSource]):
    """A source without its URL, which may contain a key."""

    brand = serializers.SlugRelatedField[Brand](slug_field="slug", read_only=True)
    next_fetch_at = serializers.DateTimeField(source="due_at", allow_null=True, required=False)

    class Meta:
        model = FeedSource
        fields = [
            "id", "brand", "slug", "name", "kind", "subject_kind", "every_minutes", "is_enabled", "next_fetch_at",
            "fetched_at", "failures", "error",
        ]  # fmt: skip


class FeedSourceRequest(serializers.Serializer[Any]):
    """The settings of a new source."""

    brand = serializers.SlugField()
    name = serializers.CharField(max_length=120)
    kind = serializers.ChoiceField(choices=[SourceKind.URL, SourceKind.PUSH])
    url = serializers.CharField(max_length=2000, required=False)
    subject_kind = serializers.ChoiceField(choices=SubjectKind.choices, default=SubjectKind.PRODUCT)
    every_minutes = serializers.IntegerField(default=1440)


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
        responses={201: ImportSerializer},
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
        return Response(ImportSerializer(done).data, status=201, headers={"Location": address})
