"""The studio: try a prompt on an endpoint, see the image on the page, repeat earlier tries, save a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.contrib import messages
from django.http import HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from campaigns.selectors import photos, subjects
from campaigns.selectors import prompts as prompt_selectors
from core.access import Action
from core.errors import DomainError, Invalid, NotFound, Problem
from core.pages import BrandRequest, brand_page, parse_row_id
from core.selectors.rows import first_or_refuse
from generation.models import Endpoint
from generation.selectors import endpoints
from generation.selectors import studio as selectors
from generation.selectors.endpoints import Offer
from generation.services import runs
from generation.services import studio as services
from generation.services.planning import estimates
from generation.views import studio_form
from generation.views.studio_form import StudioForm

POLL_SECONDS = 1
#: The htmx event of a try that began or ended; the page then reloads the history.
CHANGED = "studio-changed"
#: Fields and kinds of problems that may not occur on another endpoint.
ELSEWHERE = frozenset({"endpoint", "photo", "engine", "missing_photo", "missing_cutout"})


@dataclass(frozen=True)
class Editor:
    """The data of the form: the usable endpoints, the chosen one, and the problems of the others."""

    offers: Sequence[Offer]
    chosen: Offer | None
    troubles: Sequence[str]


@require_safe
@brand_page(Action.RUN_SANDBOX)
def page(request: BrandRequest) -> HttpResponseBase:
    """Show the studio; `?try=` loads an earlier try, `?example=` the settings of an image made here."""
    filled, result = StudioForm(), None
    if (run_id := parse_row_id(request.GET.get("try", ""))) is not None:
        run = _run(request, run_id)
        filled, result = studio_form.form_of_run(run), selectors.load_result(run)
    elif (version_id := parse_row_id(request.GET.get("example", ""))) is not None:
        version = selectors.find_example(request.user, request.brand, version_id)
        if version is None:
            raise NotFound(_("This image is not there, or nobody knows how it was made."))
        filled = studio_form.form_of_example(version)
    elif "words" in request.GET:
        filled = StudioForm(text=request.GET["words"][: services.MAX_TEXT_LENGTH])
    return render(request, "generation/studio.html", _context(request, filled, result))


@require_POST
@brand_page(Action.RUN_SANDBOX)
def start(request: BrandRequest) -> HttpResponseBase:
    """Start a try; an error is shown in the place of the result."""
    filled = studio_form.submitted_form(request.POST)
    editor = _editor(request, filled)
    try:
        if editor.chosen is None:
            message = _("There is no endpoint to try on. An operator adds one.")
            raise Invalid(message, [Problem("endpoint", message)])
        wish = studio_form.parse_request(request, filled, editor.chosen)
        run = services.start(brand=request.brand, wish=wish, endpoint=editor.chosen.endpoint, by=request.user)
    except DomainError as refusal:
        return _render_refusal(request, filled, editor, refusal)
    return _show_try(request, run.pk)


@require_POST
@brand_page(Action.RUN_SANDBOX)
def engine_part(request: BrandRequest) -> HttpResponseBase:
    """Render the fields of the endpoint just chosen, with what was typed so far."""
    return render(request, "generation/studio_engine.html", _context(request, studio_form.submitted_form(request.POST)))


@require_safe
@brand_page(Action.RUN_SANDBOX)
def progress(request: BrandRequest, run_id: int) -> HttpResponseBase:
    """Render the progress of a try; once it has ended, replace the whole result."""
    result = selectors.load_result(_run(request, run_id))
    context = _result_context(request, result)
    if result.is_underway:
        return render(request, "generation/studio_live.html", context)
    answer = render(request, "generation/studio_result.html", context)
    answer["HX-Retarget"], answer["HX-Reswap"], answer["HX-Trigger"] = "#studio-result", "innerHTML", CHANGED
    return answer


@require_safe
@brand_page(Action.RUN_SANDBOX)
def history(request: BrandRequest) -> HttpResponseBase:
    """Render the person's earlier tries; `?before=` gives older ones."""
    context = _history(request, parse_row_id(request.GET.get("before", "")))
    context["with_left"] = context["is_first"]
    return render(request, "generation/studio_history.html", context)


