"""The brief: the list of campaigns, a new one, changing one, what its channels want."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.contrib import messages
from django.http import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from campaigns.access import Action
from campaigns.errors import Invalid
from campaigns.forms import BriefForm, SpecForm, add_problems
from campaigns.models import Campaign
from campaigns.pages import BrandRequest, brand_page, number
from campaigns.selectors import campaigns as selectors
from campaigns.services import campaigns as services
from campaigns.services.campaigns import SpecInput


@require_safe
@brand_page()
def index(request: BrandRequest) -> HttpResponseBase:
    found = selectors.visible(request.user, brand_id=request.brand.pk)
    return render(request, "campaigns/index.html", {"campaigns": found})


@brand_page(Action.EDIT_CAMPAIGN)
def new(request: BrandRequest) -> HttpResponseBase:
    form = BriefForm(request.POST or None, brand=request.brand)
    if request.method == "POST" and form.is_valid():
        try:
            campaign = services.create_campaign(
                brand=request.brand, slug=form.slug, by=request.user, **form.cleaned_data
            )
        except Invalid as refusal:
            add_problems(form, refusal)
        else:
            messages.success(request, f"{campaign.name} is there. Next: say what its channels want.")
            return redirect("campaign", request.brand.slug, campaign.slug)
    return render(request, "campaigns/brief.html", {"form": form})


@brand_page(Action.EDIT_CAMPAIGN)
def edit(request: BrandRequest, slug: str) -> HttpResponseBase:
    campaign = selectors.by_slug(request.user, request.brand.slug, slug)
    form = BriefForm(request.POST or None, brand=request.brand, instance=Campaign.objects.get(pk=campaign.pk))
    if request.method == "POST" and form.is_valid():
        try:
            services.update_campaign(campaign_id=campaign.pk, by=request.user, **form.cleaned_data)
        except Invalid as refusal:
            add_problems(form, refusal)
        else:
            messages.success(request, "The brief is saved.")
            return redirect("campaign", request.brand.slug, campaign.slug)
    return render(request, "campaigns/brief.html", {"form": form, "campaign": campaign})


@brand_page(Action.EDIT_CAMPAIGN)
def specs(request: BrandRequest, slug: str) -> HttpResponseBase:
    """What the channels want; one form adds a spec, a button takes one away."""
    campaign = selectors.by_slug(request.user, request.brand.slug, slug)
    there = [_as_input(spec) for spec in campaign.output_specs.all()]
    form = SpecForm(request.POST if "slug" in request.POST else None)
    if request.method == "POST":
        gone = request.POST.get("remove", "")
        wanted = [spec for spec in there if spec.slug != gone]
        if not gone and form.is_valid():
            wanted = [spec for spec in there if spec.slug != form.cleaned_data["slug"]] + [_spec(form.cleaned_data)]
        if gone or form.is_valid():
            try:
                services.set_output_specs(campaign_id=campaign.pk, specs=wanted, by=request.user)
            except Invalid as refusal:
                add_problems(form, refusal)
            else:
                return redirect("campaign_specs", request.brand.slug, campaign.slug)
    return render(request, "campaigns/specs.html", {"form": form, "campaign": campaign, "specs": there})


@require_POST
@brand_page(Action.EDIT_CAMPAIGN)
def add_subjects(request: BrandRequest, slug: str) -> HttpResponseBase:
    """Put subjects into the campaign: the ticked ones, or all active ones of the brand."""
    campaign = selectors.by_slug(request.user, request.brand.slug, slug)
    chosen = [pk for one in request.POST.getlist("subject") if (pk := number(one))]
    if not chosen and "all" not in request.POST:
        raise Invalid("Tick at least one product, or add all of them.")
    added = services.add_subjects(campaign_id=campaign.pk, by=request.user, subject_ids=chosen or None)
    messages.success(request, f"{added} {'product' if added == 1 else 'products'} added to {campaign.name}.")
    return redirect("campaign", request.brand.slug, campaign.slug)


def _as_input(spec: Any) -> SpecInput:
    return SpecInput(**{name: getattr(spec, name) for name in SpecInput.__dataclass_fields__})


def _spec(given: dict[str, Any]) -> SpecInput:
    known = asdict(SpecInput(slug="", width=0, height=0))
    return SpecInput(**{name: given.get(name, default) for name, default in known.items()})
