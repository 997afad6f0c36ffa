"""The home page of a brand: reminders for the user, each a sentence with images and one button."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain, islice
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_safe

from core.access import Action, can
from core.pages import BrandRequest, brand_page
from core.selectors import brands
from generation.choices import AssetState, RunState
from review.selectors import home as selectors
from review.selectors import task_queue

#: Asset states with an open review task.
STATES_IN_REVIEW = (AssetState.IN_REVIEW, AssetState.STALE)
MAX_REMINDERS = 5


@dataclass(frozen=True)
class Reminder:
    """One reminder. at: since when it waits. versions: (version id, disclaimer that must stand beside its image)."""

    sentence: str
    href: str
    verb: str
    at: datetime | None = None
    versions: list[tuple[int, str]] = field(default_factory=list)
    is_urgent: bool = False


@require_safe
@login_required
def entry(request: Any) -> HttpResponseBase:
    """Redirect to the brand used last or the first one. Users without a brand see a page that says whom to ask."""
    brand = brands.get_last_used(request.user, request.session.get("brand", ""))
    if brand is None:
        return render(request, "no_brand.html")
    return redirect("brand_home", brand.slug)


@require_safe
@brand_page()
def home(request: BrandRequest) -> HttpResponseBase:
    finders = (
        _review_reminders,
        _run_reminders,
        _failed_image_reminders,
        _escalation_reminders,
        _delivery_reminders,
        _photo_reminders,
    )
    reminders = chain.from_iterable(find(request) for find in finders)
    context = {
        "reminders": list(islice(reminders, MAX_REMINDERS)),
        "campaigns": selectors.campaigns(request.user, request.brand, count=6),
        "has_products": selectors.has_products(request.brand),
    }
    return render(request, "home.html", context)


def _review_reminders(request: BrandRequest) -> list[Reminder]:
    queue = task_queue.count_tasks(user=request.user, brand=request.brand)
    if not queue["waiting_count"]:
        return _other_reviewers_reminders(request)
    words = ngettext("%(count)s image to review", "%(count)s images to review", queue["waiting_count"])
    sentence = _format_count(words, queue["waiting_count"])
    if queue["overdue_count"]:
        words = ngettext("%(count)s overdue", "%(count)s overdue", queue["overdue_count"])
        sentence += ", " + _format_count(words, queue["overdue_count"])
    verb = _("Continue reviewing") if queue["claimed_count"] else _("Start reviewing")
    shown = selectors.newest_versions(request.brand, STATES_IN_REVIEW)
    href = reverse("workspace", args=[request.brand.slug])
    return [Reminder(sentence, href, verb, queue["oldest_at"], shown, bool(queue["overdue_count"]))]


def _other_reviewers_reminders(request: BrandRequest) -> list[Reminder]:
    """Return a reminder of the images that wait for other reviewers, for users who may not decide themselves."""
    counts = task_queue.count_tasks(user=request.user, brand=request.brand, action=Action.VIEW)
    if not (count := counts["open_count"]):
        return []
    words = ngettext("%(count)s image waits for other reviewers.", "%(count)s images wait for other reviewers.", count)
    shown = selectors.newest_versions(request.brand, STATES_IN_REVIEW)
    href = reverse("review", args=[request.brand.slug])
    return [Reminder(_format_count(words, count), href, _("See them"), counts["oldest_at"], shown)]


def _run_reminders(request: BrandRequest) -> Iterator[Reminder]:
    """Yield reminders of runs that wait for somebody, then of those that are running."""
    if not can(request.user, Action.RUN, request.brand):
        return
    for run in selectors.open_runs(request.user, request.brand)[:3]:
        href, name = reverse("run", args=[request.brand.slug, run.pk]), f"{run.name} ({run.campaign.name})"
        shown = selectors.versions_of_run(run)
        if run.state == RunState.PLANNED:
            words = ngettext(
                "%(count)s image of %(run)s is planned and waits for release.",
                "%(count)s images of %(run)s are planned and wait for release.",
                run.job_count,
            )
            sentence = _format_count(words, run.job_count, run=name)
            yield Reminder(sentence, href, _("Release"), run.created_at, shown)
        elif run.state == RunState.PAUSED:
            sentence = _("%(run)s is paused.") % {"run": name} + f" {run.pause_reason}".rstrip()
            yield Reminder(sentence, href, _("See why"), run.released_at, shown, True)
        else:
            words = ngettext(
                "%(done)s of %(count)s image of %(run)s made.",
                "%(done)s of %(count)s images of %(run)s made.",
                run.job_count,
            )
            sentence = _format_count(words, run.job_count, run=name, done=f"{run.done:,}")
            yield Reminder(sentence, href, _("Watch"), run.released_at, shown)


def _failed_image_reminders(request: BrandRequest) -> list[Reminder]:
    if not can(request.user, Action.RUN, request.brand):
        return []
    first, count = selectors.failed_assets(request.brand)
    if first is None:
        return []
    words = ngettext("%(count)s image could not be made.", "%(count)s images could not be made.", count)
    href = reverse("run", args=[request.brand.slug, first.cell.run_id]) + "?only=problems"
    return [Reminder(_format_count(words, count), href, _("See the causes"), first.changed_at, [], True)]


def _escalation_reminders(request: BrandRequest) -> list[Reminder]:
    if not (tasks := selectors.escalated_tasks(user=request.user, brand=request.brand)):
        return []
    words = ngettext(
        "%(count)s image was sent back three times; you decide how to go on.",
        "%(count)s images were sent back three times; you decide how to go on.",
        len(tasks),
    )
    shown = selectors.current_versions(task.asset_id for task in tasks)
    href = reverse("asset", args=[request.brand.slug, tasks[0].asset_id])
    return [Reminder(_format_count(words, len(tasks)), href, _("Decide"), tasks[0].opened_at, shown, True)]


def _delivery_reminders(request: BrandRequest) -> list[Reminder]:
    if not can(request.user, Action.DELIVER, request.brand):
        return []
    failed = selectors.failed_deliveries(request.user, request.brand)
    if (first := failed.first()) is None:
        return []
    count = failed[: selectors.MAX_COUNT + 1].count()
    words = ngettext(
        "%(count)s approved image could not be delivered.", "%(count)s approved images could not be delivered.", count
    )
    href = reverse("deliveries", args=[request.brand.slug]) + "?state=failed"
    return [
        Reminder(
            _format_count(words, count, selectors.MAX_COUNT), href, _("See the causes"), first.changed_at, [], True
        )
    ]


def _photo_reminders(request: BrandRequest) -> list[Reminder]:
    if not can(request.user, Action.IMPORT_FEED, request.brand):
        return []
    lacking = selectors.products_without_photo(request.brand)
    if not lacking:
        return []
    words = ngettext("%(count)s product has no photo yet.", "%(count)s products have no photo yet.", lacking)
    href = reverse("products", args=[request.brand.slug]) + "?ready=missing"
    return [Reminder(_format_count(words, lacking, selectors.MAX_COUNT), href, _("See the products"))]


def _format_count(words: str, count: int, most: int | None = None, **values: str) -> str:
    """Fill a sentence with a number, thousands separated, and other values. most: counted no further; "1,000+"."""
    number = f"{count:,}" if most is None or count <= most else f"{most:,}+"
    return words % {"count": number, **values}