@require_POST
@brand_page(Action.RUN_SANDBOX)
def cancel(request: BrandRequest, run_id: int) -> HttpResponseBase:
    """Cancel a try; images that are made already stay."""
    runs.cancel(run_id=_run(request, run_id).pk, by=request.user)
    return _show_try(request, run_id)


@require_POST
@brand_page(Action.RUN_SANDBOX)
def repeat(request: BrandRequest, run_id: int) -> HttpResponseBase:
    """Start the same try on another endpoint."""
    run = _run(request, run_id)
    pk = parse_row_id(request.POST.get("endpoint", ""))
    rows = endpoints.list_usable(request.brand).filter(pk=pk)
    endpoint: Endpoint = first_or_refuse(rows, _("This endpoint is not there any more; load the page again."))
    try:
        new_run = services.repeat_on_endpoint(run_id=run.pk, endpoint=endpoint, by=request.user)
    except DomainError as refusal:
        filled = replace(studio_form.form_of_run(run), endpoint=str(endpoint.pk))
        return _render_refusal(request, filled, _editor(request, filled), refusal)
    return _show_try(request, new_run.pk)


@require_POST
@brand_page(Action.RUN_SANDBOX)
def save_prompt(request: BrandRequest, run_id: int) -> HttpResponseBase:
    """Save the prompt of a try as a prompt version and redirect to it."""
    chosen = request.POST.get("template", "")
    template = prompt_selectors.get_template(request.user, request.brand, chosen) if chosen else None
    made = services.save_prompt(
        run_id=_run(request, run_id).pk,
        by=request.user,
        template=template,
        name=request.POST.get("name", ""),
        seed=parse_row_id(request.POST.get("seed", "")),
    )
    messages.success(request, _("%(version)s is saved as a draft, with the seed of the image.") % {"version": made})
    return redirect("prompt_version", request.brand.slug, made.template.slug, made.number)


@require_POST
@brand_page(Action.RUN_SANDBOX)
def add_image(request: BrandRequest) -> HttpResponseBase:
    """Save a dropped, pasted or chosen image as a reference photo. Returns JSON: {"photo": its id}."""
    given = request.FILES.get("file")
    if given is None:
        raise Invalid(_("No image came with this."), [Problem("file", _("Choose an image."))])
    photo = services.add_image(brand=request.brand, data=given.read(), file_name=given.name or "image", by=request.user)
    return JsonResponse({"photo": photo.pk})


@require_safe
@brand_page(Action.RUN_SANDBOX)
def products(request: BrandRequest) -> HttpResponse:
    """List the products with a photo that match a SKU or name, as buttons."""
    words = request.GET.get("q", "").strip()[:100]
    matches = [
        {"subject": product, "photo": selectors.default_photo(product)}
        for product in selectors.products(request.user, request.brand, words)
    ]
    return render(request, "generation/studio_products.html", {"found": matches, "words": words})


def _run(request: BrandRequest, run_id: int) -> Any:
    run = services.get(run_id, request.user)
    if run.campaign.brand_id != request.brand.pk:
        raise NotFound(_("There is no try %(number)s in the studio.") % {"number": run_id})
    return run


def _show_try(request: BrandRequest, run_id: int) -> HttpResponseBase:
    address = f"{reverse('studio', args=[request.brand.slug])}?try={run_id}"
    if not request.headers.get("HX-Request"):
        return redirect(address)
    result = selectors.load_result(_run(request, run_id))
    answer = render(request, "generation/studio_result.html", _result_context(request, result))
    answer["HX-Replace-Url"], answer["HX-Trigger"] = address, CHANGED
    return answer


def _render_refusal(
    request: BrandRequest, filled: StudioForm, editor: Editor, refusal: DomainError
) -> HttpResponseBase:
    """Render the page with the error, or for htmx the error alone, in the place of the result."""
    problems = refusal.problems if isinstance(refusal, Invalid) else []
    errors = {problem.pointer: problem.message for problem in problems if "/" not in problem.pointer}
    is_elsewhere_otherwise = any(problem.pointer in ELSEWHERE or problem.value in ELSEWHERE for problem in problems)
    usable = editor.offers if is_elsewhere_otherwise or not problems else []
    others = [offer for offer in usable if offer != editor.chosen]
    context = _context(request, replace(filled, errors=errors)) | {"refusal": refusal, "others": others}
    name = "studio_refusal" if request.headers.get("HX-Request") else "studio"
    return render(request, f"generation/{name}.html", context, status=refusal.status)


