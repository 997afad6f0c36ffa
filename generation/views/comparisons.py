"""Blind comparisons: start one, vote without knowing which image is whose, and read the results."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import Any, Final

from django import forms
from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.crypto import salted_hmac
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST, require_safe

from campaigns.forms import LineListField, add_problems
from campaigns.selectors import prompts as prompt_selectors
from campaigns.selectors import subjects as subject_selectors
from core import stored_files
from core.access import Action
from core.csv_files import escape_formula
from core.errors import DomainError, Invalid
from core.pages import BrandRequest, brand_page, parse_row_id
from generation.models import Comparison
from generation.selectors import comparisons as selectors
from generation.selectors import endpoints, tryouts
from generation.selectors.endpoints import Offer
from generation.services import comparisons as services
from generation.services.comparisons import Side
from generation.services.planning import estimates
from generation.views.files import find_small_copy

POLL_SECONDS = 3
LISTED = 20
#: Versions of each prompt that are offered, the newest first.
VERSIONS = 4
SMALL_EDGE = 384
WORDS, SUBJECTS = "words", "subjects"
#: The first width and height.
SIDE: Final = 1024


def _pixels_field(label: Any) -> forms.IntegerField:
    message = gettext_lazy("Give width and height in pixels, at most 4096.")
    messages = dict.fromkeys(("required", "invalid", "min_value", "max_value"), message)
    return forms.IntegerField(label=label, initial=SIDE, min_value=16, max_value=4096, error_messages=messages)


class ComparisonForm(forms.Form):
    """The rows are free prompts or products (kind); the columns are endpoints, for products each with each version."""

    kind = forms.ChoiceField(
        choices=[
            (WORDS, gettext_lazy("free prompts")),
            (SUBJECTS, gettext_lazy("products, with prompt versions")),
        ],
        widget=forms.RadioSelect,
    )
    words = LineListField(
        label=gettext_lazy("Prompts, one on each line"), required=False,
        widget=forms.Textarea({"rows": 6, "spellcheck": "true"}),
        help_text=gettext_lazy(
            "The settings are those that each endpoint was used with last; endpoints that read no words are left out."
        ),
    )  # fmt: skip
    skus = LineListField(
        label=gettext_lazy("Products, one SKU on each line"), required=False,
        widget=forms.Textarea({"rows": 6, "class": "mono"}),
    )  # fmt: skip
    version: Any = forms.ModelMultipleChoiceField(None, required=False)
    endpoint = forms.MultipleChoiceField(required=False)
    width = _pixels_field(gettext_lazy("Width, px"))
    height = _pixels_field(gettext_lazy("Height, px"))
    name = forms.CharField(
        label=gettext_lazy("Name"), required=False,
        widget=forms.TextInput({"maxlength": 160, "placeholder": gettext_lazy("taken from the rows")}),
    )  # fmt: skip

    def __init__(self, data: Any = None, *, request: BrandRequest, offers: Sequence[Offer], **kwargs: Any) -> None:
        super().__init__(data, auto_id="contest-%s", **kwargs)
        self.request, self.offers = request, offers
        versions = prompt_selectors.list_versions_of_brand(request.user, request.brand)
        self.fields["version"].queryset = versions.order_by("template__slug", "number")  # type: ignore[attr-defined]
        self.fields["endpoint"].choices = [  # type: ignore[attr-defined]
            (str(offer.endpoint.pk), offer.endpoint.name) for offer in offers
        ]

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        is_words = given.get("kind") == WORDS
        given["words"] = given.get("words", []) if is_words else []
        given["subjects"] = [] if is_words else self._find_subjects(given.get("skus", []))
        if is_words and not given["words"]:
            self.add_error("words", _("Write at least one prompt, each on a line of its own."))
        if not is_words and not given["subjects"] and not self.has_error("skus"):
            self.add_error("skus", _("Name at least one product."))
        return given

    def _find_subjects(self, lines: Sequence[str]) -> list[int]:
        keys = [key.strip() for line in lines for key in line.split(",") if key.strip()]
        try:
            return subject_selectors.get_ids_by_key(self.request.brand, keys) or []
        except Invalid as refusal:
            self.add_error("skus", [problem.message for problem in refusal.problems])
            return []

    def sides(self) -> list[Side]:
        """Return a side for every endpoint and version, without versions that were written for another engine."""
        offers = [offer for offer in self.offers if str(offer.endpoint.pk) in self.cleaned_data["endpoint"]]
        if self.cleaned_data["kind"] == WORDS:
            return [
                Side(offer.endpoint, None, _load_usual_settings(self.request, offer))
                for offer in list_prompt_readers(offers)
            ]
        return [
            Side(offer.endpoint, version)
            for version in self.cleaned_data["version"]
            for offer in offers
            if version.needs.get("engine", offer.endpoint.engine) == offer.endpoint.engine
        ]

    def service_arguments(self) -> dict[str, Any]:
        """Return the arguments of `comparisons.start`, without brand and person."""
        given, sides = self.cleaned_data, self.sides()
        # A name from the rows or the prompts does not mention endpoints.
        prompts = dict.fromkeys(side.version.template.name for side in sides if side.version)
        name = ", ".join(prompts)[:160] or "Comparison"
        if words := given["words"]:
            name = f"{words[0][:100]} and {len(words) - 1} more" if len(words) > 1 else words[0][:100]
        copied = {field: given[field] for field in ("subjects", "words", "width", "height")}
        return {"name": given["name"] or name, "sides": sides, **copied}


@require_safe
@brand_page()
def index(request: BrandRequest) -> HttpResponseBase:
    """List the brand's comparisons, each with the number of rows that this person has not voted on."""
    page = Paginator(selectors.visible(request.user, request.brand), LISTED).get_page(request.GET.get("page"))
    return render(request, "generation/comparisons.html", {"page": page})


