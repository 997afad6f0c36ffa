"""Pages of webhooks: the list, a new one, one with its secret and its log, and a message with its attempts."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponseBase, QueryDict
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from campaigns.forms import add_problems
from core import encryption
from core.access import Action, can
from core.errors import Conflict, Invalid, NotFound
from core.pages import BrandRequest, brand_page, parse_row_id
from review.choices import MessageState, WebhookEvent
from review.delivery import signed_messages
from review.models import WebhookEndpoint
from review.selectors import webhooks as selectors
from review.selectors.webhooks import EXPLANATIONS, MessageFilters
from review.services import webhook_messages
from review.services import webhooks as services
from review.views.deliveries import parse_wall_time


class WebhookForm(forms.Form):
    """The form of a new or a stored webhook. Each event is a checkbox with its explanation."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=120)
    url = forms.CharField(
        label=gettext_lazy("Address"), max_length=2000,
        widget=forms.TextInput(attrs={"class": "mono", "inputmode": "url", "spellcheck": "false", "placeholder": "https://…"}),
        help_text=gettext_lazy("It gets POST requests. What follows “?” is stored, but not shown again."),
    )  # fmt: skip
    events = forms.MultipleChoiceField(
        label=gettext_lazy("Events"), choices=WebhookEvent.choices, widget=forms.CheckboxSelectMultiple
    )

    def __init__(self, data: Any = None, *, endpoint: WebhookEndpoint | None = None) -> None:
        initial = {}
        if endpoint:
            initial = {"name": endpoint.name, "url": endpoint.redacted_url, "events": endpoint.events}
        super().__init__(data, initial=initial)

    def event_rows(self) -> list[tuple[Any, str, str]]:
        """Return (checkbox, type, explanation) of each event."""
        boxes = list(self["events"])
        return [(box, value, str(EXPLANATIONS[value])) for box, value in zip(boxes, WebhookEvent, strict=True)]


@require_safe
@brand_page(Action.DELIVER)
def index(request: BrandRequest) -> HttpResponseBase:
    """List the brand's webhooks with their state and counts."""
    summaries = selectors.summarize(selectors.endpoints(request.user, request.brand))
    context = {"summaries": summaries, "may_edit": can(request.user, Action.EDIT_BRAND, request.brand)}
    return render(request, "review/webhooks.html", context)


@brand_page(Action.EDIT_BRAND)
def new(request: BrandRequest) -> HttpResponseBase:
    """Show the form of a new webhook. POST creates it."""
    form = WebhookForm(request.POST if request.method == "POST" else None)
    if form.is_bound and form.is_valid():
        try:
            made = services.create(brand=request.brand, by=request.user, **form.cleaned_data)
        except Invalid as refusal:
            add_problems(form, refusal)
        else:
            sentence = _("%(name)s is set up. Copy its secret to the receiver, then send a test.")
            messages.success(request, sentence % {"name": made.name})
            return redirect("webhook", request.brand.slug, made.pk)
    return render(request, "review/webhook_new.html", {"form": form}, status=422 if form.is_bound else 200)


@brand_page(Action.DELIVER)
def detail(request: BrandRequest, pk: int) -> HttpResponseBase:
    """Show a webhook with its log. POST changes its name, address or events."""
    endpoint = selectors.get_endpoint(request.user, request.brand, pk)
    if request.method != "POST":
        return _page(request, endpoint)
    form = WebhookForm(request.POST, endpoint=endpoint)
    if form.is_valid():
        try:
            services.change(endpoint_id=pk, by=request.user, **form.cleaned_data)
        except Invalid as refusal:
            add_problems(form, refusal)
        else:
            messages.success(request, _("%(name)s is changed.") % {"name": form.cleaned_data["name"]})
            return redirect("webhook", request.brand.slug, pk)
    return _page(request, endpoint, form=form, status=422)


@require_POST
@never_cache
@brand_page(Action.EDIT_BRAND)
def show_secret(request: BrandRequest, pk: int) -> HttpResponseBase:
    """Show the secret, which works once: loading the page again shows it no more."""
    endpoint = selectors.get_endpoint(request.user, request.brand, pk)
    try:
        secret = services.show_secret(endpoint_id=pk, by=request.user)
    except Conflict as refusal:
        messages.warning(request, refusal.message)
    except encryption.Unreadable as error:
        messages.error(request, str(error))
    else:
        endpoint.refresh_from_db()
        return _page(request, endpoint, secret=secret)
    return redirect("webhook", request.brand.slug, pk)