def _editor(request: BrandRequest, filled: StudioForm) -> Editor:
    offers = endpoints.list_offers(request.brand)
    able = [offer for offer in offers if not offer.problem]
    # Engines that read a prompt come first, because most people come here with one.
    able.sort(key=lambda offer: not (offer.capabilities and offer.capabilities.obeys_prompt))
    chosen = _find_offer(able, filled.endpoint) or next(iter(able), None)
    return Editor(able, chosen, [offer.problem for offer in offers if offer.problem])


def _find_offer(offers: Sequence[Offer], endpoint_id: str) -> Offer | None:
    return next((offer for offer in offers if str(offer.endpoint.pk) == endpoint_id), None)


def _context(request: BrandRequest, filled: StudioForm, result: selectors.Result | None = None) -> dict[str, Any]:
    editor = _editor(request, filled)
    offer = editor.chosen
    capabilities = offer.capabilities if offer else None
    if offer and filled.settings_of != str(offer.endpoint.pk):
        usual = selectors.load_last_settings(request.user, request.brand, offer)
        filled = studio_form.without_default_size(filled, _find_offer(editor.offers, filled.settings_of))
        filled = studio_form.with_last_settings(filled, offer, usual)
    context: dict[str, Any] = {
        "editor": editor,
        "filled": filled,
        "styles": prompt_selectors.list_active_styles(request.user, request.brand),
        "capabilities": capabilities,
        "settings": studio_form.settings(filled, offer),
        "takes": studio_form.reference(offer),
        "obeys_seed": bool(capabilities and "seed" in capabilities.obeys),
        "heeds_negative": bool(capabilities and "negative" in capabilities.obeys),
        "most": services.MAX_IMAGES,
        "examples": selectors.examples(request.user, request.brand, editor.offers),
        **_reference(request, filled),
        **_history(request, None),
    }
    if offer and capabilities:
        width, height = context["size"] = studio_form.fitted_size(filled, capabilities)
        context["price"] = estimates.estimate_price(offer.endpoint, width=width, height=height)
        context["sizes"] = studio_form.sizes(capabilities)
        context["limits"] = studio_form.size_limits(capabilities)
        context["pace"] = estimates.estimate_interval(offer.endpoint, {"": estimates.Work(1)})
    return context | (_result_context(request, result) if result else {})


def _result_context(request: BrandRequest, result: selectors.Result) -> dict[str, Any]:
    context: dict[str, Any] = {"result": result, "poll": POLL_SECONDS}
    if not result.is_underway:
        wish = services.request_of_run(result.run)
        context["others"] = [
            offer
            for offer in endpoints.list_offers(request.brand)
            if offer.capabilities
            and offer.endpoint.pk != result.run.endpoint_id
            and services.has_needed_input(wish, offer.capabilities)
        ]
        context["templates"] = prompt_selectors.list_templates(request.user, brand_id=request.brand.pk)
    return context


def _reference(request: BrandRequest, filled: StudioForm) -> dict[str, Any]:
    """Return the chosen reference: an uploaded photo, or a product with its photo."""
    if (pk := parse_row_id(filled.product)) is not None:
        product = subjects.find_subject(request.user, request.brand, pk)
        if product is not None:
            return {"product": product, "reference_photo": selectors.default_photo(product)}
    if (pk := parse_row_id(filled.photo)) is not None:
        return {"reference_photo": photos.find_photo(request.user, request.brand, pk)}
    return {}


def _history(request: BrandRequest, before: int | None) -> dict[str, Any]:
    earlier = selectors.load_history(request.user, request.brand, before=before)
    return {
        "earlier": earlier,
        "more_before": earlier[-1].run.pk if len(earlier) == selectors.SHOWN else None,
        "is_first": before is None,
        "left": selectors.money_left(request.brand) if before is None else None,
    }
