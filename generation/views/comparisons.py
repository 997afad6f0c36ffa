"""Blind comparisons: start one, vote without knowing which image is whose, and read the results."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.crypto import salted_hmac
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from campaigns import channels
from campaigns.selectors import prompts as prompt_selectors
from campaigns.selectors import subjects as subject_selectors
from core import stored_files
from core.access import Action
from core.csv_files import escape_formula
from core.errors import DomainError, Invalid, Problem
from core.pages import BrandRequest, brand_page, parse_row_id
from generation.models import Comparison
from generation.selectors import comparisons as selectors
from generation.selectors import endpoints
from generation.selectors import studio as studio_selectors
from generation.selectors.endpoints import Offer
from generation.services import comparisons as services
from generation.services.comparisons import Side
from generation.services.planning import estimates
from generation.views.files import find_small_copy

POLL_SECONDS = 3
LISTED = 20
SIDE = 1024
#: Versions of each prompt that are offered, the newest first.
VERSIONS = 4
SMALL_EDGE = 384


@dataclass(frozen=True)
class ComparisonForm:
    """The fields of the form of a new comparison. kind: "words" or "subjects"."""

    name: str = ""
    kind: str = "words"
    words: str = ""
    skus: str = ""
    endpoints: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    width: str = str(SIDE)
    height: str = str(SIDE)


@require_safe
@brand_page()
def index(request: BrandRequest) -> HttpResponseBase:
    """List the brand's comparisons, each with the number of rows that this person has not voted on."""
    page = Paginator(selectors.visible(request.user, request.brand), LISTED).get_page(request.GET.get("page"))
    return render(request, "generation/comparisons.html", {"page": page})


@brand_page(Action.RUN_SANDBOX)
def new(request: BrandRequest) -> HttpResponseBase:
    """Show the form of a new comparison; POST starts the comparison."""
    if request.method != "POST":
        return _form(request, _initial_form(request))
    filled = _submitted_form(request)
    try:
        made = _start(request, filled)
    except DomainError as refusal:
        return _form(request, filled, refusal)
    messages.success(request, _("The images are being made. Vote on each row as soon as all of its images are there."))
    return redirect("comparison", request.brand.slug, made.pk)


@require_safe
@brand_page()
def sheet(request: BrandRequest, pk: int) -> HttpResponseBase:
    """Show one page of the rows to vote on."""
    comparison = selectors.get(request.user, request.brand, pk)
    page = Paginator(range(comparison.row_count), selectors.ROWS).get_page(request.GET.get("page"))
    context = {
        "page": page,
        "rows": selectors.rows(comparison, request.user, list(page)),
        **_status_context(request, comparison),
    }
    return render(request, "generation/comparison.html", context)


@require_safe
@brand_page()
def row(request: BrandRequest, pk: int, row_number: int) -> HttpResponseBase:
    """Render one row; the page polls it while its images are being made."""
    return _row(request, selectors.get(request.user, request.brand, pk), row_number)


@require_safe
@brand_page()
def image(request: BrandRequest, pk: int, row_number: int, letter: str) -> HttpResponseBase:
    """Return an image by its letter. Its address, name and headers do not tell which engine made it."""
    comparison = selectors.get(request.user, request.brand, pk)
    column = selectors.find_column(comparison, row_number, letter, request.user)
    edge = parse_row_id(request.GET.get("px", "")) or SMALL_EDGE
    key = find_small_copy(selectors.image(column, row_number).master, edge)
    # stored_files.response would name the file by its content hash, which the image's own page shows too.
    # The ETag must not be the content hash either, for the same reason.
    tag = salted_hmac("comparison image", key).hexdigest()[:32]
    headers = {"ETag": f'"{tag}"', "X-Content-Type-Options": "nosniff"}
    return HttpResponse(stored_files.read(key), content_type=stored_files.media_type(key), headers=headers)


@require_POST
@brand_page()
def vote(request: BrandRequest, pk: int, row_number: int) -> HttpResponseBase:
    """Save this person's vote for a letter of a row; "none" votes for no image."""
    comparison = selectors.get(request.user, request.brand, pk)
    letter = request.POST.get("letter", "")
    column = None if letter == "none" else selectors.find_column(comparison, row_number, letter, request.user)
    services.vote(comparison_id=comparison.pk, row=row_number, column_id=column.pk if column else None, by=request.user)
    if request.headers.get("HX-Request"):
        return _row(request, comparison, row_number, is_voting=True)
    page = row_number // selectors.ROWS + 1
    return redirect(f"{reverse('comparison', args=[request.brand.slug, pk])}?page={page}#row-{row_number}")


