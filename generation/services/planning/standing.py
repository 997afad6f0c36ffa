"""Scheduled runs: make images automatically when products come or change, within a daily budget, always for review.

A look locks the row of the scheduled run from beginning to end, so of two schedulers one looks and the other skips it.
The digest of a subject is stored in the same transaction as the run that is planned for it. So nothing is made twice,
and nothing is missed because an import committed late.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.utils import timezone

from campaigns.choices import PromptStatus, SourceKind
from campaigns.models import Campaign, FeedSource, PromptVersion
from campaigns.services import campaigns
from core import clock
from core.access import Action, require
from core.errors import Conflict, DomainError, Invalid, NotAllowed, NotFound, Problem
from core.events import publish
from core.models import User
from generation import events
from generation.choices import Stage
from generation.models import Endpoint, Run, StandingOrder, StandingSubject
from generation.selectors import budgets
from generation.selectors import standing as selectors
from generation.services import runs
from generation.services.planning import orders, plans
from generation.services.planning.drafts import Drafter

LABEL = "standing order"
MAX_PICTURES = 10_000


@transaction.atomic
def create(
    *,
    campaign: Campaign,
    by: User,
    name: str,
    prompt_version: PromptVersion,
    endpoint: Endpoint,
    daily_budget: Decimal,
    daily_pictures: int = 100,
    source: FeedSource | None = None,
    is_from_now_on: bool = True,
) -> StandingOrder:
    """Create a scheduled run. With `is_from_now_on` the present products of the campaign count as known, else as new.

    Raises NotAllowed, and Invalid for a prompt that no lead approved, an engine that does not take it, or bad limits.
    """
    order = StandingOrder(
        campaign=campaign, prompt_version=prompt_version, endpoint=endpoint, created_by=by, looked_until=clock.now()
    )
    _fill(order, by, name=name, source=source, daily_budget=daily_budget, daily_pictures=daily_pictures)
    order.save()
    if is_from_now_on:
        digests = selectors.digests(order, with_images=_uses_images(order, by))
        _remember(order, digests)
    _publish(order, by)
    return order


@transaction.atomic
def change(*, order_id: int, by: User, **fields: Any) -> StandingOrder:
    """Change name, source, prompt_version, endpoint, daily_budget or daily_pictures.

    Subjects that were taken up stay so: a new prompt is used for subjects that change from now on.
    """
    order = _lock(order_id, by)
    order.prompt_version = fields.pop("prompt_version", order.prompt_version)
    order.endpoint = fields.pop("endpoint", order.endpoint)
    current = {name: getattr(order, name) for name in ("name", "source", "daily_budget", "daily_pictures")}
    _fill(order, by, **(current | fields))
    order.message = ""
    order.save()
    _publish(order, by)
    return order


@transaction.atomic
def set_enabled(*, order_id: int, by: User, is_enabled: bool) -> StandingOrder:
    """Stop or resume a scheduled run. Changes that happened while it was stopped are taken up when it resumes."""
    order = _lock(order_id, by)
    if order.is_enabled != is_enabled:
        order.is_enabled, order.message = is_enabled, ""
        order.save(update_fields=["is_enabled", "message"])
        _publish(order, by)
    return order


# -- looking -----------------------------------------------------------------------------------------------------------


def look_at_all() -> int:
    """Look at every enabled scheduled run, as a periodic task; returns how many runs began."""
    running = StandingOrder.objects.filter(is_enabled=True).order_by("looked_until").values_list("pk", flat=True)
    return sum(look(order_id) is not None for order_id in list(running))


@transaction.atomic
def look(order_id: int) -> Run | None:
    """Take up new or changed subjects that are ready, within today's limits; returns the released run, if any.

    Problems are written to the `message` of the scheduled run. Also returns None while another process looks at it.
    """
    rows = StandingOrder.objects.select_for_update(of=("self",), skip_locked=True).filter(pk=order_id, is_enabled=True)
    order = rows.select_related(
        "campaign__brand", "prompt_version__template__brand", "endpoint", "created_by", "source"
    ).first()
    if order is None:
        return None
    try:
        with transaction.atomic():
            run, message = _take_up(order)
    except DomainError as refusal:
        run, message = None, f"Nothing was made: {refusal.message}"
    StandingOrder.objects.filter(pk=order.pk).update(looked_until=clock.now(), message=message[:500])
    return run


def _take_up(order: StandingOrder) -> tuple[Run | None, str]:
    by = order.created_by
    if not by.is_active:
        raise NotAllowed(f"{by.display_name}, whose order this is, has no account here any more.")
    if added := selectors.new_from_source(order):
        campaigns.add_subjects(campaign_id=order.campaign_id, by=by, subject_ids=added)
    picked = pick(order)
    if not picked.chosen:
        return None, _message(order, picked, None)
    run = _released(order, picked)
    _remember(order, {pk: picked.digests[pk] for pk in picked.chosen})
    return run, _message(order, picked, run)


def _released(order: StandingOrder, picked: Picked) -> Run:
    """Plan and release one run of the chosen subjects."""
    by = order.created_by
    run = plans.plan(
        campaign=order.campaign,
        prompt_version=order.prompt_version,
        endpoint=order.endpoint,
        stage=Stage.PARTIAL,
        by=by,
        subjects=picked.chosen,
        name=f"{order.name}, {timezone.localtime(clock.now()):%d %b %H:%M}"[:160],
        standing_order=order,
    )
    return runs.release(run_id=run.pk, by=by, label=f"{LABEL} of {by.display_name}")


@dataclass
class Picked:
    """The result of a look. chosen: subject ids that are made now; waiting: the number of ready subjects beyond today's
    limits; limit: which limit it was; unready: subject id -> why no image of it can be made; digests: those of all new
    or changed subjects."""

    digests: dict[int, str]
    chosen: list[int] = field(default_factory=list)
    waiting: int = 0
    limit: str = ""
    unready: dict[int, str] = field(default_factory=dict)
    pictures: int = 0
    cost: Decimal = Decimal(0)


def pick(order: StandingOrder, *, limit: int = selectors.CONSIDERED) -> Picked:
    """Return the new or changed subjects that are ready and within today's limits. Reads only; raises as planning does.

    limit: the most changed subjects that are checked, the oldest first.
    """
    run_request = _asked(order, order.created_by)
    changed = selectors.changed(order, with_images=bool(run_request.image_roles), limit=limit)
    picked = Picked(changed)
    if not changed:
        return picked
    picked.unready = selectors.unready(list(changed), order, run_request.image_roles)
    ready = [pk for pk in changed if pk not in picked.unready]
    if ready:
        _fit(picked, _weighed(order, ready, picked), order)
    return picked


@dataclass
class _Weight:
    """The number and the cost of one subject's images."""

    pictures: int = 0
    cost: Decimal = Decimal(0)


