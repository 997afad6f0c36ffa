"""The studio: try a prompt on an endpoint, see the image on the page, repeat earlier tries, save a prompt."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from campaigns.forms import add_problems
from campaigns.selectors import photos, subjects
from campaigns.selectors import prompts as prompt_selectors
from core.access import Action
from core.errors import DomainError, Invalid, NotFound, Problem
from core.pages import BrandRequest, brand_page, parse_row_id
from core.selectors.rows import first_or_refuse
from generation.models import Endpoint
from generation.selectors import endpoints
from generation.selectors import tryouts as selectors
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


@require_safe
@brand_page(Action.RUN_SANDBOX)
def page(request: BrandRequest) -> HttpResponseBase:
    """Show the studio; `?try=` loads an earlier try, `?example=` the settings of an image made here."""
    initial, result = {}, None
    if (run_id := parse_row_id(request.GET.get("try", ""))) is not None:
        run = _run(request, run_id)
        initial, result = studio_form.values_of_run(run), selectors.load_result(run)
    elif (version_id := parse_row_id(request.GET.get("example", ""))) is not None:
        initial = studio_form.values_of_example(selectors.get_example(request.user, request.brand, version_id))
    elif "words" in request.GET:
        initial = {"text": request.GET["words"][: services.MAX_TEXT_LENGTH]}
    form = StudioForm(request=request, initial=initial)
    return render(request, "generation/studio.html", _context(request, form, result))


@require_POST
@brand_page(Action.RUN_SANDBOX)
def start(request: BrandRequest) -> HttpResponseBase:
    """Start a try; an error is shown in the place of the result."""
    form = StudioForm(request.POST, request=request)
    if not form.is_valid():
        return _render_refusal(request, form)
    assert form.offer is not None
    try:
        wish, endpoint = form.tryout_request(), form.offer.endpoint
        run = services.start(brand=request.brand, wish=wish, endpoint=endpoint, by=request.user)
    except DomainError as refusal:
        return _render_refusal(request, form, refusal)
    return _show_try(request, run.pk)


@require_POST
@brand_page(Action.RUN_SANDBOX)
def engine_part(request: BrandRequest) -> HttpResponseBase:
    """Render the fields of the endpoint just chosen, with what was typed so far."""
    form = StudioForm(request=request, initial=request.POST.dict())
    return render(request, "generation/studio_engine.html", _context(request, form))


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
    rows = endpoints.list_usable(request.brand).filter(pk=parse_row_id(request.POST.get("endpoint", "")))
    endpoint: Endpoint = first_or_refuse(rows, _("This endpoint is not there any more; load the page again."))
    try:
        new_run = services.repeat_on_endpoint(run_id=run.pk, endpoint=endpoint, by=request.user)
    except DomainError as refusal:
        values = studio_form.values_of_run(run) | {"endpoint": endpoint.pk}
        return _render_refusal(request, StudioForm(values, request=request), refusal)
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
    if (given := request.FILES.get("file")) is None:
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


def _render_refusal(request: BrandRequest, form: StudioForm, refusal: DomainError | None = None) -> HttpResponseBase:
    """Render the page with the errors, or for htmx the errors alone, in the place of the result."""
    problems = refusal.problems if isinstance(refusal, Invalid) else []
    if refusal:
        add_problems(form, refusal)
    sentence, *others = dict.fromkeys([*([refusal.message] if refusal else []), *form.error_sentences()])
    names = {*form.errors, *(problem.pointer for problem in problems), *(problem.value for problem in problems)}
    is_elsewhere_otherwise = bool(names & ELSEWHERE) or (refusal is not None and not problems)
    context = _context(request, form) | {
        "sentence": sentence,
        "other_sentences": [other for other in others if other not in sentence],
        "wrong_field": next((name for name in form.errors if name in form.fields), ""),
        "others": [offer for offer in form.offers if offer != form.offer] if is_elsewhere_otherwise else [],
    }
    name = "studio_refusal" if request.headers.get("HX-Request") else "studio"
    status = refusal.status if refusal else Invalid.status
    return render(request, f"generation/{name}.html", context, status=status)


def _context(request: BrandRequest, form: StudioForm, result: selectors.Result | None = None) -> dict[str, Any]:
    examples = selectors.examples(request.user, request.brand, form.offers)
    context = {**_reference(request, form), **_history(request, None), "form": form, "examples": examples}
    placeholder = examples[0]["words"] if examples else selectors.EXAMPLE_PROMPTS[0]
    if form.offer and form.capabilities:
        endpoint = form.offer.endpoint
        width, height = form.size
        context["price"] = estimates.estimate_price(endpoint, width=width, height=height)
        context["sizes"] = studio_form.sizes(form.capabilities)
        context["limits"] = studio_form.size_limits(form.capabilities)
        context["pace"] = estimates.estimate_interval(endpoint, {"": estimates.Work(1)})
        if not form.capabilities.obeys_prompt:
            placeholder = _("%(name)s reads no words; this is for you") % {"name": endpoint.name}
    form.fields["text"].widget.attrs["placeholder"] = placeholder
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


def _reference(request: BrandRequest, form: StudioForm) -> dict[str, Any]:
    """Return the chosen reference: an uploaded photo, or a product with its photo."""
    if form.reference is None:
        return {}
    product_id, photo_id = (parse_row_id(str(form[name].value())) for name in ("product", "photo"))
    products = subjects.list_with_photos(request.user, request.brand)
    if product_id is not None and (product := products.filter(pk=product_id).first()):
        return {"product": product, "reference_photo": selectors.default_photo(product)}
    if photo_id is not None:
        return {"reference_photo": photos.list_of_brand(request.user, request.brand).filter(pk=photo_id).first()}
    return {}


def _history(request: BrandRequest, before: int | None) -> dict[str, Any]:
    earlier = selectors.load_history(request.user, request.brand, before=before)
    return {
        "earlier": earlier,
        "more_before": earlier[-1].run.pk if len(earlier) == selectors.SHOWN else None,
        "is_first": before is None,
        "left": selectors.money_left(request.brand) if before is None else None,
    }