@brand_page(Action.RUN_SANDBOX)
def new(request: BrandRequest) -> HttpResponseBase:
    """Show the form of a new comparison; POST starts the comparison."""
    offers = [offer for offer in endpoints.list_offers(request.brand) if not offer.problem]
    if request.method != "POST":
        form = ComparisonForm(request=request, offers=offers, initial=_initial_values(request, offers))
        return _form_page(request, form, offers)
    form, status = ComparisonForm(request.POST, request=request, offers=offers), Invalid.status
    if form.is_valid():
        try:
            made = services.start(brand=request.brand, by=request.user, **form.service_arguments())
        except DomainError as refusal:
            add_problems(form, refusal)
            status = refusal.status
        else:
            message = _("The images are being made. Vote on each row as soon as all of its images are there.")
            messages.success(request, message)
            return redirect("comparison", request.brand.slug, made.pk)
    return _form_page(request, form, offers, status=status)


@require_safe
@brand_page()
def sheet(request: BrandRequest, pk: int) -> HttpResponseBase:
    """Show one page of the rows to vote on."""
    comparison = selectors.get(request.user, request.brand, pk)
    page = Paginator(range(comparison.row_count), selectors.ROWS).get_page(request.GET.get("page"))
    context = {"page": page, "rows": selectors.rows(comparison, request.user, list(page))}
    return render(request, "generation/comparison.html", context | _status_context(request, comparison))


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
    context = {"results": selectors.results(comparison), "largest": max(1, comparison.row_count)}
    return render(request, "generation/comparison_results.html", context | _status_context(request, comparison))


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
    for square in sheet_row.squares:
        if (revealed := square.revealed) is None:
            continue
        run, job, column_number = revealed.column.run, revealed.job, revealed.column.position + 1
        problem = job.problem if square.is_missing else ""
        made_by = [column_number, run.endpoint.name, str(run.prompt_version)]
        cells = [sheet_row.place, about, *made_by, job.seconds, job.cost, revealed.votes, problem]
        yield [escape_formula(cell) if isinstance(cell, str) else cell for cell in cells]


def _initial_values(request: BrandRequest, offers: Sequence[Offer]) -> dict[str, Any]:
    """Return the initial values of the form: a version from the address, or free prompts that were used here."""
    version = parse_row_id(request.GET.get("version", ""))
    products = tryouts.products(request.user, request.brand, "", limit=6)
    examples = tryouts.examples(request.user, request.brand, offers)
    return {
        "kind": SUBJECTS if version or len(list_prompt_readers(offers)) < services.MIN_SIDES else WORDS,
        "words": "\n".join(dict.fromkeys(example["words"] for example in examples if example["words"]))[:2000],
        "skus": [product.key for product in products],
        "endpoint": [str(offer.endpoint.pk) for offer in offers],
        "version": [str(version)] if version else [],
    }


def _form_page(
    request: BrandRequest, form: ComparisonForm, offers: Sequence[Offer], *, status: int = 200
) -> HttpResponseBase:
    templates = prompt_selectors.list_templates(request.user, brand_id=request.brand.pk).prefetch_related("versions")
    context = {
        "form": form,
        "offers": [(offer, estimates.estimate_price(offer.endpoint, width=SIDE, height=SIDE)) for offer in offers],
        "left": tryouts.money_left(request.brand),
        "readers": list_prompt_readers(offers),
        "templates": [
            (template, list(template.versions.all())[:VERSIONS]) for template in templates if template.version_count
        ],
        "most_sides": services.MAX_SIDES,
        "most_rows": services.MAX_ROWS,
    }
    return render(request, "generation/comparison_new.html", context, status=status)


def list_prompt_readers(offers: Sequence[Offer]) -> list[Offer]:
    return [offer for offer in offers if offer.capabilities and offer.capabilities.obeys_prompt]


def _load_usual_settings(request: BrandRequest, offer: Offer) -> dict[str, Any]:
    """Return the usual settings of this endpoint in this brand. Only numbers: they say how an image is made, not what
    it shows."""
    assert offer.capabilities is not None
    usual = tryouts.load_last_settings(request.user, request.brand, offer)
    return {
        control.parameter: usual[control.parameter]
        for control in offer.capabilities.controls
        if control.kind == "number" and control.parameter in usual
    }
