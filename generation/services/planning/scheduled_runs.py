"""Scheduled runs: make images automatically when products come or change, within a daily budget, always for review.

A look locks the row of the scheduled run from beginning to end, so of two schedulers one looks and the other skips it.
The digest of a subject is stored in the same transaction as the run that is planned for it. So nothing is made twice,
and nothing is missed because an import committed late.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from campaigns.choices import PromptStatus, SourceKind
from campaigns.services import campaigns
from core import clock
from core.access import Action, require
from core.errors import Conflict, DomainError, Invalid, NotAllowed, Problem
from core.events import publish
from core.models import User
from core.selectors.rows import first_or_refuse
from generation import events
from generation.choices import Stage
from generation.models import Run, ScheduledRun, ScheduledSubject
from generation.selectors import budgets
from generation.selectors import scheduled_runs as selectors
from generation.services import runs
from generation.services.planning import drafts, plan_requests, plans
from generation.services.planning.estimates import Work
from generation.services.planning.plan_requests import PlanArguments, PlanRequest

LABEL = "scheduled run"
MAX_IMAGES = 10_000
_RELATED = ("campaign__brand", "prompt_version__template__brand", "endpoint", "source", "created_by")


@transaction.atomic
def create(*, by: User, is_from_now_on: bool = True, **fields: Any) -> ScheduledRun:
    """Create a scheduled run. With `is_from_now_on` the present products of the campaign count as known, else as new.

    fields: campaign, name, prompt_version, endpoint and daily_budget; daily_images and source if wanted. Raises
    NotAllowed, and Invalid for a prompt that no lead approved, an engine that does not take it, or bad limits.
    """
    scheduled_run = ScheduledRun(created_by=by, last_checked_at=clock.now(), **fields)
    run_request = _check(scheduled_run, by)
    scheduled_run.save()
    if is_from_now_on:
        _store_digests(scheduled_run, selectors.digests(scheduled_run, with_images=bool(run_request.image_roles)))
    _publish(scheduled_run, by)
    return scheduled_run


@transaction.atomic
def change(*, scheduled_run_id: int, by: User, **fields: Any) -> ScheduledRun:
    """Change name, source, prompt_version, endpoint, daily_budget or daily_images.

    Subjects that were taken up stay so: a new prompt is used for subjects that change from now on.
    """
    scheduled_run = _lock(scheduled_run_id, by)
    for name, value in {**fields, "message": ""}.items():
        setattr(scheduled_run, name, value)
    _check(scheduled_run, by)
    scheduled_run.save()
    _publish(scheduled_run, by)
    return scheduled_run


@transaction.atomic
def set_enabled(*, scheduled_run_id: int, by: User, is_enabled: bool) -> ScheduledRun:
    """Stop or resume a scheduled run. Changes that happened while it was stopped are taken up when it resumes."""
    scheduled_run = _lock(scheduled_run_id, by)
    if scheduled_run.is_enabled != is_enabled:
        scheduled_run.is_enabled, scheduled_run.message = is_enabled, ""
        scheduled_run.save(update_fields=["is_enabled", "message"])
        _publish(scheduled_run, by)
    return scheduled_run


def check_all() -> int:
    """Look at every enabled scheduled run, as a periodic task; returns how many runs began."""
    running = ScheduledRun.objects.filter(is_enabled=True).order_by("last_checked_at").values_list("pk", flat=True)
    return sum(check_now(scheduled_run_id) is not None for scheduled_run_id in list(running))


@transaction.atomic
def check_now(scheduled_run_id: int) -> Run | None:
    """Take up new or changed subjects that are ready, within today's limits; returns the released run, if any.

    Problems are written to the `message` of the scheduled run. Also returns None while another process looks at it.
    """
    rows = ScheduledRun.objects.select_for_update(of=("self",), skip_locked=True).select_related(*_RELATED)
    if (scheduled_run := rows.filter(pk=scheduled_run_id, is_enabled=True).first()) is None:
        return None
    try:
        with transaction.atomic():
            run, message = _plan_selection(scheduled_run)
    except DomainError as refusal:
        run, message = None, f"Nothing was made: {refusal.message}"
    ScheduledRun.objects.filter(pk=scheduled_run.pk).update(last_checked_at=clock.now(), message=message[:500])
    return run


def _plan_selection(scheduled_run: ScheduledRun) -> tuple[Run | None, str]:
    by = scheduled_run.created_by
    if not by.is_active:
        sentence = _("%(name)s, whose scheduled run this is, has no account here any more.")
        raise NotAllowed(sentence % {"name": by.display_name})
    if added := selectors.new_from_source(scheduled_run):
        campaigns.add_subjects(campaign_id=scheduled_run.campaign_id, by=by, subject_ids=added)
    picked = select_subjects(scheduled_run)
    if not picked.chosen:
        return None, _message(picked, None)
    run = plans.plan(
        _arguments(scheduled_run, by, picked.chosen),
        name=f"{scheduled_run.name}, {timezone.localtime(clock.now()):%d %b %H:%M}"[:160],
        scheduled_run=scheduled_run,
    )
    run = runs.release(run_id=run.pk, by=by, label=f"{LABEL} of {by.display_name}")
    _store_digests(scheduled_run, {pk: picked.digests[pk] for pk in picked.chosen})
    return run, _message(picked, run)


@dataclass
class SubjectSelection:
    """The result of a look. chosen: subject ids that are made now; waiting: the number of ready ones beyond a limit;
    unready: subject id -> why no image of it can be made; digests: those of all new or changed subjects."""

    digests: dict[int, str]
    chosen: list[int] = field(default_factory=list)
    waiting: int = 0
    limit: str = ""
    unready: dict[int, str] = field(default_factory=dict)
    images: int = 0
    cost: Decimal = Decimal(0)


def select_subjects(scheduled_run: ScheduledRun, *, limit: int = selectors.CONSIDERED) -> SubjectSelection:
    """Return which of the first `limit` changed subjects are ready and within today's limits. Raises as `load` does."""
    run_request = plan_requests.load(_arguments(scheduled_run, scheduled_run.created_by, None))
    changed = selectors.find_changed_subjects(scheduled_run, with_images=bool(run_request.image_roles), limit=limit)
    picked = SubjectSelection(changed)
    if not changed:
        return picked
    picked.unready = selectors.find_unready_subjects(list(changed), scheduled_run, run_request.image_roles)
    if ready := [pk for pk in changed if pk not in picked.unready]:
        _fit(picked, _estimate_subjects(replace(run_request, subject_ids=tuple(ready)), picked), scheduled_run)
    return picked


