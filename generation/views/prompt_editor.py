"""The prompt editor: a live preview on three subjects, their last images, and try-outs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import HttpResponseBase, QueryDict
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from campaigns import prompts
from campaigns.forms import add_problems
from campaigns.models import PromptTemplate, PromptVersion, Subject
from campaigns.prompts import pieces, tokens, wording
from campaigns.selectors import campaigns, guides
from campaigns.selectors import prompts as selectors
from campaigns.services import prompts as services
from core.access import Action
from core.errors import DomainError, Invalid, NotFound
from core.pages import BrandRequest, brand_page, parse_row_id
from generation.forms import EngineChoice, PromptForm
from generation.selectors import concepts, endpoints
from generation.selectors import tryouts as tryout_rows
from generation.selectors.endpoints import Offer
from generation.services import studio

POLL_SECONDS = 2
PINNED = "prompt_subjects"


@dataclass(frozen=True)
class Editor:
    """The data of the editor: one prompt template, the version that it started from, and the available engines."""

    template: PromptTemplate
    version: PromptVersion | None
    offers: Sequence[Offer]
    engines: Sequence[EngineChoice]

    def form(self, request: BrandRequest, given: QueryDict | None = None) -> PromptForm:
        return PromptForm(given, brand=request.brand, engines=self.engines, base=self.version)

    def endpoints(self, engine: str) -> list[Offer]:
        """Return the offers that can try a prompt written for this engine; "" stands for any engine."""
        return [offer for offer in self.offers if not offer.problem and engine in ("", offer.endpoint.engine)]

    def chosen(self, request: BrandRequest, engine: str) -> Offer | None:
        able = {str(offer.endpoint.pk): offer for offer in self.endpoints(engine)}
        return able.get(request.POST.get("endpoint", ""), next(iter(able.values()), None))


@brand_page()
def editor(request: BrandRequest, slug: str, number: int | None = None) -> HttpResponseBase:
    """Show a prompt version in the editor, the newest without a number; POST saves the next version."""
    editor = _editor(request, slug, "" if number is None else str(number))
    if request.method == "POST":
        return _save(request, _editor(request, slug, request.POST.get("base", "")))
    if "subject" in request.GET:
        _store_pinned(request, [pk for text in request.GET.getlist("subject") if (pk := parse_row_id(text))])
    return _page(request, editor, editor.form(request))


@require_POST
@brand_page()
def preview(request: BrandRequest, slug: str) -> HttpResponseBase:
    """Render the typed prompt for three subjects without saving it. `place` and `subject` replace one of the three."""
    editor = _editor(request, slug, request.POST.get("base", ""))
    place, subject = (parse_row_id(request.POST.get(name, "")) for name in ("place", "subject"))
    if place is not None and subject and place < selectors.EXAMPLE_SUBJECTS:
        there = [shown_subject.pk for shown_subject in _subjects(request)]
        _store_pinned(request, [*there[:place], subject, *there[place + 1 :]])
    form = editor.form(request, request.POST)
    form.is_valid()
    return render(request, "generation/prompt_preview.html", _preview(request, editor, form))


@require_POST
@brand_page()
def engine_part(request: BrandRequest, slug: str) -> HttpResponseBase:
    """Render the fields of the engine just chosen, with what was typed so far."""
    editor = _editor(request, slug, request.POST.get("base", ""))
    form = editor.form(request, request.POST)
    form.is_valid()
    return render(request, "generation/prompt_engine.html", _engine_context(request, editor, form))


@require_POST
@brand_page(Action.RUN_SANDBOX)
def try_out(request: BrandRequest, slug: str) -> HttpResponseBase:
    """Save the changes as a draft and make images of the ticked subjects; problems are shown at their fields."""
    if request.headers.get("HX-Request"):  # htmx posts to the address of the last button; that is a preview only
        return preview(request, request.brand.slug, slug)
    editor = _editor(request, slug, request.POST.get("base", ""))
    form = editor.form(request, request.POST)
    if not form.is_valid():
        return _page(request, editor, form, status=422)
    if (offer := editor.chosen(request, form.cleaned_data["engine"])) is None:
        form.add_error("engine", _("No endpoint of this engine is there to try it on; an operator adds one."))
        return _page(request, editor, form, status=422)
    ticked = {parse_row_id(text) for text in request.POST.getlist("try_subject")}
    try:
        run, is_new = studio.try_prompt(
            template=editor.template,
            fields=form.version_fields(),
            based_on=editor.version,
            subjects=[shown_subject.pk for shown_subject in _subjects(request) if shown_subject.pk in ticked],
            endpoint=offer.endpoint,
            by=request.user,
        )
    except DomainError as refusal:
        return _page(request, editor, form, status=refusal.status, refusal=refusal)
    version = run.prompt_version
    if is_new:
        messages.success(request, _("%(version)s is saved as a draft and being tried.") % {"version": version})
    return redirect("prompt_version", request.brand.slug, slug, version.number)


@require_safe
@brand_page()
def images(request: BrandRequest, slug: str, number: int) -> HttpResponseBase:
    """Render the last images and the history; the page polls this while a try-out is being made."""
    editor = _editor(request, slug, str(number))
    assert editor.version is not None
    last = tryout_rows.last_images(editor.version, [shown_subject.pk for shown_subject in _subjects(request)])
    context = {"template": editor.template, "version": editor.version, "lasts": last.values()}
    return render(request, "generation/prompt_images.html", context | _history(request, editor))


@require_safe
@brand_page()
def subjects(request: BrandRequest, slug: str) -> HttpResponseBase:
    """List the products that match a SKU or name, as buttons that put one at a place of the preview."""
    matches = selectors.find_subjects(request.user, request.brand.pk, request.GET.get("q", "").strip())
    place = parse_row_id(request.GET.get("place", "")) or 0
    context = {"found": matches, "place": place, "template": selectors.get_template(request.user, request.brand, slug)}
    return render(request, "generation/prompt_subjects.html", context)


def _save(request: BrandRequest, editor: Editor) -> HttpResponseBase:
    form = editor.form(request, request.POST)
    if form.is_valid():
        try:
            made = services.add_version(template_id=editor.template.pk, by=request.user, **form.version_fields())
        except Invalid as refusal:
            add_problems(form, refusal)
        else:
            messages.success(request, _("%(version)s is saved as a draft.") % {"version": made})
            names = _list_names(request, made.axes)
            for text in (made.text, made.negative):
                for remark in wording.check_spelling(text, names):
                    if remark.kind == "alternatives":  # such as {red|blue|green}
                        messages.warning(request, remark.message)
            return redirect("prompt_version", request.brand.slug, editor.template.slug, made.number)
    return _page(request, editor, form, status=422)


def _page(
    request: BrandRequest, editor: Editor, form: PromptForm, *, status: int = 200, refusal: DomainError | None = None
) -> HttpResponseBase:
    if isinstance(refusal, Invalid):
        add_problems(form, Invalid("", [problem for problem in refusal.problems if problem.pointer in form.fields]))
    versions = list(selectors.list_versions(request.user, editor.template))
    earlier = [version for version in versions if editor.version and version.number < editor.version.number]
    counts, searched = selectors.count_placeholders(request.brand.pk)
    context = {
        "versions": versions,
        "before": earlier[0] if earlier else None,
        "known": [{"name": name, "count": count, "of": searched} for name, count in counts.items()],
        "refusal": refusal,
        **_engine_context(request, editor, form),
        **_preview(request, editor, form),
        **_history(request, editor),
    }
    return render(request, "generation/prompt_editor.html", context, status=status)


def _engine_context(request: BrandRequest, editor: Editor, form: PromptForm) -> dict[str, Any]:
    engine = str(form["engine"].value() or "")
    return {
        "template": editor.template,
        "version": editor.version,
        "form": form,
        "offers": editor.endpoints(engine),
        "chosen": editor.chosen(request, engine),
        "troubles": [offer.problem for offer in editor.offers if offer.problem],
    }


def _history(request: BrandRequest, editor: Editor) -> dict[str, Any]:
    return {
        "tries": tryout_rows.list_tryouts(request.user, editor.template),
        "is_trying": editor.version is not None and tryout_rows.has_running_tryout(editor.version),
        "poll": POLL_SECONDS,
    }


def _preview(request: BrandRequest, editor: Editor, form: PromptForm) -> dict[str, Any]:
    """Return the prompt of the form rendered for the three subjects, its mistakes, and the variants of its axes."""
    source, axes = _parse_prompt(form, editor)
    chosen = _subjects(request)
    offer = editor.chosen(request, str(form["engine"].value() or ""))
    encoder = offer.encoder if offer else None
    last = tryout_rows.last_images(editor.version, [picked.pk for picked in chosen]) if editor.version else {}
    ticked = request.POST.getlist("try_subject") if "ticks" in request.POST else [str(picked.pk) for picked in chosen]
    names = _list_names(request, axes)
    fields = {"text": source.text, "negative": source.negative}
    context: dict[str, Any] = {
        "template": editor.template,
        "version": editor.version,
        "form_errors": form.errors if form.is_bound else {},
        "remarks": {field: wording.check_spelling(text, names) for field, text in fields.items()},
        "reads_words": not offer or not offer.capabilities or offer.capabilities.obeys_prompt,
        "offer": offer,
        "encoder": encoder,
        "concept_problems": _concept_problems(request, source, axes, offer),
    }
    try:
        variants = prompts.expand_axes(axes)
    except prompts.AxisError as error:
        return context | {"shown": [], "variants": 0, "axis_problem": str(error)}
    guide = guides.get_published(request.brand.pk)
    campaign = campaigns.visible(request.user, brand_id=request.brand.pk).values_list("name", flat=True).first()
    general = {"brand": request.brand.name, "campaign": campaign or "Autumn"}
    shown: list[dict[str, Any]] = []
    for place, subject in enumerate(chosen):
        variant = variants[place % len(variants)]
        values = general | campaigns.placeholder_values(subject) | variant
        is_ticked = str(subject.pk) in ticked
        facts = {"subject": subject, "values": variant, "last": last.get(subject.pk), "is_ticked": is_ticked}
        shown.append({**facts, **_render_prompt(source, values, guide, encoder)})
    places = [facts["unread_from"] for facts in shown if facts.get("unread_from") is not None]
    context["unread_from"] = min(places, default=None)
    return context | {"shown": shown, "variants": len(variants), "axis_problem": ""}


def _parse_prompt(form: PromptForm, editor: Editor) -> tuple[prompts.PromptSource, dict[str, Any]]:
    """Return the prompt and axes of the form, as far as they are valid; of an unbound form, those of the version."""
    if not form.is_bound:
        version = editor.version
        return (selectors.prompt_source(version), version.axes) if version else (prompts.PromptSource(""), {})
    given, style = form.cleaned_data, form.cleaned_data.get("style")
    source = prompts.PromptSource(
        text=given.get("text", ""),
        negative=given.get("negative", ""),
        style=style.text if style else "",
        style_negative=style.negative if style else "",
        parameters=form.engine_parameters(),
    )
    return source, given.get("axes", {})


def _concept_problems(
    request: BrandRequest, source: prompts.PromptSource, axes: dict[str, Any], offer: Offer | None
) -> list[tuple[str, int | None]]:
    """Return (problem with a scene or map that the prompt names, id of its concept)."""
    if offer is None or offer.capabilities is None:
        return []
    problems: list[tuple[str, int | None]] = []
    for use in concepts.supported_uses(offer.capabilities):
        named = concepts.list_named_keys(use, source, axes) or frozenset()
        lookup = concepts.load_images(use, request.brand, named)
        problems += [(problem, lookup.concept(key)) for key in sorted(named) if (problem := lookup.problem(key))]
    hidden = concepts.find_hidden_axes(source, axes) if offer.capabilities.takes_scenes else {}
    return [*problems, *((sentence, None) for sentence in hidden.values())]


def _list_names(request: BrandRequest, axes: Iterable[str]) -> list[str]:
    """Return the names of the placeholders that the brand's subjects have, and those of the axes."""
    counts, _searched = selectors.count_placeholders(request.brand.pk)
    return [*counts, *axes]


