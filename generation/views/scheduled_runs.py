"""Pages of a campaign's scheduled runs: what each made, what waits and why; set up, change and stop them."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from campaigns.forms import add_problems
from campaigns.models import Campaign
from campaigns.selectors import campaigns as campaign_selectors
from core import access
from core.access import Action
from core.errors import DomainError, Invalid, NotFound
from core.pages import BrandRequest, brand_page
from generation.models import ScheduledRun
from generation.selectors import scheduled_runs as selectors
from generation.services.planning import scheduled_runs as services

LOOKED_AT = 300
"""The most changed products that the page checks; the periodic task checks more."""
FIELDS = ("name", "prompt_version", "endpoint", "source", "daily_images", "daily_budget")


class ScheduledRunForm(forms.Form):
    """The form of a scheduled run: what it makes, how much a day, and of which products."""

    name = forms.CharField(max_length=120, label="Name", initial="New and changed products")
    prompt_version: Any = forms.ModelChoiceField(None, label="Prompt", empty_label=None)
    endpoint: Any = forms.ModelChoiceField(None, label="Engine", empty_label=None)
    source: Any = forms.ModelChoiceField(
        None, label="New products come from", required=False, empty_label="this campaign only"
    )
    daily_images = forms.IntegerField(label="Images a day, at most", initial=100)
    daily_budget = forms.DecimalField(max_digits=12, decimal_places=2, initial=20)
    begins = forms.ChoiceField(
        choices=[("now", "what is new or changed from now on"), ("all", "and everything the campaign has now")],
        label="It makes",
        required=False,
    )

    def __init__(
        self, data: Any = None, *, campaign: Campaign, user: Any, scheduled_run: ScheduledRun | None = None
    ) -> None:
        initial = {name: getattr(scheduled_run, name) for name in FIELDS} if scheduled_run else None
        super().__init__(
            data,
            initial=initial,
            auto_id=f"scheduled_run-{scheduled_run.pk}-%s" if scheduled_run else "new-scheduled_run-%s",
        )
        brand = campaign.brand
        for name, rows in selectors.choices(user, brand).items():
            self.fields[name].queryset = rows  # type: ignore[attr-defined]
        self.fields["daily_budget"].label = f"Money a day, at most, {brand.currency}"
        self.fields["source"].help_text = "What it brings from now on joins the campaign by itself."
        if scheduled_run:
            del self.fields["begins"]

    def values(self) -> dict[str, Any]:
        return {name: value for name, value in self.cleaned_data.items() if name != "begins"}


@brand_page()
def index(request: BrandRequest, slug: str) -> HttpResponseBase:
    """Show all scheduled runs of the campaign with what they made; POST adds one."""
    campaign = campaign_selectors.get_by_slug(request.user, request.brand.slug, slug)
    form = None
    if request.method == "POST":
        access.require(request.user, Action.RUN, request.brand)
        form = ScheduledRunForm(request.POST, campaign=campaign, user=request.user)
        if form.is_valid() and _create(request, campaign, form):
            return redirect("scheduled_runs", request.brand.slug, slug)
    return _page(request, campaign, form)


@require_POST
@brand_page(Action.RUN)
def edit(request: BrandRequest, slug: str, pk: int) -> HttpResponseBase:
    campaign = campaign_selectors.get_by_slug(request.user, request.brand.slug, slug)
    scheduled_run = selectors.get(campaign, request.user, pk)
    form = ScheduledRunForm(request.POST, campaign=campaign, user=request.user, scheduled_run=scheduled_run)
    if form.is_valid():
        try:
            services.change(scheduled_run_id=scheduled_run.pk, by=request.user, **form.values())
        except Invalid as refusal:
            add_problems(form, refusal)
        else:
            messages.success(request, f"{form.cleaned_data['name']} is changed.")
            return redirect("scheduled_runs", request.brand.slug, slug)
    return _page(request, campaign, None, {scheduled_run.pk: form})


@require_POST
@brand_page(Action.RUN)
def act(request: BrandRequest, slug: str, pk: int, verb: str) -> HttpResponseBase:
    """Carry out an action: stop, resume, or look (look for changes now, instead of within half a minute)."""
    campaign = campaign_selectors.get_by_slug(request.user, request.brand.slug, slug)
    scheduled_run = selectors.get(campaign, request.user, pk)
    if verb in ("stop", "resume"):
        services.set_enabled(scheduled_run_id=scheduled_run.pk, by=request.user, is_enabled=verb == "resume")
        messages.success(request, f"{scheduled_run.name} is {'resumed' if verb == 'resume' else 'stopped'}.")
    elif verb == "look":
        run = services.check_now(scheduled_run.pk)
        messages.success(request, f"{run.name} began." if run else "There was nothing to make.")
    else:
        raise NotFound(f"There is no action {verb!r} for a scheduled run.")
    return redirect("scheduled_runs", request.brand.slug, slug)


def _create(request: BrandRequest, campaign: Campaign, form: ScheduledRunForm) -> bool:
    is_from_now_on = form.cleaned_data.get("begins") != "all"
    try:
        made = services.create(campaign=campaign, by=request.user, is_from_now_on=is_from_now_on, **form.values())
    except Invalid as refusal:
        add_problems(form, refusal)
        return False
    messages.success(request, f"{made.name} is set up; it looks for changes every half minute.")
    return True


def _page(
    request: BrandRequest,
    campaign: Campaign,
    form: ScheduledRunForm | None,
    edited: dict[int, ScheduledRunForm] | None = None,
) -> HttpResponseBase:
    edited = edited or {}
    user = request.user
    scheduled_runs = list(selectors.list_scheduled_runs(campaign, user))
    parts = [
        (
            _shown(scheduled_run, user),
            edited.get(scheduled_run.pk) or ScheduledRunForm(campaign=campaign, user=user, scheduled_run=scheduled_run),
        )
        for scheduled_run in scheduled_runs
    ]
    context = {
        "campaign": campaign,
        "scheduled_runs": parts,
        "edited": edited,
        "form": form or ScheduledRunForm(campaign=campaign, user=user),
        "is_refused": form is not None,
    }
    status = 422 if form is not None or edited else 200
    return render(request, "generation/scheduled_runs.html", context, status=status)


def _shown(scheduled_run: ScheduledRun, user: Any) -> selectors.ScheduledRunDetails:
    try:
        picked = services.select_subjects(scheduled_run, limit=LOOKED_AT)
    except DomainError as refusal:
        return selectors.load_details(scheduled_run, user, reasons={}, refusal=refusal.message)
    return selectors.load_details(
        scheduled_run, user, reasons=picked.unready, next_run_count=len(picked.chosen), waiting=picked.waiting
    )
