"""Bringing a feed in: drop a file, see what is wrong by cause, apply it in full."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any

from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from campaigns.access import Action
from campaigns.choices import ImportStatus
from campaigns.errors import Conflict, Invalid
from campaigns.models import FeedImport
from campaigns.pages import BrandRequest, brand_page
from campaigns.selectors import imports as selectors
from campaigns.services import files
from campaigns.services import imports as services

SHOWN_ROWS = 50
FORMULA = frozenset("=+-@\t\r")  # a spreadsheet runs a cell that begins so
_KEPT = "feed"  # session key: import id -> storage key of the file that was checked


@brand_page(Action.IMPORT_FEED)
def offer(request: BrandRequest) -> HttpResponseBase:
    """The drop zone. A dropped file is checked at once; nothing is written before it is applied."""
    if request.method == "POST":
        file = request.FILES.get("file")
        if file is None:
            raise Invalid("Choose a CSV or XLSX file first.")
        checked = services.import_feed(
            brand=request.brand, file=_stream(file), file_name=file.name or "feed", by=request.user, dry_run=True
        )
        _keep(request, checked, file)
        return redirect("import_detail", request.brand.slug, checked.pk)
    recent = selectors.visible(request.user, brand_id=request.brand.pk)[:20]
    return render(request, "campaigns/import.html", {"recent": recent})


@brand_page(Action.IMPORT_FEED)
def detail(request: BrandRequest, import_id: int) -> HttpResponseBase:
    """What one import would do or did, and its mistakes by cause. Posting applies a checked file."""
    found = selectors.get(request.user, import_id, brand_id=request.brand.pk)
    if request.method == "POST":
        return _apply(request, found)
    cause = request.GET.get("cause", "")
    return render(
        request,
        "campaigns/import_detail.html",
        {
            "feed_import": found,
            "groups": selectors.groups(request.user, found),
            "issues": selectors.issues(request.user, found, cause=cause)[:SHOWN_ROWS],
            "cause": cause,
            "can_apply": found.status == ImportStatus.CHECKED and not found.error_count and _kept(request, found),
        },
    )


@require_safe
@brand_page(Action.IMPORT_FEED)
def errors(request: BrandRequest, import_id: int) -> HttpResponseBase:
    """All stored mistakes as CSV."""
    found = selectors.get(request.user, import_id, brand_id=request.brand.pk)
    answer = StreamingHttpResponse(_csv(request, found), content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="import-{found.pk}-mistakes.csv"'
    return answer


def _apply(request: BrandRequest, checked: FeedImport) -> HttpResponseBase:
    key = _kept(request, checked)
    if not key or not files.exists(key):
        raise Conflict("The checked file is no longer kept. Drop it again.")
    with files.open(key) as stream:
        done = services.import_feed(brand=request.brand, file=stream, file_name=checked.file_name, by=request.user)
    if done.status == ImportStatus.APPLIED:
        messages.success(request, f"{done.created} created, {done.updated} updated, {done.unchanged} unchanged.")
        return redirect("products", request.brand.slug)
    return redirect("import_detail", request.brand.slug, done.pk)


def _stream(file: UploadedFile) -> Any:
    file.seek(0)
    return file.file


def _keep(request: BrandRequest, checked: FeedImport, file: UploadedFile) -> None:
    """Remember the checked bytes for applying; the sweeper takes a file that nobody applied."""
    file.seek(0)
    stored = files.put(file.read(), suffix="feed", durable=False)
    kept = dict(list(request.session.get(_KEPT, {}).items())[-4:])
    request.session[_KEPT] = kept | {str(checked.pk): stored.key}


def _kept(request: BrandRequest, found: FeedImport) -> str:
    key: str = request.session.get(_KEPT, {}).get(str(found.pk), "")
    return key


class _Echo:
    def write(self, value: str) -> str:
        return value


def _csv(request: BrandRequest, found: FeedImport) -> Iterator[str]:
    writer = csv.writer(_Echo())
    yield "\ufeff" + writer.writerow(["row", "column", "cell", "value", "mistake"])
    for issue in selectors.issues(request.user, found).iterator():
        cells = [issue.row, issue.column, issue.cell, issue.value, issue.message]
        yield writer.writerow([f"'{one}" if str(one)[:1] in FORMULA else one for one in cells])