@require_POST
@brand_page()
def reveal(request: BrandRequest, pk: int) -> HttpResponseBase:
    """Reveal which column made which image, in the rows that this person voted on."""
    comparison = selectors.get(request.user, request.brand, pk)
    services.reveal(comparison_id=comparison.pk, by=request.user)
    return redirect(f"{reverse('comparison', args=[request.brand.slug, pk])}?page={request.POST.get('page', '1')}")


@require_safe
@brand_page()
def results(request: BrandRequest, pk: int) -> HttpResponseBase:
    """Show wins, shares with their sample size, and medians of time and cost, per column and not per row."""
    comparison = selectors.get(request.user, request.brand, pk)
    context = {
        "results": selectors.results(comparison),
        "largest": max(1, comparison.row_count),
        **_status_context(request, comparison),
    }
    return render(request, "generation/comparison_results.html", context)


@require_safe
@brand_page()
def table(request: BrandRequest, pk: int) -> HttpResponseBase:
    """Return a CSV file with one line per image of the rows that were revealed to this person."""
    comparison = selectors.get(request.user, request.brand, pk)
    headers = {"Content-Disposition": content_disposition_header(True, f"comparison-{comparison.pk}.csv")}
    answer = HttpResponse(content_type="text/csv; charset=utf-8", headers=headers)
    writer = csv.writer(answer)
    writer.writerow(["row", "about", "column", "endpoint", "prompt version", "seconds", "cost", "votes", "problem"])
    for sheet_row in selectors.rows(comparison, request.user, range(comparison.row_count)):
        writer.writerows(_lines(sheet_row))
    return answer