def _weighed(order: StandingOrder, ready: Sequence[int], picked: Picked) -> dict[int, _Weight]:
    """Return the weight by subject id, drafted as planning does; subjects with a problem are added to the unready."""
    run_request = _asked(order, order.created_by, ready)
    weights: dict[int, _Weight] = {}
    for draft in Drafter(run_request).drafts():
        if draft.problems:
            picked.unready.setdefault(draft.subject.id, draft.problems[0][1])
            continue
        weight = weights.setdefault(draft.subject.id, _Weight())
        weight.pictures += len(draft.jobs)
        weight.cost += draft.cost * len(draft.jobs)
    return {pk: weight for pk, weight in weights.items() if pk not in picked.unready}


def _fit(picked: Picked, weights: dict[int, _Weight], order: StandingOrder) -> None:
    """Choose subjects in their order as long as images and money last; the others wait, with the limit noted."""
    today, currency = selectors.today(order), order.campaign.brand.currency
    campaign_left = budgets.standing(order.campaign).left
    limits = [
        (today.budget_left, f"the daily budget of {order.daily_budget:.2f} {currency} goes no further"),
        *([(campaign_left, "the campaign's budget goes no further")] if campaign_left is not None else []),
    ]
    for pk, weight in weights.items():
        if weight.pictures > order.daily_pictures or weight.cost > order.daily_budget:
            needs = f"It needs {_many(weight.pictures, 'picture')} for {weight.cost:.2f} {currency}"
            picked.unready[pk] = f"{needs}, more than a day's limit."
            continue
        short = next((reason for money, reason in limits if picked.cost + weight.cost > money), "")
        if picked.pictures + weight.pictures > today.pictures_left:
            short = f"the order makes at most {_many(order.daily_pictures, 'picture')} a day"
        if short:
            picked.waiting, picked.limit = picked.waiting + 1, picked.limit or short
            continue
        picked.chosen.append(pk)
        picked.pictures += weight.pictures
        picked.cost += weight.cost