def _estimate_subjects(run_request: PlanRequest, picked: SubjectSelection) -> dict[int, Work]:
    """Return the weight by subject id, drafted as planning does; subjects with a problem are added to the unready."""
    weights: defaultdict[int, Work] = defaultdict(Work)
    for draft in drafts.Drafter(run_request).drafts():
        if draft.problems:
            picked.unready.setdefault(draft.subject.id, draft.problems[0][1])
        else:
            weights[draft.subject.id].add(len(draft.jobs), draft.cost, draft.seconds)
    return {pk: weight for pk, weight in weights.items() if pk not in picked.unready}


def _fit(picked: SubjectSelection, weights: dict[int, Work], scheduled_run: ScheduledRun) -> None:
    """Choose subjects in their order as long as images and money last; the others wait, with the limit noted."""
    today, currency = selectors.load_today(scheduled_run), scheduled_run.campaign.brand.currency
    campaign_left = budgets.status(scheduled_run.campaign).left
    limits = [
        (today.budget_left, f"the daily budget of {scheduled_run.daily_budget:.2f} {currency} goes no further"),
        *([(campaign_left, "the campaign's budget goes no further")] if campaign_left is not None else []),
    ]
    for pk, weight in weights.items():
        if weight.images > scheduled_run.daily_images or weight.cost > scheduled_run.daily_budget:
            needs = f"It needs {_many(weight.images, 'image')} for {weight.cost:.2f} {currency}"
            picked.unready[pk] = f"{needs}, more than a day's limit."
            continue
        short = next((reason for money, reason in limits if picked.cost + weight.cost > money), "")
        if picked.images + weight.images > today.images_left:
            short = f"the scheduled run makes at most {_many(scheduled_run.daily_images, 'image')} a day"
        if short:
            picked.waiting, picked.limit = picked.waiting + 1, picked.limit or short
            continue
        picked.chosen.append(pk)
        picked.images += weight.images
        picked.cost += weight.cost


