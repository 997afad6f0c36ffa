"""The page that maps a file's columns to fields, with sample rows and a preview of the result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from campaigns.choices import SubjectKind
from campaigns.feeds import FeedRefused, FileHead
from campaigns.feeds.base import column_letter
from campaigns.models import FeedImport
from campaigns.selectors import annotated_files
from campaigns.selectors import imports as selectors
from campaigns.services import imports as services
from campaigns.services import mappings
from campaigns.views.imports import KINDS
from core.access import Action
from core.errors import Conflict
from core.fetching import redact_settings
from core.pages import BrandRequest, brand_page

SAMPLE_ROWS = 4


@dataclass(frozen=True)
class Column:
    """One column of the file on the page. is_guessed: no person has chosen its field."""

    index: int
    letter: str
    heading: str
    samples: list[str]
    field: str
    is_guessed: bool
    choices: selectors.Choices


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


def _columns(request: BrandRequest, feed_import: FeedImport, look: FileHead) -> list[Column]:
    names = selectors.attribute_names(request.user, request.brand.pk)
    chosen = look.suggestion | feed_import.mapping
    columns = []
    for index, heading in enumerate(look.header.cells):
        if not heading:
            continue
        letter = "" if look.header.place else column_letter(index)
        samples = [redact_settings(cells[index])[:80] if index < len(cells) else "" for _row, cells in look.sample]
        field = chosen.get(heading, "ignore")
        choices = selectors.field_choices(names, heading, field)
        is_guessed = heading not in feed_import.mapping
        columns.append(Column(index, letter, heading, samples, field, is_guessed, choices))
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
    done = services.check_again(
        import_id=feed_import.pk, by=request.user, mapping=_chosen(request, look), kind=_kind(request, feed_import)
    )
    if "column_missing" in done.issue_counts or "mapping" in done.issue_counts:
        return redirect("import_mapping", request.brand.slug, done.pk)
    if request.POST.get("remember"):
        source: Any = mappings.save_mapping(import_id=done.pk, name=request.POST.get("name", ""), by=request.user)
        message = _("Remembered as “%(name)s”: the next file with these headings is read so too.")
        messages.success(request, message % {"name": source.name})
    return redirect("import_detail", request.brand.slug, done.pk)
