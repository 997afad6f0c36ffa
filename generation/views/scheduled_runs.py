"""Pages of a campaign's scheduled runs: what each made, what waits and why; set up, change and stop them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST

from campaigns.forms import add_problems
from campaigns.models import Campaign
from campaigns.selectors import campaigns as campaign_selectors
from core import access
from core.access import Action
from core.errors import DomainError, Invalid, NotFound
from core.models import User
from core.pages import BrandRequest, brand_page
from generation.models import ScheduledRun
from generation.selectors import scheduled_runs as selectors
from generation.services.planning import scheduled_runs as services

LOOKED_AT = 300
"""The most changed products that the page checks; the periodic task checks more."""
FIELDS = ("name", "prompt_version", "endpoint", "source", "daily_images", "daily_budget")


class ScheduledRunForm(forms.Form):
    name = forms.CharField(max_length=120, label=gettext_lazy("Name"), initial=gettext_lazy("New and changed products"))
    prompt_version: Any = forms.ModelChoiceField(None, label=gettext_lazy("Prompt"), empty_label=None)
    endpoint: Any = forms.ModelChoiceField(None, label=gettext_lazy("Engine"), empty_label=None)
    source: Any = forms.ModelChoiceField(
        None, label=gettext_lazy("New products come from"), required=False,
        empty_label=gettext_lazy("this campaign only"),
        help_text=gettext_lazy("What it brings from now on joins the campaign by itself."),
    )  # fmt: skip
    daily_images = forms.IntegerField(label=gettext_lazy("Images a day, at most"), initial=100)
    daily_budget = forms.DecimalField(max_digits=12, decimal_places=2, initial=20)
    begins = forms.ChoiceField(
        choices=[
            ("now", gettext_lazy("what is new or changed from now on")),
            ("all", gettext_lazy("and everything the campaign has now")),
        ],
        label=gettext_lazy("It makes"),
        required=False,
    )

    def __init__(
        self, data: Any = None, *, campaign: Campaign, user: Any, scheduled_run: ScheduledRun | None = None
    ) -> None:
        initial = {name: getattr(scheduled_run, name) for name in FIELDS} if scheduled_run else None
        auto_id = f"scheduled_run-{scheduled_run.pk}-%s" if scheduled_run else "new-scheduled_run-%s"
        super().__init__(data, initial=initial, auto_id=auto_id)
        self.campaign, self.scheduled_run, brand = campaign, scheduled_run, campaign.brand
        for name, rows in selectors.choices(user, brand).items():
            self.fields[name].queryset = rows  # type: ignore[attr-defined]
        self.fields["daily_budget"].label = _("Money a day, at most, %(currency)s") % {"currency": brand.currency}
        if scheduled_run:
            del self.fields["begins"]

    def save(self, by: User) -> str:
        """Create or change the scheduled run, and return a sentence about it; "" if the service refused it."""
        given = {**self.cleaned_data}
        is_from_now_on = given.pop("begins", "") != "all"
        try:
            if self.scheduled_run:
                services.change(scheduled_run_id=self.scheduled_run.pk, by=by, **given)
                return _("%(name)s is changed.") % given
            services.create(campaign=self.campaign, by=by, is_from_now_on=is_from_now_on, **given)
        except Invalid as refusal:
            add_problems(self, refusal)
            return ""
        return _("%(name)s is set up; it looks for changes every half minute.") % given


@brand_page()
def index(request: BrandRequest, slug: str) -> HttpResponseBase:
    """Show all scheduled runs of the campaign with what they made; POST adds one."""
    campaign = campaign_selectors.get_by_slug(request.user, request.brand.slug, slug)
    form = None
    if request.method == "POST":
        access.require(request.user, Action.RUN, request.brand)
        form = ScheduledRunForm(request.POST, campaign=campaign, user=request.user)
        if form.is_valid() and (sentence := form.save(request.user)):
            messages.success(request, sentence)
            return redirect("scheduled_runs", request.brand.slug, slug)
    return _page(request, campaign, form, {})


@require_POST
@brand_page(Action.RUN)
def edit(request: BrandRequest, slug: str, pk: int) -> HttpResponseBase:
    campaign = campaign_selectors.get_by_slug(request.user, request.brand.slug, slug)
    scheduled_run = selectors.get(campaign, request.user, pk)
    form = ScheduledRunForm(request.POST, campaign=campaign, user=request.user, scheduled_run=scheduled_run)
    if form.is_valid() and (sentence := form.save(request.user)):
        messages.success(request, sentence)
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
        sentence = _("%(name)s is resumed.") if verb == "resume" else _("%(name)s is stopped.")
        messages.success(request, sentence % {"name": scheduled_run.name})
    elif verb == "look":
        run = services.check_now(scheduled_run.pk)
        sentence = _("%(run)s began.") % {"run": run.name} if run else _("There was nothing to make.")
        messages.success(request, sentence)
    else:
        raise NotFound(_("There is no action %(verb)r for a scheduled run.") % {"verb": verb})
    return redirect("scheduled_runs", request.brand.slug, slug)


def _page(
    request: BrandRequest, campaign: Campaign, form: ScheduledRunForm | None, edited: Mapping[int, ScheduledRunForm]
) -> HttpResponseBase:
    user = request.user
    parts = []
    for scheduled_run in selectors.list_scheduled_runs(campaign, user):
        edit_form = edited.get(scheduled_run.pk)
        edit_form = edit_form or ScheduledRunForm(campaign=campaign, user=user, scheduled_run=scheduled_run)
        parts.append((_shown(scheduled_run, user), edit_form))
    context = {
        "campaign": campaign,
        "scheduled_runs": parts,
        "edited": edited,
        "form": form or ScheduledRunForm(campaign=campaign, user=user),
        "is_refused": form is not None,
    }
    status = 422 if form is not None or edited else 200
    return render(request, "generation/scheduled_runs.html", context, status=status)


def _shown(scheduled_run: ScheduledRun, user: Any) -> dict[str, Any]:
    """Return the details of a scheduled run, with its changed products ("picked") or why it can make none."""
    try:
        picked = services.select_subjects(scheduled_run, limit=LOOKED_AT)
    except DomainError as refusal:
        return selectors.load_details(scheduled_run, user, {}) | {"refusal": refusal.message}
    return selectors.load_details(scheduled_run, user, picked.unready) | {"picked": picked}
