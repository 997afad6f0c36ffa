"""Change the rules of a destination, and make what is there agree with them if a person asks for it.

Nothing happens at the destination when rules change. A request to send what is missing, or to recall what the rules no
longer send, is carried out in chunks: the first one at once, the others by a periodic task.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from core import access, clock
from core.access import Action
from core.choices import Lane
from core.errors import Invalid, Problem
from core.models import Brand, User
from core.selectors.rows import first_or_refuse
from core.services import wake_ups
from generation.choices import AssetState
from generation.models import Asset
from review.choices import AbsenceCause, DesiredState, UpdateKind
from review.delivery.rules import WITH, WITHOUT, Rule, find_mistakes
from review.models import Delivery, Destination, DestinationUpdate
from review.selectors import delivery_rules as selectors
from review.services import delivery_dates, delivery_requests

CHUNK = 500
"""Images in one transaction: about a second on a small machine."""
MAX_SECONDS = 5.0
"""Time for which the periodic task goes on in one run."""

_UNKNOWN: dict[str, Any] = {
    "campaign": gettext_lazy("The brand has no campaign %(value)r."),
    "spec": gettext_lazy("No campaign of the brand has an output spec %(value)r."),
    "kind": gettext_lazy("There is no kind %(value)r; use product, article or concept."),
    "category": gettext_lazy("No product of the brand has the category %(value)r."),
    "disclaimer": gettext_lazy("No image of the brand has the disclaimer %(value)r; use with, without, or its words."),
}


def read_rules(brand: Brand, given: Any, kept: Sequence[Mapping[str, Any]] = ()) -> list[dict[str, str]]:
    """Return rules as they are stored. Raises Invalid, with the place of each mistake such as "rules/2/campaign".

    What a kept rule names may be gone: it is not looked up again.
    """
    problems = [Problem(f"rules/{place}".rstrip("/"), sentence) for place, sentence in find_mistakes(given)]
    rules = [] if problems else [Rule.read(rule).as_json() for rule in given]
    for index, rule in enumerate(rules):
        if rule not in kept:
            problems += _find_unknown(brand, index, rule)
    if problems:
        sentences = " ".join(problem.message for problem in problems)
        raise Invalid(_("The rules have mistakes: %(why)s") % {"why": sentences}, problems)
    return rules


@transaction.atomic
def request_update(*, destination_id: int, kind: str, by: User) -> DestinationUpdate:
    """Send what is missing at the destination, or recall what its rules no longer send. Begins at once.

    A request of the same kind that is under way is returned as it is.
    """
    rows = Destination.objects.visible_to(by).select_for_update(of=("self",)).select_related("brand")
    message = _("There is no destination %(id)d.") % {"id": destination_id}
    destination: Destination = first_or_refuse(rows.filter(pk=destination_id), message)
    access.require(by, Action.DELIVER, destination.brand)
    update, is_new = DestinationUpdate.objects.get_or_create(
        destination=destination, kind=kind, ended_at=None, defaults={"requested_by": by}
    )
    if is_new:
        _carry_on(update)
    return update


def continue_updates() -> int:
    """Carry on with what people requested, for some seconds; return how many deliveries changed."""
    end, done = time.monotonic() + MAX_SECONDS, 0
    for pk in DestinationUpdate.objects.filter(ended_at=None).order_by("pk").values_list("pk", flat=True):
        while time.monotonic() < end and (count := _continue(pk)):
            done += count
    return done


@transaction.atomic(durable=True)
def _continue(update_id: int) -> int:
    rows = DestinationUpdate.objects.select_for_update(of=("self",), skip_locked=True)
    rows = rows.select_related("destination__brand", "requested_by")
    update = rows.filter(pk=update_id, ended_at=None).first()
    return _carry_on(update) if update else 0


def _carry_on(update: DestinationUpdate) -> int:
    """Carry out the next chunk; return how many deliveries it changed. The request ends when nothing is left."""
    count = _send_missing(update) if update.kind == UpdateKind.SEND else _recall_excluded(update)
    update.done += count
    if count < CHUNK:
        update.ended_at = clock.now()
    update.save(update_fields=["done", "ended_at"])
    return count


def _send_missing(update: DestinationUpdate) -> int:
    destination = update.destination
    ids = list(selectors.missing_images(destination).order_by("pk").values_list("pk", flat=True)[:CHUNK])
    # Lock first: an approval that is revoked meanwhile is seen.
    rows = Asset.objects.select_for_update(of=("self",)).filter(pk__in=ids, state=AssetState.APPROVED).order_by("pk")
    assets = list(rows)
    there = Delivery.objects.filter(destination=destination, asset__in=assets)
    known = set(there.values_list("asset_id", flat=True))
    new = [asset for asset in assets if asset.pk not in known]
    due_at = None if destination.needs_release else timezone.now()
    made = Delivery.objects.bulk_create(
        Delivery(
            asset=asset,
            destination=destination,
            version_id=asset.current_version_id or 0,  # it has one: see approved_images
            is_released=not destination.needs_release,
            due_at=due_at,
        )
        for asset in new
    )
    delivery_dates.refresh(destination.brand, delivery_ids=[delivery.pk for delivery in made])
    delivery_requests.publish_requests(destination.brand, made, update.requested_by, "missing there")
    absent = there.filter(desired=DesiredState.ABSENT)
    delivery_requests.bring_back(destination, absent, update.requested_by, "missing there")
    wake_ups.wake(Lane.DELIVERY)
    return len(ids)


def _recall_excluded(update: DestinationUpdate) -> int:
    destination = update.destination
    ids = selectors.excluded_deliveries(destination).order_by("pk").values_list("pk", flat=True)[:CHUNK]
    chosen = Delivery.objects.filter(pk__in=list(ids))
    by = update.requested_by
    return delivery_requests.take_down(destination.brand, chosen, by, "not sent by the rules", AbsenceCause.RULES)


def _find_unknown(brand: Brand, index: int, rule: Mapping[str, str]) -> list[Problem]:
    return [
        Problem(f"rules/{index}/{name}", str(sentence) % {"value": rule[name]}, rule[name])
        for name, sentence in _UNKNOWN.items()
        if name in rule and rule[name] not in {WITH, WITHOUT} and not selectors.is_known(brand, name, rule[name])
    ]
