"""Pages of the endpoints: health, the last day, settings and secret, and current use."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db import transaction
from django.http import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST, require_safe

from campaigns.forms import add_problems
from core import access
from core.access import Action
from core.errors import Conflict, DomainError, Invalid, NotFound
from core.pages import BrandRequest, brand_page
from core.services import brands
from generation.models import Endpoint
from generation.selectors import endpoint_activity
from generation.selectors import endpoint_cards as selectors
from generation.services.dispatch import retries
from generation.services.endpoints import editing as services
from generation.services.endpoints import health
from generation.views.endpoint_form import SETTING, BudgetForm, EndpointForm, SecretForm, list_engines

#: Seconds between two polls of the current use, and of an answer that has not come yet.
USE_SECONDS = 2
ANSWER_SECONDS = 1


@require_safe
@brand_page()
def index(request: BrandRequest) -> HttpResponseBase:
    """Show a card for every endpoint that serves the brand."""
    cards = selectors.cards(request.brand, list(selectors.visible(request.brand, request.user)))
    may_add = access.can(request.user, Action.EDIT_BRAND, request.brand)
    return render(request, "generation/endpoints.html", {"cards": cards, "may_add": may_add})


@brand_page(Action.EDIT_BRAND)
def new(request: BrandRequest) -> HttpResponseBase:
    """Set up an endpoint of the engine `?engine=`: for this brand, or as an operator for all brands."""
    is_operator = access.can(request.user, Action.EDIT_SHARED_ENDPOINT)
    offered = list_engines(is_operator=is_operator)
    first = next(iter(list_engines(is_operator=False)), "")  # the first one that needs no operator
    engine = (request.POST if request.method == "POST" else request.GET).get("engine", first)
    if engine not in offered:
        raise NotFound(_("There is no engine %(engine)r that you could set up.") % {"engine": engine})
    posted = EndpointForm(request.POST, engine=engine, is_operator=is_operator) if request.method == "POST" else None
    secret = SecretForm(request.POST if posted else None, is_required=False)
    if posted is not None and posted.is_valid() and secret.is_valid():
        values = posted.values()
        brand = None if is_operator and posted.cleaned_data.get("is_shared") else request.brand
        try:
            made = services.create(
                brand=brand, by=request.user, engine=engine, secret=secret.cleaned_data["secret"], **values
            )
        except (Invalid, Conflict) as refusal:
            _add_refusal(posted, secret, refusal)
        else:
            sentence = _("%(name)s is set up. Ask it now, to see whether it answers.") % {"name": made.name}
            messages.success(request, sentence)
            return redirect("endpoint", request.brand.slug, made.slug)
    form = posted or EndpointForm(engine=engine, is_operator=is_operator)
    context = {"form": form, "secret_form": secret, "engines": offered, "takes_secret": not form.plugin.is_local}
    return render(request, "generation/endpoint_new.html", context, status=422 if posted else 200)


@brand_page()
def detail(request: BrandRequest, slug: str) -> HttpResponseBase:
    """Show an endpoint with its last day, errors and settings. POST changes the settings."""
    endpoint = selectors.get(request.brand, request.user, slug)
    may_edit = services.can_edit(request.user, endpoint)
    is_operator = access.can(request.user, Action.EDIT_SHARED_ENDPOINT)
    form = EndpointForm(endpoint=endpoint, is_operator=is_operator) if may_edit else None
    if request.method == "POST":
        form = EndpointForm(request.POST, endpoint=endpoint, is_operator=is_operator)
        if form.is_valid() and _save_changes(request, endpoint, form):
            return redirect("endpoint", request.brand.slug, slug)
    return _page(request, slug, form)


@require_POST
@brand_page()
def set_secret(request: BrandRequest, slug: str) -> HttpResponseBase:
    """Replace the secret, or delete it with `remove`."""
    endpoint = selectors.get(request.brand, request.user, slug)
    if "remove" in request.POST:
        services.set_secret(endpoint_id=endpoint.pk, by=request.user, secret="")
        messages.success(request, _("The secret of %(name)s is removed.") % {"name": endpoint.name})
        return redirect("endpoint", request.brand.slug, slug)
    form = SecretForm(request.POST)
    if form.is_valid():
        try:
            services.set_secret(endpoint_id=endpoint.pk, by=request.user, secret=form.cleaned_data["secret"])
        except Invalid as refusal:
            add_problems(form, refusal)
        else:
            sentence = _("The new secret of %(name)s is kept. Ask it now, to see whether it is taken.")
            messages.success(request, sentence % {"name": endpoint.name})
            return redirect("endpoint", request.brand.slug, slug)
    kept = EndpointForm(endpoint=endpoint, is_operator=access.can(request.user, Action.EDIT_SHARED_ENDPOINT))
    return _page(request, slug, kept, secret_form=form)


@require_POST
@brand_page()
def act(request: BrandRequest, slug: str, verb: str) -> HttpResponseBase:
    """Carry out an action: on, off, again (after trouble), retry (images that failed because of the endpoint)."""
    endpoint = selectors.get(request.brand, request.user, slug)
    if verb in ("on", "off"):
        services.set_enabled(endpoint_id=endpoint.pk, by=request.user, is_enabled=verb == "on")
        sentence = _("%(name)s is switched on.") if verb == "on" else _("%(name)s is switched off.")
        messages.success(request, sentence % {"name": endpoint.name})
    elif verb == "again":
        queued = services.try_again(endpoint_id=endpoint.pk, by=request.user)
        sentence = _("%(name)s gets its next submission now.")
        if queued:
            sentence = ngettext(
                "%(name)s gets its next submission now. %(count)s image that waited for its account goes on.",
                "%(name)s gets its next submission now. %(count)s images that waited for its account go on.",
                queued,
            )
        messages.success(request, sentence % {"name": endpoint.name, "count": f"{queued:,}"})
    elif verb == "retry":
        count = retries.retry_endpoint(brand=request.brand, endpoint=endpoint, by=request.user)
        sentence = ngettext("%(count)d image is tried again.", "%(count)d images are tried again.", count)
        messages.success(request, sentence % {"count": count})
    else:
        raise NotFound(_("There is no action %(verb)r for an endpoint.") % {"verb": verb})
    return redirect("endpoint", request.brand.slug, slug)


@require_POST
@brand_page(Action.RUN)
def request_check(request: BrandRequest, slug: str) -> HttpResponseBase:
    """Let a worker check the endpoint; the page shows the answer when it comes."""
    endpoint = health.request_check(brand=request.brand, slug=slug, by=request.user)
    if not getattr(request, "htmx", False):
        return redirect("endpoint", request.brand.slug, slug)
    return _answer(request, endpoint)


@require_safe
@brand_page()
def check_result(request: BrandRequest, slug: str) -> HttpResponseBase:
    """Show the endpoint's answer, or that it has not come yet; the page polls until there is an answer."""
    return _answer(request, selectors.get(request.brand, request.user, slug))


