"""Pages of prompts: the list, and decisions about a version. The editor belongs to the generation app."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.text import slugify
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from campaigns.selectors import prompts as selectors
from campaigns.services import prompts as services
from core.access import Action
from core.pages import BrandRequest, brand_page


@brand_page()
def index(request: BrandRequest) -> HttpResponseBase:
    """Show the brand's prompts, those that wait for approval first; POST creates a new one."""
    if request.method == "POST":
        name = request.POST.get("name", "").strip()
        made = services.create_template(brand=request.brand, slug=slugify(name)[:50], name=name, by=request.user)
        return redirect("prompt", request.brand.slug, made.slug)
    context = {
        "templates": selectors.list_templates(request.user, brand_id=request.brand.pk),
        "asked": selectors.list_awaiting_approval(request.user, request.brand.pk)[:12],
    }
    return render(request, "campaigns/prompts.html", context)


@require_POST
@brand_page(Action.EDIT_PROMPT)
def ask(request: BrandRequest, slug: str, number: int) -> HttpResponseBase:
    """Request approval of a draft from the leads."""
    version = services.request_approval(version_id=_id(request, slug, number), by=request.user)
    messages.success(request, _("The leads are asked to approve %(version)s.") % {"version": version})
    return redirect("prompt_version", request.brand.slug, slug, number)


@require_POST
@brand_page(Action.APPROVE_PROMPT)
def approve(request: BrandRequest, slug: str, number: int) -> HttpResponseBase:
    version = services.approve_version(version_id=_id(request, slug, number), by=request.user)
    messages.success(request, _("%(version)s may now be used for real.") % {"version": version})
    return redirect("prompt_version", request.brand.slug, slug, number)


@require_POST
@brand_page(Action.APPROVE_PROMPT)
def send_back(request: BrandRequest, slug: str, number: int) -> HttpResponseBase:
    """Send a version back to draft with a lead's answer."""
    answer = request.POST.get("answer", "")
    version = services.send_back(version_id=_id(request, slug, number), by=request.user, answer=answer)
    messages.success(request, _("%(version)s is a draft again; who asked is told why.") % {"version": version})
    return redirect("prompt_version", request.brand.slug, slug, number)


def _id(request: BrandRequest, slug: str, number: int) -> int:
    return selectors.get_version_by_number(request.user, request.brand, slug, number).pk
