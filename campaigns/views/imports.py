"""Pages of feed imports: upload a file, map its columns, see mistakes by cause, fix them, apply it in full, undo it.

Photos of the products are uploaded on the same page, as a ZIP.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import chain
from pathlib import PurePath
from typing import Any

from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.core.paginator import Paginator
from django.http import FileResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_POST, require_safe
from django_htmx.http import HttpResponseClientRefresh

from campaigns.choices import ImportStatus, SubjectKind
from campaigns.feeds import FeedRefused, FileHead, annotating, csv_file
from campaigns.feeds.base import column_letter
from campaigns.models import FeedImport
from campaigns.selectors import annotated_files
from campaigns.selectors import imports as selectors
from campaigns.services import archives, mappings
from campaigns.services import imports as services
from campaigns.views.photos import get_uploaded_files
from core.access import Action
from core.errors import Conflict, Invalid
from core.fetching import redact_settings
from core.pages import BrandRequest, brand_page

SHOWN_ROWS = 50
RECENT = 20
SHOWN_FILES = 8
SAMPLE_ROWS = 4
MAX_PASTED = 2_000_000
KINDS = [
    (SubjectKind.PRODUCT.value, gettext_lazy("Products")),
    (SubjectKind.ARTICLE.value, gettext_lazy("Articles")),
    (SubjectKind.CONCEPT.value, gettext_lazy("Concepts")),
]


@brand_page(Action.IMPORT_FEED)
def new(request: BrandRequest) -> HttpResponseBase:
    """Show the form to upload or paste a feed; POST checks it. Nothing is written until it is applied."""
    if request.method == "POST":
        kind = request.POST.get("kind") or SubjectKind.PRODUCT
        name, file = _uploaded_file(request, kind)
        feed_import = services.upload(brand=request.brand, file=file, file_name=name, by=request.user, kind=kind)
        if "column_missing" in feed_import.issue_counts:
            return redirect("import_mapping", request.brand.slug, feed_import.pk)
        return redirect("import_detail", request.brand.slug, feed_import.pk)
    return _upload_page(request)


def _upload_page(request: BrandRequest, *, photos_problem: str = "") -> HttpResponseBase:
    """Render the forms to upload a feed and photos. photos_problem: why the photos were refused."""
    recent = selectors.visible(request.user, brand_id=request.brand.pk).select_related("source")
    page = Paginator(recent, RECENT).get_page(request.GET.get("page"))
    context = {
        "page": page,
        "kinds": KINDS,
        "sources_href": reverse("sources", args=[request.brand.slug]),
        "photos_problem": photos_problem,
    }
    return render(request, "campaigns/import.html", context, status=422 if photos_problem else 200)


def _uploaded_file(request: BrandRequest, kind: str) -> tuple[str, Any]:
    """Return name and stream of the uploaded file, or of a file made from the pasted text."""
    file = request.FILES.get("file")
    if isinstance(file, UploadedFile):
        file.seek(0)
        return file.name or "feed", file
    text = request.POST.get("pasted", "")
    if not text.strip():
        raise Invalid(_("Choose a file first, or paste rows or titles."))
    if len(text) > MAX_PASTED:
        message = _("The pasted text has %(count)s characters; expected at most %(most)s. Save it as CSV.")
        raise Invalid(message % {"count": f"{len(text):,}", "most": f"{MAX_PASTED:,}"})
    name, data = csv_file.paste_as_file(text, kind=kind)
    return name, io.BytesIO(data)


@brand_page(Action.IMPORT_FEED)
def detail(request: BrandRequest, import_id: int) -> HttpResponseBase:
    """Show the effect of an import and its mistakes by cause. POST applies a checked file."""
    feed_import = selectors.get(request.user, import_id, brand_id=request.brand.pk)
    if request.method == "POST":
        services.apply(import_id=feed_import.pk, by=request.user)
        return redirect("import_detail", request.brand.slug, feed_import.pk)
    return render(request, "campaigns/import_detail.html", _shown(request, feed_import))


def _shown(request: BrandRequest, feed_import: FeedImport) -> dict[str, Any]:
    cause = request.GET.get("cause", "")
    is_open = feed_import.status in (ImportStatus.CHECKED, ImportStatus.REFUSED)
    is_kept = services.is_file_kept(feed_import)
    shown: dict[str, Any] = {
        "feed_import": feed_import,
        "cause": cause,
        "is_open": is_open,
        "is_kept": is_kept,
        "is_spreadsheet": annotated_files.is_spreadsheet(feed_import),
        "can_apply": feed_import.status == ImportStatus.CHECKED and not feed_import.error_count and is_kept,
        "can_return": bool(feed_import.error_count) and annotated_files.can_annotate(feed_import),
        "applied_fixes": selectors.applied_fixes(feed_import),
        "progress": selectors.get_progress(feed_import),
        "encodings": annotated_files.list_encodings(feed_import) if is_open and is_kept else [],
    }
    if is_open and feed_import.error_count:
        rows = selectors.list_issues(request.user, feed_import, cause=cause)
        shown["groups"] = selectors.group_issues(request.user, feed_import)
        shown["page"] = Paginator(rows, SHOWN_ROWS).get_page(request.GET.get("page"))
    elif feed_import.status in (ImportStatus.APPLIED, ImportStatus.UNDONE):
        rows = selectors.list_changes(request.user, feed_import)
        shown["page"] = Paginator(rows, SHOWN_ROWS).get_page(request.GET.get("page"))
        shown["undo_plan"] = selectors.count_undone_changes(request.user, feed_import)
    elif shown["can_apply"]:
        shown["preview"] = annotated_files.preview_import(feed_import)
    return shown


@require_safe
@brand_page(Action.IMPORT_FEED)
def progress(request: BrandRequest, import_id: int) -> HttpResponseBase:
    """Show the progress of reading, for htmx; reload the page when it has ended."""
    feed_import = selectors.get(request.user, import_id, brand_id=request.brand.pk)
    if feed_import.status != ImportStatus.WAITING:
        return HttpResponseClientRefresh()
    context = {"feed_import": feed_import, "progress": selectors.get_progress(feed_import)}
    return render(request, "campaigns/import_progress.html", context)


@require_POST
@brand_page(Action.IMPORT_FEED)
def fix(request: BrandRequest, import_id: int) -> HttpResponseBase:
    """Apply one fix to all cells of a cause (`fix`), or remove one (`take_back`), and check again."""
    feed_import = selectors.get(request.user, import_id, brand_id=request.brand.pk)
    cause = request.POST.get("cause", "")
    if back := request.POST.get("take_back", ""):
        done = services.take_back_fix(import_id=feed_import.pk, by=request.user, cause=cause, fix=back)
    else:
        chosen = request.POST.get("fix", "")
        done = services.add_fix(import_id=feed_import.pk, by=request.user, cause=cause, fix=chosen)
        _show_fix_result(request, done)
    return redirect("import_detail", request.brand.slug, done.pk)


@require_POST
@brand_page(Action.IMPORT_FEED)
def set_encoding(request: BrandRequest, import_id: int) -> HttpResponseBase:
    """Check the file again with the chosen encoding."""
    feed_import = selectors.get(request.user, import_id, brand_id=request.brand.pk)
    done = services.check_again(import_id=feed_import.pk, by=request.user, encoding=request.POST.get("encoding", ""))
    return redirect("import_detail", request.brand.slug, done.pk)


def _show_fix_result(request: BrandRequest, done: FeedImport) -> None:
    applied = selectors.applied_fixes(done)
    if done.status == ImportStatus.WAITING or not applied:
        return
    last = applied[-1]
    names = {"fix": last.label, "count": f"{last.changed:,}"}
    if last.changed and last.counts_rows:
        message = ngettext("%(fix)s: %(count)s row changed.", "%(fix)s: %(count)s rows changed.", last.changed)
        messages.success(request, message % names)
    elif last.changed:
        message = ngettext("%(fix)s: %(count)s cell changed.", "%(fix)s: %(count)s cells changed.", last.changed)
        messages.success(request, message % names)
    elif last.counts_rows:
        messages.warning(request, _("%(fix)s: no row could be changed so; try another fix.") % names)
    else:
        messages.warning(request, _("%(fix)s: no cell could be changed so; try another fix.") % names)


@require_POST
@brand_page(Action.IMPORT_FEED)
def undo(request: BrandRequest, import_id: int) -> HttpResponseBase:
    feed_import = selectors.get(request.user, import_id, brand_id=request.brand.pk)
    services.undo(import_id=feed_import.pk, by=request.user)
    return redirect("import_detail", request.brand.slug, feed_import.pk)


@require_safe
@brand_page(Action.IMPORT_FEED)
def annotated_file(request: BrandRequest, import_id: int) -> HttpResponseBase:
    """Download the file with a column of mistakes, a workbook as such, else as text; `?only=wrong`: only wrong rows."""
    feed_import = selectors.get(request.user, import_id, brand_id=request.brand.pk)
    only_wrong = request.GET.get("only") == "wrong"
    stem = PurePath(feed_import.file_name).stem + (" mistakes" if only_wrong else " with mistakes")
    if annotated_files.is_spreadsheet(feed_import):
        book = annotated_files.as_workbook(request.user, feed_import, only_wrong=only_wrong)
        return FileResponse(book, as_attachment=True, filename=f"{stem}.xlsx")
    pieces = annotated_files.as_text(request.user, feed_import, only_wrong=only_wrong)
    suffix = "tsv" if feed_import.dialect.get("delimiter") == "\t" else "csv"
    return _attachment(pieces, f"{stem}.{suffix}")


@require_safe
@brand_page(Action.IMPORT_FEED)
def errors(request: BrandRequest, import_id: int) -> HttpResponseBase:
    """Download all stored mistakes as CSV."""
    feed_import = selectors.get(request.user, import_id, brand_id=request.brand.pk)
    issues = selectors.list_issues(request.user, feed_import).iterator()
    rows = ([str(issue.row), issue.column, issue.cell, issue.value, issue.message] for issue in issues)
    lines = annotating.text_lines(chain([["row", "column", "cell", "value", "mistake"]], rows))
    return _attachment(lines, f"import-{feed_import.pk}-mistakes.csv")


def _attachment(pieces: Iterator[str], name: str) -> StreamingHttpResponse:
    headers = {"Content-Disposition": content_disposition_header(True, name)}
    return StreamingHttpResponse(pieces, content_type="text/csv; charset=utf-8", headers=headers)


@brand_page(Action.IMPORT_FEED)
def mapping(request: BrandRequest, import_id: int) -> HttpResponseBase:
    """Show every column with samples and its field; POST checks the file again with the chosen mapping."""
    feed_import = selectors.get(request.user, import_id, brand_id=request.brand.pk)
    look = _read_head(feed_import, rows=SAMPLE_ROWS)
    if request.method == "POST":
        return _save(request, feed_import, look)
    context = {
        "feed_import": feed_import,
        "columns": _columns(request, feed_import, look),
        "kinds": KINDS,
        "kind": feed_import.subject_kind,
        "preview": annotated_files.preview_import(feed_import),
        "problem": look.problem,
        "source": feed_import.source if feed_import.source and feed_import.source.kind == "upload" else None,
    }
    return render(request, "campaigns/import_mapping.html", context)


@require_POST
@brand_page(Action.IMPORT_FEED)
def preview(request: BrandRequest, import_id: int) -> HttpResponseBase:
    """Preview the first subjects with the fields chosen in the form, for htmx."""
    feed_import = selectors.get(request.user, import_id, brand_id=request.brand.pk)
    look = _read_head(feed_import, rows=0, mapping={})
    feed_import.mapping, feed_import.subject_kind = _chosen(request, look), _kind(request, feed_import)  # not saved
    context = {"preview": annotated_files.preview_import(feed_import), "feed_import": feed_import}
    return render(request, "campaigns/import_preview.html", context)


def _read_head(feed_import: FeedImport, *, rows: int, mapping: dict[str, str] | None = None) -> FileHead:
    look = services.read_head(feed_import, rows=rows, mapping=mapping)
    if isinstance(look, FeedRefused):
        raise Conflict(_("The columns cannot be shown: %(reason)s") % {"reason": look})
    return look


def _columns(request: BrandRequest, feed_import: FeedImport, look: FileHead) -> list[dict[str, Any]]:
    """Return the columns of the file for the page. is_guessed: no person has chosen its field."""
    names = selectors.attribute_names(request.user, request.brand.pk)
    chosen = look.suggestion | feed_import.mapping
    columns = []
    for index, heading in enumerate(look.header.cells):
        if not heading:
            continue
        field = chosen.get(heading, "ignore")
        columns.append(
            {
                "index": index,
                "letter": "" if look.header.place else column_letter(index),
                "heading": heading,
                "samples": [
                    redact_settings(row[index])[:80] if index < len(row) else "" for _number, row in look.sample
                ],
                "field": field,
                "is_guessed": heading not in feed_import.mapping,
                "choices": selectors.field_choices(names, heading, field),
            }
        )
    return columns


def _chosen(request: BrandRequest, look: FileHead) -> dict[str, str]:
    """Return heading -> field from the form, whose fields are numbered because headings may be any text."""
    return {
        heading: field
        for index, heading in enumerate(look.header.cells)
        if heading and (field := request.POST.get(f"field-{index}", ""))
    }


def _kind(request: BrandRequest, feed_import: FeedImport) -> str:
    kind = request.POST.get("kind", "")
    return kind if kind in SubjectKind.values else feed_import.subject_kind


def _save(request: BrandRequest, feed_import: FeedImport, look: FileHead) -> HttpResponseBase:
    chosen, kind = _chosen(request, look), _kind(request, feed_import)
    done = services.check_again(import_id=feed_import.pk, by=request.user, mapping=chosen, kind=kind)
    if "column_missing" in done.issue_counts or "mapping" in done.issue_counts:
        return redirect("import_mapping", request.brand.slug, done.pk)
    if request.POST.get("remember"):
        source: Any = mappings.save_mapping(import_id=done.pk, name=request.POST.get("name", ""), by=request.user)
        message = _("Remembered as “%(name)s”: the next file with these headings is read so too.")
        messages.success(request, message % {"name": source.name})
    return redirect("import_detail", request.brand.slug, done.pk)


@brand_page(Action.IMPORT_FEED)
def add_photos(request: BrandRequest) -> HttpResponseBase:
    """Upload a ZIP of photos, each matched to a subject by the feed's file names or the SKU in its own name."""
    if request.method != "POST":  # a link of the refused form to more of the earlier imports
        return redirect(f"{reverse('import', args=[request.brand.slug])}?{request.GET.urlencode()}")
    missing = _("Choose a ZIP archive of photos first.")
    try:
        file = get_uploaded_files(request, "photos", most=archives.MAX_ZIP_BYTES, missing=missing)[0]
        report = archives.attach_zip(brand=request.brand, file=file, by=request.user)
    except Invalid as refusal:
        return _upload_page(request, photos_problem=refusal.message)
    messages.success(request, _summary(report))
    for refused in [*report.ambiguous[:SHOWN_FILES], *report.refusals[:SHOWN_FILES]]:
        messages.error(request, f"{refused.file}: {refused.message}")
    for remark in report.remarks[:SHOWN_FILES]:
        messages.warning(request, f"{remark.file}: {remark.message}")
    if report.unmatched:
        names = ", ".join(report.unmatched[:SHOWN_FILES]) + (" …" if len(report.unmatched) > SHOWN_FILES else "")
        messages.warning(request, _("These files name no SKU of yours: %(names)s") % {"names": names})
    return redirect("products", request.brand.slug)


def _summary(report: archives.AttachReport) -> str:
    """Return `12 photos are in (9 by the SKU in their name), 12 cut-outs made; 1 refused; 3 still missing.`"""
    ready = ngettext(
        "%(ready)d photo is in (%(by_sku)d by the SKU in their name), %(cutouts)d cut-outs made",
        "%(ready)d photos are in (%(by_sku)d by the SKU in their name), %(cutouts)d cut-outs made",
        report.ready,
    )
    parts = [ready % {"ready": report.ready, "by_sku": report.by_sku, "cutouts": report.cutouts}]
    for count, words in (
        (report.unchanged, _("%(count)d were here already")),
        (len(report.ambiguous), _("%(count)d could be of several products and were left")),
        (len(report.refusals), _("%(count)d refused")),
        (report.missing, _("%(count)d still missing")),
    ):
        if count:
            parts.append(words % {"count": count})
    return "; ".join(parts) + "."