def _row(
    request: BrandRequest, comparison: Comparison, row_number: int, *, is_voting: bool = False
) -> HttpResponseBase:
    if not 0 <= row_number < comparison.row_count:
        selectors.find_column(comparison, row_number, "A", request.user)  # says which row is not there
    (shown,) = selectors.rows(comparison, request.user, [row_number])
    context = {
        "row": shown,
        "with_tally": is_voting or shown.is_settled,
        "page": {"number": row_number // selectors.ROWS + 1},
        **_status_context(request, comparison),
    }
    return render(request, "generation/comparison_row.html", context)


def _status_context(request: BrandRequest, comparison: Comparison) -> dict[str, Any]:
    return {
        "comparison": comparison,
        "progress": selectors.progress(comparison),
        "mine": selectors.count_open_rows(comparison, request.user),
        "poll": POLL_SECONDS,
    }


def _lines(sheet_row: selectors.Row) -> Iterator[Sequence[Any]]:
    about = sheet_row.words or f"{sheet_row.subject.key} {sheet_row.subject.name}"
    for revealed in (square.revealed for square in sheet_row.squares if square.revealed):
        run, column_number = revealed.column.run, revealed.column.position + 1
        made_by = [column_number, run.endpoint.name, str(run.prompt_version)]
        cells = [sheet_row.place, about, *made_by, revealed.seconds, revealed.cost, revealed.votes, revealed.problem]
        yield [escape_formula(cell) if isinstance(cell, str) else cell for cell in cells]


def _initial_form(request: BrandRequest) -> ComparisonForm:
    """Return the initial values of the form: a version from the address, or free prompts that were used here."""
    version = parse_row_id(request.GET.get("version", ""))
    offers = [offer for offer in endpoints.list_offers(request.brand) if not offer.problem]
    products = studio_selectors.products(request.user, request.brand, "", limit=6)
    return ComparisonForm(
        kind="subjects" if version or len(_list_prompt_readers(offers)) < services.MIN_SIDES else "words",
        skus="\n".join(product.key for product in products),
        endpoints=tuple(str(offer.endpoint.pk) for offer in offers),
        versions=(str(version),) if version else (),
    )


def _submitted_form(request: BrandRequest) -> ComparisonForm:
    given = request.POST
    names = ("name", "kind", "words", "skus", "width", "height")
    texts = {name: given.get(name, "").replace("\r\n", "\n").strip() for name in names}
    return ComparisonForm(**texts, endpoints=tuple(given.getlist("endpoint")), versions=tuple(given.getlist("version")))


def _start(request: BrandRequest, filled: ComparisonForm) -> Comparison:
    width, height = parse_row_id(filled.width), parse_row_id(filled.height)
    if not width or not height or max(width, height) > 4096:
        raise _mistake("width", _("Give width and height in pixels, at most 4096."))
    is_words = filled.kind == "words"
    words = [line.strip() for line in filled.words.splitlines() if line.strip()] if is_words else []
    sides = _sides(request, filled, is_words)
    subjects = [] if is_words else _subjects(request, filled.skus)
    if is_words and not words:
        raise _mistake("words", _("Write at least one prompt, each on a line of its own."))
    if not is_words and not subjects:
        raise _mistake("skus", _("Name at least one product."))
    return services.start(
        brand=request.brand,
        name=filled.name or _name(words, sides),
        sides=sides,
        by=request.user,
        subjects=subjects,
        words=words,
        width=width,
        height=height,
    )


def _mistake(field: str, message: str) -> Invalid:
    return Invalid(message, [Problem(field, message)])


def _sides(request: BrandRequest, filled: ComparisonForm, is_words: bool) -> list[Side]:
    """Return a side for every endpoint and version, without versions that were written for another engine."""
    offers = [offer for offer in endpoints.list_offers(request.brand) if str(offer.endpoint.pk) in filled.endpoints]
    if is_words:
        return [
            Side(offer.endpoint, None, _load_usual_settings(request, offer)) for offer in _list_prompt_readers(offers)
        ]
    version_ids = [pk for text in filled.versions if (pk := parse_row_id(text))]
    versions = prompt_selectors.list_versions_of_brand(request.user, request.brand).filter(pk__in=version_ids)
    return [
        Side(offer.endpoint, version)
        for version in versions.order_by("template__slug", "number")
        for offer in offers
        if version.needs.get("engine", offer.endpoint.engine) == offer.endpoint.engine
    ]


def _list_prompt_readers(offers: Sequence[Offer]) -> list[Offer]:
    return [offer for offer in offers if offer.capabilities and offer.capabilities.obeys_prompt]


def _load_usual_settings(request: BrandRequest, offer: Offer) -> dict[str, Any]:
    """Return the usual settings of this endpoint in this brand. Only numbers: they say how an image is made, not what
    it shows."""
    assert offer.capabilities is not None
    usual = studio_selectors.load_last_settings(request.user, request.brand, offer)
    return {
        control.parameter: usual[control.parameter]
        for control in offer.capabilities.controls
        if control.kind == "number" and control.parameter in usual
    }


def _subjects(request: BrandRequest, skus: str) -> list[int]:
    keys = [line.strip() for line in skus.replace(",", "\n").splitlines() if line.strip()]
    return subject_selectors.get_ids_by_key(request.brand, keys) or [] if keys != ["*"] else []


def _name(words: Sequence[str], sides: Sequence[Side]) -> str:
    """Return a default name of the comparison that does not mention endpoints."""
    if words:
        rest = f" and {len(words) - 1} more" if len(words) > 1 else ""
        return f"{words[0][:100]}{rest}"
    return ", ".join(dict.fromkeys(side.version.template.name for side in sides if side.version))[:160] or "Comparison"


def _form(request: BrandRequest, filled: ComparisonForm, refusal: DomainError | None = None) -> HttpResponseBase:
    offers = endpoints.list_offers(request.brand)
    templates = prompt_selectors.list_templates(request.user, brand_id=request.brand.pk).prefetch_related("versions")
    examples = studio_selectors.examples(request.user, request.brand, offers)
    usable = [offer for offer in offers if not offer.problem]
    context = {
        "filled": filled,
        "refusal": refusal,
        "offers": [(offer, estimates.estimate_price(offer.endpoint, width=SIDE, height=SIDE)) for offer in usable],
        "left": studio_selectors.money_left(request.brand),
        "readers": _list_prompt_readers(offers),
        "templates": [
            (template, list(template.versions.all())[:VERSIONS]) for template in templates if template.version_count
        ],
        "presets": channels.PRESETS,
        "words_begun": "\n".join(dict.fromkeys(example.words for example in examples if example.words))[:2000],
        "most_sides": services.MAX_SIDES,
        "most_rows": services.MAX_ROWS,
        "has_products": subject_selectors.visible(request.user, request.brand).exists(),
    }
    return render(request, "generation/comparison_new.html", context, status=refusal.status if refusal else 200)
