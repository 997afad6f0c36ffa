"""The prompt editor: a version on three subjects while it is typed, what it last made of them, and trying it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from campaigns import prompts
from campaigns.forms import add_problems
from campaigns.models import PromptTemplate, PromptVersion, Subject
from campaigns.prompts import pieces, spelling, tokens
from campaigns.selectors import campaigns, guides
from campaigns.selectors import prompts as selectors
from campaigns.services import prompts as services
from core.access import Action
from core.errors import DomainError, Invalid, NotFound
from core.pages import BrandRequest, brand_page, number
from generation.forms import EngineChoice, PromptForm
from generation.selectors import concepts, endpoints, scenes, tries
from generation.selectors.endpoints import Offer
from generation.selectors.tries import LastImage
from generation.services import tryouts

POLL_SECONDS = 2
PINNED = "prompt_subjects"


@dataclass(frozen=True)
class Shown:
    """One subject in the live preview: its rendered prompt, or why there is none; and what was last made of it.

    reading: how much of it the model reads; None where nobody knows. unread_from: where in the prompt's own text it
    stops. unread: how much of the negative text it reads, where that is too long."""

    subject: Subject
    values: dict[str, Any]
    last: LastImage | None
    is_ticked: bool
    problem: str = ""
    pieces: Sequence[pieces.Piece] = ()
    negative: str = ""
    reading: tokens.Reading | None = None
    unread: tokens.Reading | None = None
    unread_from: int | None = None


@dataclass(frozen=True)
class Desk:
    """The material of the editor: one prompt, the version that it began with, and the engines that are there."""

    template: PromptTemplate
    version: PromptVersion | None
    offers: Sequence[Offer]
    engines: Sequence[EngineChoice]

    def form(self, request: BrandRequest, *, is_bound: bool) -> PromptForm:
        given = request.POST if is_bound else None
        return PromptForm(given, brand=request.brand, engines=self.engines, base=self.version)

    def endpoints(self, engine: str) -> list[Offer]:
        """Those that can try a prompt written for this engine, "" for any."""
        return [one for one in self.offers if not one.problem and engine in ("", one.endpoint.engine)]

    def chosen(self, request: BrandRequest, engine: str) -> Offer | None:
        able = self.endpoints(engine)
        wanted = request.POST.get("endpoint", "")
        return next((one for one in able if str(one.endpoint.pk) == wanted), able[0] if able else None)


@brand_page()
def editor(request: BrandRequest, slug: str, number: int | None = None) -> HttpResponseBase:
    """One prompt: the chosen version (the newest without a number) in the editor; saving makes the next version."""
    desk = _desk(request, slug, str(number) if number is not None else "")
    if request.method == "POST":
        return _save(request, _desk(request, slug, request.POST.get("base", "")))
    if "subject" in request.GET:
        _pin(request, [pk for text in request.GET.getlist("subject") if (pk := _pk(text))])
    return _page(request, desk, desk.form(request, is_bound=False))


@require_POST
@brand_page()
def preview(request: BrandRequest, slug: str) -> HttpResponseBase:
    """The live part: what is typed on three subjects, nothing saved. `place` and `subject` put another one there."""
    desk = _desk(request, slug, request.POST.get("base", ""))
    place, subject = _pk(request.POST.get("place", "")), _pk(request.POST.get("subject", ""))
    if place is not None and subject and place < selectors.CHOSEN:
        there = [one.pk for one in _subjects(request)]
        _pin(request, [*there[:place], subject, *there[place + 1 :]])
    form = desk.form(request, is_bound=True)
    form.is_valid()
    return render(request, "generation/prompt_preview.html", _preview(request, desk, form))


@require_POST
@brand_page()
def engine_part(request: BrandRequest, slug: str) -> HttpResponseBase:
    """The fields that belong to the engine just chosen, with what was typed so far."""
    desk = _desk(request, slug, request.POST.get("base", ""))
    form = desk.form(request, is_bound=True)
    form.is_valid()
    return render(request, "generation/prompt_engine.html", _engine_context(request, desk, form))


@require_POST
@brand_page(Action.RUN_SANDBOX)
def try_out(request: BrandRequest, slug: str) -> HttpResponseBase:
    """Save what changed as a draft and make it for the ticked subjects; what stands in the way is told in its place."""
    if request.headers.get("HX-Request"):  # htmx asks at the address of the last button; a look is no try
        return preview(request, request.brand.slug, slug)
    desk = _desk(request, slug, request.POST.get("base", ""))
    form = desk.form(request, is_bound=True)
    if not form.is_valid():
        return _page(request, desk, form, status=422)
    offer = desk.chosen(request, form.cleaned_data["engine"])
    if offer is None:
        form.add_error("engine", "No endpoint of this engine is there to try it on; an operator adds one.")
        return _page(request, desk, form, status=422)
    ticked = {_pk(text) for text in request.POST.getlist("try_subject")}
    try:
        made = tryouts.start(
            template=desk.template,
            fields=form.version_fields(),
            based_on=desk.version,
            subjects=[one.pk for one in _subjects(request) if one.pk in ticked],
            endpoint=offer.endpoint,
            by=request.user,
        )
    except DomainError as refusal:
        return _page(request, desk, form, status=refusal.status, refusal=refusal)
    if made.is_new:
        messages.success(request, f"{made.version} is saved as a draft and being tried.")
    return redirect("prompt_version", request.brand.slug, slug, made.version.number)


@require_safe
@brand_page()
def pictures(request: BrandRequest, slug: str, number: int) -> HttpResponseBase:
    """The places of the last images and the history, asked for while a try-out is being made."""
    desk = _desk(request, slug, str(number))
    assert desk.version is not None
    subjects = _subjects(request)
    last = tries.last_images(desk.version, [one.pk for one in subjects])
    context = {"template": desk.template, "version": desk.version, "lasts": last.values(), **_history(request, desk)}
    return render(request, "generation/prompt_pictures.html", context)


@require_safe
@brand_page()
def subjects(request: BrandRequest, slug: str) -> HttpResponse:
    """Show what may stand at one place of the three: products by SKU or name, as buttons."""
    found = selectors.matching_subjects(request.user, request.brand.pk, request.GET.get("q", "").strip())
    place = _pk(request.GET.get("place", "")) or 0
    context = {"found": found, "place": place, "template": selectors.template(request.user, request.brand, slug)}
    return render(request, "generation/prompt_subjects.html", context)


# -- the parts -----------------------------------------------------------------------------------------------------


def _save(request: BrandRequest, desk: Desk) -> HttpResponseBase:
    form = desk.form(request, is_bound=True)
    if form.is_valid():
        try:
            made = services.add_version(template_id=desk.template.pk, by=request.user, **form.version_fields())
        except Invalid as refusal:
            add_problems(form, refusal)
        else:
            messages.success(request, f"{made} is saved as a draft.")
            for remark in _choices_of_words(request, made):
                messages.warning(request, remark.message)
            return redirect("prompt_version", request.brand.slug, desk.template.slug, made.number)
    return _page(request, desk, form, status=422)


def _page(
    request: BrandRequest, desk: Desk, form: PromptForm, *, status: int = 200, refusal: DomainError | None = None
) -> HttpResponseBase:
    if isinstance(refusal, Invalid):
        add_problems(form, Invalid("", [one for one in refusal.problems if one.pointer in form.fields]))
    versions = list(selectors.versions(request.user, desk.template))
    context = {
        "versions": versions,
        "before": next((one for one in versions if desk.version and one.number < desk.version.number), None),
        "known": [{"name": one.name, "count": one.count, "of": one.of} for one in selectors.names(request.brand.pk)],
        "refusal": refusal,
        **_engine_context(request, desk, form),
        **_preview(request, desk, form),
        **_history(request, desk),
    }
    return render(request, "generation/prompt_editor.html", context, status=status)


def _engine_context(request: BrandRequest, desk: Desk, form: PromptForm) -> dict[str, Any]:
    engine = str(form["engine"].value() or "")
    return {
        "template": desk.template,
        "version": desk.version,
        "form": form,
        "offers": desk.endpoints(engine),
        "chosen": desk.chosen(request, engine),
        "troubles": [one.problem for one in desk.offers if one.problem],
    }


def _history(request: BrandRequest, desk: Desk) -> dict[str, Any]:
    is_trying = desk.version is not None and tries.is_trying(desk.version)
    return {"tries": tries.tries(request.user, desk.template), "is_trying": is_trying, "poll": POLL_SECONDS}


def _preview(request: BrandRequest, desk: Desk, form: PromptForm) -> dict[str, Any]:
    """Return what the form says on the three subjects, the mistakes in it, and the variants that its axes give."""
    source, axes = _typed(form, desk)
    chosen = _subjects(request)
    offer = desk.chosen(request, str(form["engine"].value() or ""))
    encoder = offer.encoder if offer else None
    last = tries.last_images(desk.version, [one.pk for one in chosen]) if desk.version else {}
    ticked = request.POST.getlist("try_subject") if "ticks" in request.POST else [str(one.pk) for one in chosen]
    known = [one.name for one in selectors.names(request.brand.pk)]
    context: dict[str, Any] = {
        "template": desk.template,
        "version": desk.version,
        "form_errors": form.errors if form.is_bound else {},
        "remarks": _remarks(source, [*known, *axes]),
        "reads_words": not offer or not offer.capabilities or offer.capabilities.obeys_prompt,
        "offer": offer,
        "encoder": encoder,
        "concept_problems": _concept_problems(request, source, axes, offer),
    }
    try:
        variants = prompts.expand_axes(axes)
    except prompts.AxisError as error:
        return context | {"shown": [], "variants": 0, "axis_problem": str(error)}
    guide = guides.published(request.brand.pk)
    campaign = campaigns.visible(request.user, brand_id=request.brand.pk).values_list("name", flat=True).first()
    general = {"brand": request.brand.name, "campaign": campaign or "Autumn"}
    shown = []
    for place, subject in enumerate(chosen):
        variant = variants[place % len(variants)]
        values = general | _values(subject) | variant
        about = (subject, variant, last.get(subject.pk), str(subject.pk) in ticked)
        shown.append(_shown(about, source, values, guide, encoder))
    places = [one.unread_from for one in shown if one.unread_from is not None]
    context["unread_from"] = min(places) if places else None
    return context | {"shown": shown, "variants": len(variants), "axis_problem": ""}


def _typed(form: PromptForm, desk: Desk) -> tuple[prompts.PromptSource, dict[str, Any]]:
    """Return what the form holds as far as it can be read; of an untouched form, the version itself."""
    if not form.is_bound:
        version = desk.version
        return (selectors.source(version), version.axes) if version else (prompts.PromptSource(""), {})
    given, style = form.cleaned_data, form.cleaned_data.get("style")
    source = prompts.PromptSource(
        text=given.get("text", ""),
        negative=given.get("negative", ""),
        style=style.text if style else "",
        style_negative=style.negative if style else "",
        parameters=form.engine_parameters(),
    )
    return source, given.get("axes", {})


def _values(subject: Subject) -> dict[str, Any]:
    return campaigns.values_of(key=subject.key, name=subject.name, kind=subject.kind, attributes=subject.attributes)


def _concept_problems(
    request: BrandRequest, source: prompts.PromptSource, axes: dict[str, Any], offer: Offer | None
) -> list[tuple[str, int | None]]:
    """(what is wrong with the scenes and maps that are named, the id of the concept that it is about)."""
    if offer is None or offer.capabilities is None:
        return []
    found: list[tuple[str, int | None]] = []
    for use in concepts.taken(offer.capabilities):
        named = concepts.named(use, source, axes) or frozenset()
        known = concepts.known(use, request.brand, named)
        found += [(problem, known.concept(key)) for key in sorted(named) if (problem := known.problem(key))]
    hidden = scenes.hidden(source, axes) if offer.capabilities.takes_scenes else {}
    return [*found, *((sentence, None) for sentence in hidden.values())]


def _remarks(source: prompts.PromptSource, known: Sequence[str]) -> dict[str, list[spelling.Remark]]:
    """Field -> mistakes of syntax and placeholders that nothing has."""
    fields = {"text": source.text, "negative": source.negative}
    return {name: spelling.check(text, known) for name, text in fields.items()}


def _choices_of_words(request: BrandRequest, version: PromptVersion) -> list[spelling.Remark]:
    """Placeholders of a saved version such as {red|blue|green}, which do not vary the words."""
    known = [*(one.name for one in selectors.names(request.brand.pk)), *version.axes]
    texts = (version.text, version.negative)
    return [remark for text in texts for remark in spelling.alternatives(text, known)]


def _shown(
    about: tuple[Subject, dict[str, Any], LastImage | None, bool],
    source: prompts.PromptSource,
    values: dict[str, Any],
    guide: Any,
    encoder: tokens.Encoder | None,
) -> Shown:
    try:
        rendered = prompts.render(source, values)
    except prompts.MissingValues as lacking:
        return Shown(*about, f"No value for {', '.join(lacking.names)}.")
    except prompts.PromptSyntaxError as error:
        return Shown(*about, f"{error.message} ({prompts.place(source.text, error.position)}).")
    reading = tokens.read(rendered.text, encoder) if encoder else None
    unread = tokens.read(rendered.negative, encoder) if encoder else None
    remarks = prompts.lint(rendered.text, guide) if guide else []
    marked = pieces.mark(rendered, remarks, reading.cut if reading else None)
    too_long = unread if unread and unread.cut is not None else None
    stops = reading.cut if reading else None
    place = pieces.source_place(source.text, rendered, stops) if stops is not None else None
    return Shown(*about, "", marked, rendered.negative, reading, too_long, place)


def _subjects(request: BrandRequest) -> list[Subject]:
    """The same three until somebody changes them; each person has their own, per brand."""
    pinned = request.session.get(PINNED, {}).get(str(request.brand.pk), [])
    return selectors.chosen_subjects(request.user, request.brand.pk, pinned)


def _pin(request: BrandRequest, wanted: Sequence[int]) -> None:
    pinned = dict(request.session.get(PINNED, {}))
    pinned[str(request.brand.pk)] = list(dict.fromkeys(wanted))[: selectors.CHOSEN]
    request.session[PINNED] = pinned


def _desk(request: BrandRequest, slug: str, version_number: str) -> Desk:
    template = selectors.template(request.user, request.brand, slug)
    rows = selectors.versions(request.user, template).select_related("template")
    version = rows.filter(number=_pk(version_number) or 0).first() if version_number else rows.first()
    if version_number and version is None:
        raise NotFound(f"{template.name} has no version {version_number}.")
    offers = endpoints.offers(request.brand)
    return Desk(template, version, offers, _engines(offers, version))


def _engines(offers: Sequence[Offer], version: PromptVersion | None) -> list[EngineChoice]:
    """The engines that have an endpoint here, and the version's own."""
    found: dict[str, EngineChoice] = {}
    for one in offers:
        name = one.endpoint.engine
        if name not in found or found[name].capabilities is None:
            found[name] = EngineChoice(name, f"{name}: {one.endpoint.name}", one.capabilities)
    own = str(version.needs.get("engine", "")) if version else ""
    if own and own not in found:
        found[own] = EngineChoice(own, f"{own}: no endpoint is switched on", None)
    return list(found.values())


def _pk(text: str) -> int | None:
    return number(text)