@require_POST
@brand_page()
def act(request: BrandRequest, pk: int, verb: str) -> HttpResponseBase:
    """Switch a webhook on or off, rotate its secret, or send again what failed, depending on `verb`."""
    endpoint = selectors.get_endpoint(request.user, request.brand, pk)
    if verb not in _ACTIONS:
        raise NotFound(_("There is no action %(verb)r for a webhook.") % {"verb": verb})
    try:
        sentence = _ACTIONS[verb](request, endpoint)
    except (Conflict, Invalid) as refusal:
        messages.error(request, refusal.message)
    else:
        messages.success(request, sentence)
    return redirect("webhook", request.brand.slug, pk)


@require_POST
@brand_page(Action.DELIVER)
def send_test(request: BrandRequest, pk: int) -> HttpResponseBase:
    """Send a test now and show what the receiver answered: the answer alone to htmx, else the page with it."""
    endpoint = selectors.get_endpoint(request.user, request.brand, pk)
    test = webhook_messages.send_test(endpoint_id=pk, by=request.user)
    context: dict[str, Any] = {"test": test, "attempt": test.attempt_rows.all()[0]}
    if request.headers.get("HX-Request"):
        return render(request, "review/webhook_answer.html", context)
    return _page(request, endpoint, **context)


@brand_page(Action.DELIVER)
def message(request: BrandRequest, pk: int) -> HttpResponseBase:
    """Show a message with its payload and attempts. POST sends it again."""
    shown = selectors.get_message(request.user, request.brand, pk)
    if request.method == "POST":
        try:
            webhook_messages.replay(message_id=pk, by=request.user)
        except Conflict as refusal:
            messages.error(request, refusal.message)
        else:
            messages.success(request, _("The message is sent again, with the same id."))
        return redirect("webhook_message", request.brand.slug, pk)
    payload: Any = shown
    context = {
        "message": shown,
        "endpoint": shown.endpoint,
        "payload": json.dumps(payload.shown_payload, indent=2, ensure_ascii=False),
        "attempts": sorted(shown.attempt_rows.all(), key=lambda row: -row.number),
        "is_test": shown.type == signed_messages.TEST,
        "zone": request.brand.zone,
    }
    return render(request, "review/webhook_message.html", context)


def _read_filters(given: QueryDict) -> MessageFilters:
    state, type_ = given.get("state", ""), given.get("type", "")
    types = {*WebhookEvent.values, signed_messages.TEST}
    return MessageFilters(state if state in MessageState.values else "", type_ if type_ in types else "")


def _page(
    request: BrandRequest,
    endpoint: WebhookEndpoint,
    *,
    form: WebhookForm | None = None,
    status: int = 200,
    **more: Any,
) -> HttpResponseBase:
    filters = _read_filters(request.GET)
    rows, next_before = selectors.page(endpoint, filters, before=parse_row_id(request.GET.get("before", "")))
    may_edit = can(request.user, Action.EDIT_BRAND, request.brand)
    context = {
        "endpoint": endpoint,
        "summary": selectors.summarize([endpoint])[0],
        "types": selectors.count_by_type(endpoint),
        "rows": rows,
        "next_before": next_before,
        "filters": filters,
        "form": (form or WebhookForm(endpoint=endpoint)) if may_edit else None,
        "may_edit": may_edit,
        "zone": request.brand.zone,
        **more,
    }
    return render(request, "review/webhook.html", context, status=status)


def _switch_on(request: BrandRequest, endpoint: WebhookEndpoint) -> str:
    services.change(endpoint_id=endpoint.pk, by=request.user, is_enabled=True)
    return _("%(name)s is switched on; what waited is sent now.") % {"name": endpoint.name}


def _switch_off(request: BrandRequest, endpoint: WebhookEndpoint) -> str:
    services.change(endpoint_id=endpoint.pk, by=request.user, is_enabled=False)
    return _("%(name)s is switched off; it misses what happens meanwhile.") % {"name": endpoint.name}


def _rotate(request: BrandRequest, endpoint: WebhookEndpoint) -> str:
    services.rotate_secret(endpoint_id=endpoint.pk, by=request.user)
    return _("There is a new secret. For 24 hours the previous one signs too; copy the new one to the receiver.")


def _replay_failed(request: BrandRequest, endpoint: WebhookEndpoint) -> str:
    since = parse_wall_time(request.POST.get("since", ""), request.brand)
    if since is None:
        raise Invalid(_("Give the time since which failed messages are sent again."))
    count = webhook_messages.replay_failed(endpoint_id=endpoint.pk, since=since, by=request.user)
    sentence = ngettext("%(count)s message is sent again.", "%(count)s messages are sent again.", count)
    return sentence % {"count": f"{count:,}"} if count else _("No message has failed since then.")


_ACTIONS = {"on": _switch_on, "off": _switch_off, "rotate": _rotate, "replay": _replay_failed}