@require_POST
@brand_page()
def apply_suggested(request: BrandRequest, slug: str) -> HttpResponseBase:
    """Save the settings that the service's description of its model suggests."""
    endpoint = health.apply_suggested(brand=request.brand, slug=slug, by=request.user)
    sentence = _("%(name)s knows its model’s inputs now; they stand among its settings.") % {"name": endpoint.name}
    messages.success(request, sentence)
    return redirect("endpoint", request.brand.slug, slug)


@require_safe
@brand_page()
def current_use(request: BrandRequest) -> HttpResponseBase:
    """Show the current use of all endpoints; the page polls the changing part every two seconds."""
    if getattr(request, "htmx", False):
        return render(request, "generation/endpoints_use.html", _in_use(request))
    form = BudgetForm(request.brand) if access.can(request.user, Action.EDIT_BRAND, request.brand) else None
    return render(request, "generation/endpoints_now.html", _in_use(request) | {"budget_form": form})


@require_POST
@brand_page(Action.EDIT_BRAND)
def set_budget(request: BrandRequest) -> HttpResponseBase:
    """Set what the brand may spend in a month."""
    form = BudgetForm(request.brand, request.POST)
    if not form.is_valid():
        context = _in_use(request) | {"budget_form": form}
        return render(request, "generation/endpoints_now.html", context, status=422)
    amount = form.cleaned_data["monthly_budget"]
    brands.change(brand_id=request.brand.pk, monthly_budget=amount, by=request.user)
    if amount is None:
        sentence = _("%(brand)s may spend what its campaigns may a month.") % {"brand": request.brand.name}
    else:
        names = {"brand": request.brand.name, "amount": f"{amount:.2f}", "currency": request.brand.currency}
        sentence = _("%(brand)s may spend %(amount)s %(currency)s a month.") % names
    messages.success(request, sentence)
    return redirect("endpoints_now", request.brand.slug)


