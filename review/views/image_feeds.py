"""Pages of image feeds: the list, a new one, and one with its address, its settings and what is in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from campaigns.forms import add_problems
from core.access import Action, can
from core.errors import Conflict, Invalid, NotFound
from core.pages import BrandRequest, brand_page
from review.image_feeds.choosing import WARNINGS, ProblemKind
from review.models import ImageFeed
from review.selectors import image_feeds as selectors
from review.services import image_feed_files
from review.services import image_feeds as services
from review.services.web_slots import slot
from review.views.image_feed_form import ImageFeedForm

SHOWN_PRODUCTS = 12
PROBLEM_LABELS = {
    ProblemKind.SMALL: ngettext_lazy("small image", "small images", "count"),
    ProblemKind.LARGE: ngettext_lazy("image that is too large", "images that are too large", "count"),
    ProblemKind.TYPE: ngettext_lazy("image of another type", "images of another type", "count"),
    ProblemKind.DISCLAIMER: ngettext_lazy("image with a disclaimer", "images with a disclaimer", "count"),
    ProblemKind.TOO_MANY: ngettext_lazy("image beyond the limit", "images beyond the limit", "count"),
    ProblemKind.NO_MAIN: ngettext_lazy("product without a main image", "products without a main image", "count"),
    ProblemKind.NO_ID: ngettext_lazy("product without an id", "products without an id", "count"),
}


@require_safe
@brand_page(Action.DELIVER)
def index(request: BrandRequest) -> HttpResponseBase:
    """List the brand's image feeds."""
    feeds = [
        {"feed": feed, "layout_label": selectors.layout_label(feed)}
        for feed in selectors.list_feeds(request.user, request.brand)
    ]
    context = {"feeds": feeds, "may_edit": can(request.user, Action.EDIT_BRAND, request.brand)}
    return render(request, "review/image_feeds.html", context)


@brand_page(Action.EDIT_BRAND)
def new(request: BrandRequest) -> HttpResponseBase:
    """Show the form of a new image feed. POST creates it."""
    form = ImageFeedForm(request.POST if request.method == "POST" else None, brand=request.brand)
    if form.is_bound and form.is_valid():
        try:
            made = services.create(brand=request.brand, by=request.user, settings=form.settings())
        except Invalid as refusal:
            add_problems(form, refusal)
        else:
            sentence = _("%(name)s is set up. Copy its address to the receiver.")
            messages.success(request, sentence % {"name": made.name})
            return redirect("image_feed", request.brand.slug, made.pk)
    return render(request, "review/image_feed_new.html", {"form": form}, status=422 if form.is_bound else 200)


@never_cache
@brand_page(Action.DELIVER)
def detail(request: BrandRequest, pk: int) -> HttpResponseBase:
    """Show an image feed with its address. POST changes its settings."""
    feed = selectors.get_feed(request.user, request.brand, pk)
    if request.method != "POST":
        return _page(request, feed)
    form = ImageFeedForm(request.POST, brand=request.brand, feed=feed)
    if form.is_valid():
        try:
            services.change(feed_id=pk, by=request.user, **vars(form.settings()))
        except Invalid as refusal:
            add_problems(form, refusal)
        else:
            messages.success(request, _("%(name)s is changed.") % {"name": form.cleaned_data["name"]})
            return redirect("image_feed", request.brand.slug, pk)
    return _page(request, feed, form=form, status=422)


@require_safe
@brand_page(Action.DELIVER)
def content(request: BrandRequest, pk: int) -> HttpResponseBase:
    """Return the part of the page that says what is in the file now. It reads all products, so it is loaded later."""
    feed = selectors.get_feed(request.user, request.brand, pk)
    with slot():
        report = image_feed_files.report(feed, shown=SHOWN_PRODUCTS)
    problems = [
        {
            "label": PROBLEM_LABELS[kind] % {"count": count},
            "count": count,
            "is_warning": kind in WARNINGS,
            "rows": report.examples[kind],
        }
        for kind, count in report.counts.items()
    ]
    context = {"feed": feed, "report": report, "problems": problems, "most": image_feed_files.MOST_PRODUCTS}
    return render(request, "review/image_feed_content.html", context)


@require_POST
@brand_page(Action.EDIT_BRAND)
def act(request: BrandRequest, pk: int, verb: str) -> HttpResponseBase:
    """Renew the address of a feed, switch it on or off, or delete it, depending on `verb`."""
    feed = selectors.get_feed(request.user, request.brand, pk)
    if verb not in _ACTIONS:
        raise NotFound(_("There is no action %(verb)r for an image feed.") % {"verb": verb})
    messages.success(request, _ACTIONS[verb](request, feed))
    if verb == "delete":
        return redirect("image_feeds", request.brand.slug)
    return redirect("image_feed", request.brand.slug, pk)


def _page(
    request: BrandRequest, feed: ImageFeed, *, form: ImageFeedForm | None = None, status: int = 200
) -> HttpResponseBase:
    may_edit = can(request.user, Action.EDIT_BRAND, request.brand)
    context: dict[str, Any] = {
        "feed": feed,
        "layout_label": selectors.layout_label(feed),
        "is_secure": urlsplit(settings.SITE_URL).scheme == "https",
        "site_url": settings.SITE_URL,
        "form": (form or ImageFeedForm(brand=request.brand, feed=feed)) if may_edit else None,
        "may_edit": may_edit,
    }
    try:
        context["address"] = selectors.address_of(feed)
    except Conflict as refusal:
        context["address_problem"] = refusal.message
    return render(request, "review/image_feed.html", context, status=status)


def _renew(request: BrandRequest, feed: ImageFeed) -> str:
    services.renew_address(feed_id=feed.pk, by=request.user)
    return _("There is a new address, and the old one has ended. Copy the new one to the receiver.")


def _delete(request: BrandRequest, feed: ImageFeed) -> str:
    return _("%(name)s is deleted.") % {"name": services.delete(feed_id=feed.pk, by=request.user)}


def _switch_on(request: BrandRequest, feed: ImageFeed) -> str:
    services.change(feed_id=feed.pk, by=request.user, is_enabled=True)
    return _("%(name)s is switched on, at the same address.") % {"name": feed.name}


def _switch_off(request: BrandRequest, feed: ImageFeed) -> str:
    services.change(feed_id=feed.pk, by=request.user, is_enabled=False)
    return _("%(name)s is switched off; its address answers 404.") % {"name": feed.name}


_ACTIONS: dict[str, Callable[[BrandRequest, ImageFeed], str]] = {
    "renew": _renew,
    "delete": _delete,
    "on": _switch_on,
    "off": _switch_off,
}