def _render_prompt(
    source: prompts.PromptSource, values: dict[str, Any], guide: Any, encoder: tokens.Encoder | None
) -> dict[str, Any]:
    """Return the rendered prompt, or the "problem" that prevents it. reading: how much of the prompt the model reads;
    None if unknown. unread_from: the place in the prompt's source text where the model stops reading. unread: how much
    of the negative prompt the model reads, if that is too long."""
    try:
        rendered = prompts.render(source, values)
    except prompts.MissingValues as lacking:
        return {"problem": _("No value for %(names)s.") % {"names": ", ".join(lacking.names)}}
    except prompts.PromptSyntaxError as error:
        return {"problem": f"{error.message} ({prompts.describe_position(source.text, error.position)})."}
    reading = tokens.count_tokens(rendered.text, encoder) if encoder else None
    unread = tokens.count_tokens(rendered.negative, encoder) if encoder else None
    cut = reading.cut if reading else None
    return {
        "pieces": pieces.mark_remarks(rendered, prompts.lint(rendered.text, guide) if guide else [], cut),
        "negative": rendered.negative,
        "reading": reading,
        "unread": unread if unread and unread.cut is not None else None,
        "unread_from": pieces.source_place(source.text, rendered, cut) if cut is not None else None,
    }


def _subjects(request: BrandRequest) -> list[Subject]:
    """Return the three subjects of the preview. They stay until the person changes them, and are kept per brand."""
    pinned = request.session.get(PINNED, {}).get(str(request.brand.pk), [])
    return selectors.example_subjects(request.user, request.brand.pk, pinned)