def _message(order: StandingOrder, picked: Picked, run: Run | None) -> str:
    """Return what a look did, in one to three sentences; "" if there was nothing to do."""
    parts = []
    if run is not None:
        images = _many(run.job_count, "picture")
        parts.append(f"{images} of {_many(len(picked.chosen), 'product')} began at "
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


# -- the parts ---------------------------------------------------------------------------------------------------------


def _lock(order_id: int, by: User) -> StandingOrder:
    rows = StandingOrder.objects.visible_to(by).select_for_update(of=("self",)).filter(pk=order_id)
    order: StandingOrder | None = rows.select_related(
        "campaign__brand", "prompt_version__template__brand", "endpoint", "source", "created_by"
    ).first()
    if order is None:
        raise NotFound(f"There is no standing order {order_id}.")
    require(by, Action.RUN, order.campaign.brand)
    return order


def _fill(
    order: StandingOrder, by: User, *, name: str, source: FeedSource | None, daily_budget: Decimal, daily_pictures: int
) -> None:
    """Set the fields of the row, or raise Invalid with every field that is not valid."""
    brand = order.campaign.brand
    require(by, Action.RUN, brand)
    problems = []
    if order.campaign.is_sandbox:
        raise Conflict("The sandbox has no standing orders.")
    if not name.strip() or len(name) > 120:
        problems.append(Problem("name", "Give the order a name of at most 120 characters.", name[:120]))
    if order.prompt_version.status != PromptStatus.APPROVED:
        message = f"{order.prompt_version} is a draft; only what a lead approved is made without anybody looking on."
        problems.append(Problem("prompt_version", message))
    if source is not None and (source.brand_id != brand.pk or source.kind == SourceKind.UPLOAD):
        problems.append(Problem("source", "Choose a feed source of this brand."))
    if not 0 <= daily_budget < 10**9:
        problems.append(Problem("daily_budget", "Give an amount of money, 0 or more.", str(daily_budget)))
    if not 1 <= daily_pictures <= MAX_PICTURES:
        problems.append(Problem("daily_pictures", f"Give 1 to {MAX_PICTURES:,} pictures.", str(daily_pictures)))
    if problems:
        raise Invalid("This standing order cannot be set up so.", problems)
    order.name, order.source = name.strip(), source
    order.daily_budget, order.daily_pictures = daily_budget, daily_pictures
    _uses_images(order, by)


def _uses_images(order: StandingOrder, by: User) -> bool:
    """Return whether images are made from photos. Raises Invalid if prompt, engine and campaign do not fit together."""
    return bool(_asked(order, by).image_roles)


def _asked(order: StandingOrder, by: User, subjects: Sequence[int] | None = None) -> orders.Order:
    return orders.load(
        campaign=order.campaign,
        prompt_version=order.prompt_version,
        endpoint=order.endpoint,
        stage=Stage.PARTIAL,
        by=by,
        subjects=subjects,
    )


def _remember(order: StandingOrder, digests: dict[int, str]) -> None:
    StandingSubject.objects.bulk_create(
        (StandingSubject(order=order, subject_id=pk, digest=digest) for pk, digest in digests.items()),
        batch_size=5000,
        update_conflicts=True,
        unique_fields=["order", "subject"],
        update_fields=["digest"],
    )


def _publish(order: StandingOrder, by: User) -> None:
    payload = {
        "name": order.name,
        "campaign": order.campaign_id,
        "prompt_version": order.prompt_version_id,
        "endpoint": order.endpoint.slug,
        "source": order.source.name if order.source else "",
        "daily_budget": str(order.daily_budget),
        "daily_pictures": order.daily_pictures,
        "is_enabled": order.is_enabled,
    }
    publish(events.StandingOrderSaved(brand_id=order.campaign.brand_id, object_id=order.pk, payload=payload), by=by)
