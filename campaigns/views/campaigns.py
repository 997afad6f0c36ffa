"""Pages of campaigns: the list, creating and editing a brief, its output specs and reference images."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.contrib import messages
from django.http import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST, require_safe

from campaigns import channels
from campaigns.choices import LabelCorner
from campaigns.forms import BriefForm, SpecForm, save
from campaigns.models import Campaign
from campaigns.selectors import campaigns as selectors
from campaigns.services import campaigns as services
from campaigns.services import images
from campaigns.services.campaigns import SpecInput
from core.access import Action
from core.errors import Conflict, Invalid, NotFound, Stale
from core.pages import BrandRequest, brand_page, parse_row_id


@require_safe
@brand_page()
def index(request: BrandRequest) -> HttpResponseBase:
    campaigns = selectors.visible(request.user, brand_id=request.brand.pk)
    return render(request, "campaigns/index.html", {"campaigns": campaigns})


@brand_page(Action.EDIT_CAMPAIGN)
def new(request: BrandRequest) -> HttpResponseBase:
    form = BriefForm(request.POST or None, brand=request.brand)
    if campaign := save(form, services.create_campaign, brand=request.brand, by=request.user):
        message = _("%(name)s is created. Next: say what its channels want.")
        messages.success(request, message % {"name": campaign.name})
        return redirect("campaign", request.brand.slug, campaign.slug)
    return render(request, "campaigns/brief.html", {"form": form})


@brand_page(Action.EDIT_CAMPAIGN)
def edit(request: BrandRequest, slug: str) -> HttpResponseBase:
    """Edit the brief. If it is refused, or somebody else changed it meanwhile, the typed values stay on the page."""
    campaign = selectors.get_by_slug(request.user, request.brand.slug, slug)
    form = BriefForm(request.POST or None, brand=request.brand, instance=selectors.get(request.user, campaign.pk))
    seen = request.POST.get("seen_at", "") or campaign.updated_at.isoformat()
    try:
        if save(form, services.update_campaign, campaign_id=campaign.pk, by=request.user, seen_at=_moment(seen)):
            messages.success(request, _("The brief is saved."))
            return redirect("campaign", request.brand.slug, campaign.slug)
    except Stale:
        form.add_error(None, _stale_message(form))
        seen = campaign.updated_at.isoformat()  # the user has been warned, so the next save may overwrite
    context = {"form": form, "campaign": campaign, "images": campaign.images.all(), "seen_at": seen}
    return render(request, "campaigns/brief.html", context)


def _moment(text: str) -> datetime | None:
    try:
        return parse_datetime(text)
    except ValueError:
        return None


def _stale_message(form: BriefForm) -> str:
    """Return a message with the fields in which the stored brief differs from the typed one."""
    labels = [str(form[name].label) for name in form.changed_data]
    return _(
        "Somebody changed this brief after you opened it. What you typed is still here and differs from theirs in: "
        "%(fields)s. Save again to let yours stand."
    ) % {"fields": ", ".join(labels) or _("nothing")}


@brand_page(Action.EDIT_CAMPAIGN)
def specs(request: BrandRequest, slug: str) -> HttpResponseBase:
    """Show the output specs, with a form to add one, buttons to remove one, and presets of channels."""
    campaign = selectors.get_by_slug(request.user, request.brand.slug, slug)
    there = [SpecInput.of(spec) for spec in campaign.output_specs.all()]
    form = SpecForm(request.POST if "slug" in request.POST else None)
    refused = ""
    if request.method == "POST":
        new_specs = _requested_specs(request, there, form)
        try:
            if new_specs is not None:
                services.set_output_specs(campaign_id=campaign.pk, specs=new_specs, by=request.user)
                return redirect("campaign_specs", request.brand.slug, campaign.slug)
        except Invalid as refusal:
            for problem in refusal.problems:  # of the specs that were there already: the form has checked the new one
                form.add_error(None, f"{problem.value}: {problem.message}")
        except Conflict as refusal:
            refused = refusal.message
    slugs = {spec.slug for spec in there}
    context = {
        "form": form,
        "campaign": campaign,
        "specs": there,
        "corners": dict(LabelCorner.choices),
        "refused": refused,
        "presets": [(preset, preset.slug in slugs) for preset in channels.PRESETS],
        "remarks": channels.size_remarks(there, channel=campaign.channel),
    }
    return render(request, "campaigns/specs.html", context)


def _requested_specs(request: BrandRequest, there: list[SpecInput], form: SpecForm) -> list[SpecInput] | None:
    """Return the specs after this POST; None if the typed spec has mistakes."""
    if gone := request.POST.get("remove", ""):
        return [spec for spec in there if spec.slug != gone]
    slug = request.POST.get("preset", "")
    if chosen := next((preset for preset in channels.PRESETS if preset.slug == slug), None):
        return there if chosen.slug in {spec.slug for spec in there} else [*there, SpecInput.of(chosen)]
    if not form.is_valid():
        return None
    return [spec for spec in there if spec.slug != form.cleaned_data["slug"]] + [SpecInput(**form.cleaned_data)]


@require_POST
@brand_page(Action.EDIT_CAMPAIGN)
def add_images(request: BrandRequest, slug: str) -> HttpResponseBase:
    """Add images to the brief. For htmx only their part of the page is returned, so nothing typed is lost."""
    campaign = selectors.get_by_slug(request.user, request.brand.slug, slug)
    given = [(file.name or "image", file.read()) for file in request.FILES.getlist("file")]
    try:
        images.add_to_brief(campaign_id=campaign.pk, files_given=given, by=request.user)
    except Invalid as refusal:
        return _images(request, campaign, [problem.message for problem in refusal.problems])
    return _images(request, campaign)


@require_POST
@brand_page(Action.EDIT_CAMPAIGN)
def change_image(request: BrandRequest, slug: str, pk: int) -> HttpResponseBase:
    """Save the caption and the position (`move`) of an image, or remove it (`remove`)."""
    campaign = selectors.get_by_slug(request.user, request.brand.slug, slug)
    image = campaign.images.filter(pk=pk).first()
    if image is None:
        raise NotFound(_("The brief of %(name)s has no image %(id)d.") % {"name": campaign.name, "id": pk})
    if "remove" in request.POST:
        images.remove(image=image, by=request.user)
    else:
        move = {"earlier": -1, "later": 1}.get(request.POST.get("move", ""), 0)
        images.change(image=image, by=request.user, caption=request.POST.get("caption"), move=move)
    return _images(request, campaign)


def _images(request: BrandRequest, campaign: Campaign, problems: Sequence[str] = ()) -> HttpResponseBase:
    if getattr(request, "htmx", False):
        context = {"campaign": campaign, "images": campaign.images.all(), "problems": problems}
        return render(request, "campaigns/brief_images.html", context)
    for problem in problems:
        messages.error(request, problem)
    return redirect(f"{reverse('campaign_edit', args=[request.brand.slug, campaign.slug])}#images")


@require_POST
@brand_page(Action.EDIT_CAMPAIGN)
def add_subjects(request: BrandRequest, slug: str) -> HttpResponseBase:
    """Add subjects to the campaign: the ticked ones, or all active ones of the brand."""
    campaign = selectors.get_by_slug(request.user, request.brand.slug, slug)
    chosen = [pk for text in request.POST.getlist("subject") if (pk := parse_row_id(text))]
    if not chosen and "all" not in request.POST:
        raise Invalid(_("Tick at least one product, or add all of them."))
    added = services.add_subjects(campaign_id=campaign.pk, by=request.user, subject_ids=chosen or None)
    message = ngettext("%(count)d product added to %(name)s.", "%(count)d products added to %(name)s.", added)
    messages.success(request, message % {"count": added, "name": campaign.name})
    return redirect("campaign", request.brand.slug, campaign.slug)
