"""Bringing a feed in: drop a file, see what is wrong by cause, mend it, apply it in full, take it back."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.core.paginator import Paginator
from django.http import FileResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import NoReverseMatch, reverse
from django.views.decorators.http import require_POST, require_safe
from django_htmx.http import HttpResponseClientRefresh

from campaigns.choices import ImportStatus, SubjectKind
from campaigns.feeds import pasting, returning
from campaigns.models import FeedImport
from campaigns.selectors import imports as selectors
from campaigns.selectors import returned_files
from campaigns.services import imports as services
from core.access import Action
from core.errors import Invalid
from core.pages import BrandRequest, brand_page

SHOWN_ROWS = 50
RECENT = 20
MAX_PASTED = 2_000_000
KINDS = [("product", "Products"), ("article", "Articles"), ("concept", "Concepts")]


@brand_page(Action.IMPORT_FEED)
def offer(request: BrandRequest) -> HttpResponseBase:
    """The drop zone, and a box to paste into. What comes is checked at once; nothing is written before it is
    applied."""
    if request.method == "POST":
        kind = request.POST.get("kind") or SubjectKind.PRODUCT
        name, file = _offered(request, kind)
        found = services.offer(brand=request.brand, file=file, file_name=name, by=request.user, kind=kind)
        if "column_missing" in found.issue_counts:
            return redirect("import_mapping", request.brand.slug, found.pk)
        return redirect("import_detail", request.brand.slug, found.pk)
    recent = selectors.visible(request.user, brand_id=request.brand.pk).select_related("source")
    page = Paginator(recent, RECENT).get_page(request.GET.get("page"))
    context = {"page": page, "kinds": KINDS, "sources_href": _sources_href(request)}
    return render(request, "campaigns/import.html", context)


def _offered(request: BrandRequest, kind: str) -> tuple[str, Any]:
    """Name and stream of the file that was dropped, or that the pasted text would have been."""
    file = request.FILES.get("file")
    if isinstance(file, UploadedFile):
        file.seek(0)
        return file.name or "feed", file
    text = request.POST.get("pasted", "")
    if not text.strip():
        raise Invalid("Choose a file first, or paste rows or titles.")
    if len(text) > MAX_PASTED:
        raise Invalid(f"The pasted text has {len(text):,} characters; expected at most {MAX_PASTED:,}. Save it as CSV.")
    name, data = pasting.as_file(text, kind=kind)
    return name, io.BytesIO(data)


def _sources_href(request: BrandRequest) -> str:
    """The page of feed sources, where this installation has one."""
    try:
        return reverse("sources", args=[request.brand.slug])
    except NoReverseMatch:
        return ""


@brand_page(Action.IMPORT_FEED)
def detail(request: BrandRequest, import_id: int) -> HttpResponseBase:
    """Show what one import would do or did, and its mistakes by cause. Posting applies a checked file."""
    found = selectors.get(request.user, import_id, brand_id=request.brand.pk)
    if request.method == "POST":
        services.apply(import_id=found.pk, by=request.user)
        return redirect("import_detail", request.brand.slug, found.pk)
    return render(request, "campaigns/import_detail.html", _shown(request, found))


def _shown(request: BrandRequest, found: FeedImport) -> dict[str, Any]:
    cause = request.GET.get("cause", "")
    is_open = found.status in (ImportStatus.CHECKED, ImportStatus.REFUSED)
    is_kept = services.is_kept(found)
    shown: dict[str, Any] = {
        "feed_import": found,
        "cause": cause,
        "is_open": is_open,
        "is_kept": is_kept,
        "is_spreadsheet": returned_files.is_spreadsheet(found),
        "can_apply": found.status == ImportStatus.CHECKED and not found.error_count and is_kept,
        "can_return": bool(found.error_count) and returned_files.can_return(found),
        "applied_fixes": selectors.applied_fixes(found),
        "progress": selectors.progress(found),
        "encodings": returned_files.encodings_of(found) if is_open and is_kept else [],
    }
    if is_open and found.error_count:
        rows = selectors.issues(request.user, found, cause=cause)
        shown["groups"] = selectors.groups(request.user, found)
        shown["page"] = Paginator(rows, SHOWN_ROWS).get_page(request.GET.get("page"))
    elif found.status in (ImportStatus.APPLIED, ImportStatus.UNDONE):
        rows = selectors.changes(request.user, found)
        shown["page"] = Paginator(rows, SHOWN_ROWS).get_page(request.GET.get("page"))
        shown["undo_plan"] = selectors.undo_plan(request.user, found)
    elif shown["can_apply"]:
        shown["preview"] = returned_files.preview(found, mapping=found.mapping, kind=found.subject_kind)
    return shown


@require_safe
@brand_page(Action.IMPORT_FEED)
def progress(request: BrandRequest, import_id: int) -> HttpResponseBase:
    """Show how far the reading is, for htmx; when it has ended, the page is loaded again."""
    found = selectors.get(request.user, import_id, brand_id=request.brand.pk)
    if found.status != ImportStatus.WAITING:
        return HttpResponseClientRefresh()
    context = {"feed_import": found, "progress": selectors.progress(found)}
    return render(request, "campaigns/import_progress.html", context)


@require_POST
@brand_page(Action.IMPORT_FEED)
def fix(request: BrandRequest, import_id: int) -> HttpResponseBase:
    """Apply one fix to all cells of a cause (`fix`), or take one back (`take_back`), and check again."""
    found = selectors.get(request.user, import_id, brand_id=request.brand.pk)
    cause = request.POST.get("cause", "")
    if back := request.POST.get("take_back", ""):
        done = services.take_back_fix(import_id=found.pk, by=request.user, cause=cause, fix=back)
    else:
        columns = selectors.columns_with(request.user, found, cause)
        chosen = request.POST.get("fix", "")
        done = services.add_fix(import_id=found.pk, by=request.user, cause=cause, fix=chosen, columns=columns)
        _tell(request, done)
    return redirect("import_detail", request.brand.slug, done.pk)


@require_POST
@brand_page(Action.IMPORT_FEED)
def encoding(request: BrandRequest, import_id: int) -> HttpResponseBase:
    """Check the file anew in the encoding that was chosen."""
    found = selectors.get(request.user, import_id, brand_id=request.brand.pk)
    done = services.check_again(import_id=found.pk, by=request.user, encoding=request.POST.get("encoding", ""))
    return redirect("import_detail", request.brand.slug, done.pk)


def _tell(request: BrandRequest, done: FeedImport) -> None:
    last = selectors.applied_fixes(done)[-1:]
    if done.status == ImportStatus.WAITING or not last:
        return
    unit = "row" if last[0].is_of_rows else "cell"
    count = f"{last[0].changed:,} {unit}{'' if last[0].changed == 1 else 's'}"
    if last[0].changed:
        messages.success(request, f"{last[0].label}: {count} changed.")
    else:
        messages.warning(request, f"{last[0].label}: no {unit} could be changed so; try another fix.")


@require_POST
@brand_page(Action.IMPORT_FEED)
def undo(request: BrandRequest, import_id: int) -> HttpResponseBase:
    found = selectors.get(request.user, import_id, brand_id=request.brand.pk)
    services.undo(import_id=found.pk, by=request.user)
    return redirect("import_detail", request.brand.slug, found.pk)


@require_safe
@brand_page(Action.IMPORT_FEED)
def own_file(request: BrandRequest, import_id: int) -> HttpResponseBase:
    """The person's own file with a column of mistakes: a workbook for a workbook, else delimited text. `?only=wrong`
    leaves sound rows out."""
    found = selectors.get(request.user, import_id, brand_id=request.brand.pk)
    only_wrong = request.GET.get("only") == "wrong"
    stem = PurePath(found.file_name).stem + (" mistakes" if only_wrong else " with mistakes")
    if returned_files.is_spreadsheet(found):
        book = returned_files.as_workbook(request.user, found, only_wrong=only_wrong)
        return FileResponse(book, as_attachment=True, filename=f"{stem}.xlsx")
    pieces = returned_files.as_text(request.user, found, only_wrong=only_wrong)
    suffix = "tsv" if found.dialect.get("delimiter") == "\t" else "csv"
    return _attachment(pieces, f"{stem}.{suffix}")


@require_safe
@brand_page(Action.IMPORT_FEED)
def errors(request: BrandRequest, import_id: int) -> HttpResponseBase:
    """All stored mistakes as CSV."""
    found = selectors.get(request.user, import_id, brand_id=request.brand.pk)
    return _attachment(_csv(request, found), f"import-{found.pk}-mistakes.csv")


def _attachment(pieces: Iterator[str], name: str) -> StreamingHttpResponse:
    answer = StreamingHttpResponse(pieces, content_type="text/csv; charset=utf-8")
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\' else "_" for c in name)
    answer["Content-Disposition"] = f'attachment; filename="{plain}"'
    return answer


class _Echo:
    def write(self, value: str) -> str:
        return value


def _csv(request: BrandRequest, found: FeedImport) -> Iterator[str]:
    writer = csv.writer(_Echo())
    yield "\ufeff" + writer.writerow(["row", "column", "cell", "value", "mistake"])
    for issue in selectors.issues(request.user, found).iterator():
        cells = [issue.row, issue.column, issue.cell, issue.value, issue.message]
        yield writer.writerow([returning.safe(str(one)) for one in cells])
