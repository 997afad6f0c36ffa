"""Home: what waits for this person, as sentences with pictures and one button each."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_safe

from core.access import Action, can
from core.pages import BrandRequest, brand_page
from core.selectors import brands as brand_rows
from generation.choices import AssetState, RunState
from review.selectors import home as selectors
from review.selectors import queues, room

THUMBS = 4
#: Asset states with an open review task.
WAITING = (AssetState.IN_REVIEW, AssetState.STALE)
MOST = 5


@dataclass(frozen=True)
class Errand:
    """One line of the list: what is to do, since when, four pictures, one button. versions: ids, each with what must
    stand beside the picture."""

    sentence: str
    href: str
    verb: str
    at: datetime | None = None
    versions: list[tuple[int, str]] = field(default_factory=list)
    is_urgent: bool = False


@require_safe
@login_required
def entry(request: Any) -> HttpResponseBase:
    """The site's front door: the last brand, or the only one; somebody without any is told whom to ask."""
    brands = brand_rows.visible(request.user)
    brand = brands.filter(slug=request.session.get("brand", "")).first() or brands.first()
    if brand is None:
        return render(request, "no_brand.html")
    return redirect("brand_home", brand.slug)


@require_safe
@brand_page()
def home(request: BrandRequest) -> HttpResponseBase:
    errands = [
        *_to_review(request),
        *_runs(request),
        *_failed(request),
        *_escalated(request),
        *_undelivered(request),
        *_lacking_photos(request),
    ]
    context = {
        "errands": errands[:MOST],
        "campaigns": selectors.campaigns(request.user, request.brand)[:6],
        "has_products": selectors.has_products(request.brand),
    }
    return render(request, "home.html", context)


def _shown(request: BrandRequest, **which: Any) -> list[tuple[int, str]]:
    """Version ids of four pictures, each with what must stand beside it."""
    return selectors.newest_versions(request.user, request.brand, limit=THUMBS, **which)


def _to_review(request: BrandRequest) -> list[Errand]:
    mine = next((one for one in queues.waiting(user=request.user) if one.brand_id == request.brand.pk), None)
    if mine is None or not mine.waiting:
        return _with_reviewers(request)
    overdue = f", {mine.overdue} overdue" if mine.overdue else ""
    sentence = f"{mine.waiting} {'picture waits' if mine.waiting == 1 else 'pictures wait'} for your verdict{overdue}."
    verb = "Go on reviewing" if mine.held else "Start reviewing"
    shown = _shown(request, state__in=WAITING, is_sandbox=False)
    return [
        Errand(sentence, reverse("room", args=[request.brand.slug]), verb, mine.oldest_at, shown, bool(mine.overdue))
    ]


def _with_reviewers(request: BrandRequest) -> list[Errand]:
    """Images that wait for other people: somebody who may not decide about them still sees that they wait."""
    tasks = room.waiting(user=request.user, brand_id=request.brand.pk)
    count = tasks.count()
    if not count:
        return []
    sentence = ngettext(
        "%(count)s image waits for other reviewers.", "%(count)s images wait for other reviewers.", count
    )
    oldest = tasks.order_by("opened_at").values_list("opened_at", flat=True).first()
    shown = _shown(request, state__in=WAITING, is_sandbox=False)
    href = reverse("review", args=[request.brand.slug])
    return [Errand(sentence % {"count": f"{count:,}"}, href, _("See them"), oldest, shown)]


def _runs(request: BrandRequest) -> list[Errand]:
    """Runs that stand still and need somebody, then those that work."""
    if not can(request.user, Action.RUN, request.brand):
        return []
    errands = []
    for run in selectors.open_runs(request.user, request.brand)[:3]:
        href = reverse("run", args=[request.brand.slug, run.pk])
        shown = _shown(request, cell__run=run)
        if run.state == RunState.PLANNED:
            sentence = f"{run.name} of {run.campaign.name} is planned: {run.job_count} pictures wait for release."
            errands.append(Errand(sentence, href, "Look and release", run.created_at, shown))
        elif run.state == RunState.PAUSED:
            why = run.pause_reason or "It stands still."
            sentence = f"{run.name} of {run.campaign.name} is paused. {why}"
            errands.append(Errand(sentence, href, "See why", run.released_at, shown, True))
        else:
            sentence = f"{run.name} of {run.campaign.name} is working: {run.done} of {run.job_count} pictures are made."
            errands.append(Errand(sentence, href, "Watch", run.released_at, shown))
    return errands


def _failed(request: BrandRequest) -> list[Errand]:
    if not can(request.user, Action.RUN, request.brand):
        return []
    failed = selectors.failed_assets(request.user, request.brand)
    first = failed.first()
    if first is None:
        return []
    count = failed.count()
    sentence = f"{count} {'picture' if count == 1 else 'pictures'} could not be made."
    href = reverse("run", args=[request.brand.slug, first.cell.run_id]) + "?only=problems"
    return [Errand(sentence, href, "See the causes", first.changed_at, [], True)]


def _escalated(request: BrandRequest) -> list[Errand]:
    tasks = [task for task in queues.escalated(user=request.user) if task.brand_id == request.brand.pk]
    if not tasks:
        return []
    pictures = "1 picture" if len(tasks) == 1 else f"{len(tasks)} pictures"
    sentence = f"{pictures} went three rounds without a yes; you decide how to go on."
    shown = _shown(request, pk__in=[task.asset_id for task in tasks])
    href = reverse("asset", args=[request.brand.slug, tasks[0].asset_id])
    return [Errand(sentence, href, "Decide", tasks[0].opened_at, shown, True)]


def _undelivered(request: BrandRequest) -> list[Errand]:
    failed = selectors.failed_deliveries(request.user, request.brand)
    count = failed.count()
    if not count or not can(request.user, Action.DELIVER, request.brand):
        return []
    sentence = f"{count} approved {'picture' if count == 1 else 'pictures'} could not be delivered."
    first = failed.first()
    href = reverse("deliveries", args=[request.brand.slug]) + "?state=failed"
    return [Errand(sentence, href, "See the causes", first.changed_at if first else timezone.now(), [], True)]


def _lacking_photos(request: BrandRequest) -> list[Errand]:
    if not can(request.user, Action.IMPORT_FEED, request.brand):
        return []
    lacking = selectors.products_without_photo(request.user, request.brand)
    if not lacking:
        return []
    sentence = f"{lacking} {'product has' if lacking == 1 else 'products have'} no photo yet."
    return [Errand(sentence, reverse("products", args=[request.brand.slug]) + "?ready=missing", "See the products")]