def _message(picked: SubjectSelection, run: Run | None) -> str:
    """Return what a look did, in one to three sentences; "" if there was nothing to do."""
    parts = []
    if run is not None:
        parts.append(f"{_many(run.job_count, 'image')} of {_many(len(picked.chosen), 'product')} began at "
                     f"{timezone.localtime(clock.now()):%H:%M on %d %b}.")  # fmt: skip
    if picked.waiting:
        verb = "waits" if picked.waiting == 1 else "wait"
        parts.append(f"{_many(picked.waiting, 'product')} {verb} for tomorrow: {picked.limit}.")
    if picked.unready:
        are = "is" if len(picked.unready) == 1 else "are"
        parts.append(f"{_many(len(picked.unready), 'product')} {are} not ready.")
    return " ".join(parts)


def _many(count: int, noun: str) -> str:
    return f"1 {noun}" if count == 1 else f"{count:,} {noun}s"


def _lock(scheduled_run_id: int, by: User) -> ScheduledRun:
    rows = ScheduledRun.objects.visible_to(by).select_for_update(of=("self",)).filter(pk=scheduled_run_id)
    sentence = _("There is no scheduled run %(id)s.") % {"id": scheduled_run_id}
    scheduled_run: ScheduledRun = first_or_refuse(rows.select_related(*_RELATED), sentence)
    require(by, Action.RUN, scheduled_run.campaign.brand)
    return scheduled_run


def _check(scheduled_run: ScheduledRun, by: User) -> PlanRequest:
    """Return the request of its runs. Raises Invalid with every field that is not valid, and as `load` does."""
    brand, name, source = scheduled_run.campaign.brand, scheduled_run.name.strip(), scheduled_run.source
    require(by, Action.RUN, brand)
    problems = []
    if scheduled_run.campaign.is_sandbox:
        raise Conflict(_("The sandbox has no scheduled runs."))
    if not name or len(name) > 120:
        problems.append(Problem("name", _("Give the scheduled run a name of at most 120 characters."), name[:120]))
    if scheduled_run.prompt_version.status != PromptStatus.APPROVED:
        message = _("%(version)s is a draft; only what a lead approved is made without anybody looking on.")
        problems.append(Problem("prompt_version", message % {"version": scheduled_run.prompt_version}))
    if source is not None and (source.brand_id != brand.pk or source.kind == SourceKind.UPLOAD):
        problems.append(Problem("source", _("Choose a feed source of this brand.")))
    if not 0 <= scheduled_run.daily_budget < 10**9:
        message = _("Give an amount of money, 0 or more.")
        problems.append(Problem("daily_budget", message, str(scheduled_run.daily_budget)))
    if not 1 <= scheduled_run.daily_images <= MAX_IMAGES:
        message = _("Give 1 to %(highest)s images.") % {"highest": f"{MAX_IMAGES:,}"}
        problems.append(Problem("daily_images", message, str(scheduled_run.daily_images)))
    if problems:
        raise Invalid(_("This scheduled run cannot be set up so."), problems)
    scheduled_run.name = name
    return plan_requests.load(_arguments(scheduled_run, by, None))


def _arguments(scheduled_run: ScheduledRun, by: User, subjects: Sequence[int] | None) -> PlanArguments:
    return PlanArguments(
        campaign=scheduled_run.campaign,
        prompt_version=scheduled_run.prompt_version,
        endpoint=scheduled_run.endpoint,
        stage=Stage.PARTIAL,
        by=by,
        subjects=subjects,
    )


def _store_digests(scheduled_run: ScheduledRun, digests: dict[int, str]) -> None:
    ScheduledSubject.objects.bulk_create(
        (ScheduledSubject(scheduled_run=scheduled_run, subject_id=pk, digest=digest) for pk, digest in digests.items()),
        batch_size=5000,
        update_conflicts=True,
        unique_fields=["scheduled_run", "subject"],
        update_fields=["digest"],
    )


def _publish(scheduled_run: ScheduledRun, by: User) -> None:
    payload = {
        "name": scheduled_run.name,
        "campaign": scheduled_run.campaign_id,
        "prompt_version": scheduled_run.prompt_version_id,
        "endpoint": scheduled_run.endpoint.slug,
        "source": scheduled_run.source.name if scheduled_run.source else "",
        "daily_budget": str(scheduled_run.daily_budget),
        "daily_images": scheduled_run.daily_images,
        "is_enabled": scheduled_run.is_enabled,
    }
    publish(
        events.ScheduledRunSaved(brand_id=scheduled_run.campaign.brand_id, object_id=scheduled_run.pk, payload=payload),
        by=by,
    )