def _store_pinned(request: BrandRequest, subject_ids: Sequence[int]) -> None:
    pinned = dict(request.session.get(PINNED, {}))
    pinned[str(request.brand.pk)] = list(dict.fromkeys(subject_ids))[: selectors.EXAMPLE_SUBJECTS]
    request.session[PINNED] = pinned


def _editor(request: BrandRequest, slug: str, version_number: str) -> Editor:
    template = selectors.get_template(request.user, request.brand, slug)
    rows = selectors.list_versions(request.user, template).select_related("template")
    version = rows.filter(number=parse_row_id(version_number) or 0).first() if version_number else rows.first()
    if version_number and version is None:
        names = {"template": template.name, "number": version_number}
        raise NotFound(_("%(template)s has no version %(number)s.") % names)
    offers = endpoints.list_offers(request.brand)
    return Editor(template, version, offers, _engines(offers, version))


def _engines(offers: Sequence[Offer], version: PromptVersion | None) -> list[EngineChoice]:
    """Return the engines that have an endpoint here, and the engine of the version."""
    choices: dict[str, EngineChoice] = {}
    for offer in offers:
        name = offer.endpoint.engine
        if name not in choices or choices[name].capabilities is None:
            choices[name] = EngineChoice(name, f"{name}: {offer.endpoint.name}", offer.capabilities)
    own = str(version.needs.get("engine", "")) if version else ""
    if own and own not in choices:
        choices[own] = EngineChoice(own, _("%(engine)s: no endpoint is switched on") % {"engine": own}, None)
    return list(choices.values())