def _in_use(request: BrandRequest) -> dict[str, Any]:
    return {
        "uses": endpoint_activity.list_endpoint_uses(request.brand, request.user),
        "budget_uses": endpoint_activity.list_budget_uses(request.brand, request.user),
        "poll": USE_SECONDS,
    }


def _answer(request: BrandRequest, endpoint: Endpoint) -> HttpResponseBase:
    context = {
        "endpoint": endpoint,
        "answer": health.get_latest_check(endpoint),
        "poll": ANSWER_SECONDS,
        "may_edit": services.can_edit(request.user, endpoint),
    }
    return render(request, "generation/endpoint_answer.html", context)


def _page(
    request: BrandRequest, slug: str, form: EndpointForm | None, *, secret_form: SecretForm | None = None
) -> HttpResponseBase:
    endpoint = selectors.get(request.brand, request.user, slug)
    may_edit = services.can_edit(request.user, endpoint)
    context: dict[str, Any] = {
        "card": selectors.cards(request.brand, [endpoint])[0],
        "endpoint": endpoint,
        "day": endpoint_activity.day(request.brand, endpoint),
        "troubles": endpoint_activity.troubles(request.brand, endpoint),
        "failed_by_it": endpoint_activity.count_setup_failures(request.brand, endpoint),
        "may_edit": may_edit,
        "form": form if may_edit else None,
        "secret_form": secret_form or SecretForm(),
        "has_secret": bool(endpoint.sealed_secret),
        "takes_secret": not endpoint.plugin.is_local,
        "answer": health.get_latest_check(endpoint),
        "poll": ANSWER_SECONDS,
    }
    is_refused = bool(form and form.errors) or secret_form is not None
    return render(request, "generation/endpoint.html", context, status=422 if is_refused else 200)


def _save_changes(request: BrandRequest, endpoint: Endpoint, form: EndpointForm) -> bool:
    values, secret = form.values(), form.cleaned_data.get("secret", "")
    try:
        with transaction.atomic():
            if secret:
                config = values["config"]
                services.set_secret(endpoint_id=endpoint.pk, by=request.user, secret=secret, config=config)
            services.update(endpoint_id=endpoint.pk, by=request.user, **values)
    except (Invalid, Conflict) as refusal:
        _add_refusal(form, None, refusal)
        return False
    messages.success(request, _("%(name)s is changed.") % {"name": form.cleaned_data["name"]})
    return True


def _add_refusal(form: EndpointForm, secret: SecretForm | None, refusal: DomainError) -> None:
    """Show an error at its field; an error without a field, or with several as for prices, is shown on top."""
    if not isinstance(refusal, Invalid):
        form.add_error(None, refusal.message)
        return
    for problem in refusal.problems:
        field, *inner = problem.pointer.split("/")
        if field == "config" and inner and SETTING + inner[0] in form.fields:
            field = SETTING + inner[0]
        if field == "secret" and secret is not None and secret.is_bound:
            secret.add_error("secret", problem.message)
        else:
            form.add_error(field if field in form.fields else None, problem.message)
