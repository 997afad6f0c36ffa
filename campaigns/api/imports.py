"""API views of feed imports: upload, check, fix, apply and undo with the same services as the pages."""

from __future__ import annotations

from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.api import serializers
from campaigns.choices import ImportStatus
from campaigns.models import FeedImport
from campaigns.services import imports
from core.api.conventions import BrandRowsViewSet, get_caller, idempotent, read_input
from core.selectors import brands as brand_rows

SHOWN_ISSUES = 100


class ImportViewSet(BrandRowsViewSet[FeedImport]):
    """Feeds: checked first with `dry_run`, then applied in full or not at all; what was applied can be undone.

    Files above 5 MB are read by a worker: 202, `status` is "waiting", and the `Location` tells when it is over.
    """

    serializer_class = serializers.ImportSerializer
    filterset_fields = ["brand__slug", "status"]
    queryset = FeedImport.objects.select_related("brand", "source")

    @extend_schema(
        request={"multipart/form-data": serializers.ImportUpload},
        responses={201: serializers.ImportShown, 202: serializers.ImportShown},
    )
    @idempotent
    def create(self, request: Request) -> Response:
        upload = read_input(serializers.ImportUpload, request)
        brand = brand_rows.get(get_caller(request), upload.pop("brand"))
        is_to_apply, name = not upload.pop("dry_run"), upload["file"].name
        feed_import = imports.upload(
            brand=brand, file_name=name, by=get_caller(request), is_to_apply=is_to_apply, **upload
        )
        return self._answer(feed_import, 201)

    @extend_schema(
        request=serializers.ImportChange, responses={200: serializers.ImportShown, 202: serializers.ImportShown}
    )
    @action(detail=True, methods=["post"])
    def check(self, request: Request, pk: str) -> Response:
        """Check a file again with another mapping, kind or list of fixes. Missing settings stay unchanged."""
        changes = read_input(serializers.ImportChange, request)
        feed_import = imports.check_again(import_id=self.get_object().pk, by=get_caller(request), **changes)
        return self._answer(feed_import, 200)

    @extend_schema(request=None, responses={200: serializers.ImportShown, 202: serializers.ImportShown})
    @action(detail=True, methods=["post"])
    def apply(self, request: Request, pk: str) -> Response:
        """Apply a checked file without mistakes, in full."""
        return self._answer(imports.apply(import_id=self.get_object().pk, by=get_caller(request)), 200)

    @extend_schema(request=None, responses={200: serializers.ImportShown})
    @action(detail=True, methods=["post"])
    def undo(self, request: Request, pk: str) -> Response:
        """Undo an applied import: delete the rows that it created and restore those that it changed.

        Rows that an image uses, or that were changed since, stay as they are. `undone_counts` has the numbers.
        """
        return self._answer(imports.undo(import_id=self.get_object().pk, by=get_caller(request)), 200)

    @extend_schema(responses=serializers.ImportIssueSerializer(many=True))
    @action(detail=True, pagination_class=None)
    def issues(self, request: Request, pk: str) -> Response:
        """Return the first 10,000 mistakes, each with row, column and value."""
        rows = self.get_object().issues.all()[:10_000]
        return Response(serializers.ImportIssueSerializer(rows, many=True).data)

    def _answer(self, feed_import: FeedImport, status: int) -> Response:
        """Return the import with its first mistakes; the status is 202 while it waits for a worker."""
        issues = serializers.ImportIssueSerializer(feed_import.issues.all()[:SHOWN_ISSUES], many=True).data
        shown = {**self.get_serializer(feed_import).data, "errors": issues}
        status = 202 if feed_import.status == ImportStatus.WAITING else status
        address = reverse("api:import-detail", args=[feed_import.pk])
        return Response(shown, status=status, headers={"Location": address})
