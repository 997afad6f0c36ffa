"""Make approvals stale: an image whose inputs changed goes back to review, a bounded number of images at a time.

A change first records which assets to check, in its own transaction (`check_subjects`, `check_brand`). The first CHUNK
of them are handled at once, in that transaction. The others follow after its commit, in chunks of CHUNK assets, each in
a short transaction of its own. If the process is killed, housekeeping continues.

Each asset is locked before its inputs are compared, as it is for every decision. So if an approval and a change happen
at the same time, the second one sees what the first has written. docs/adr/0020-stale.md has the argument.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from string import Template
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from core import clock, sql
from core.choices import Lane
from core.events import publish
from core.models import User
from core.services import wake_ups
from generation import events
from generation.choices import AssetState
from generation.models import Asset, StaleAsset, StaleCandidate
from generation.selectors import inputs
from generation.services.images import assets

CHUNK = 2000
"""Assets dealt with in one transaction: about one second on a small machine."""
AFTER_COMMIT_SECONDS = 5.0
"""Time for which the process that made the change continues after the commit; then housekeeping takes over."""
LABEL = "inputs"

# Every state in which an image may be approved, or may become approved before the change is committed.
_LOOKED_AT = ["in_review", "approved", "stale", "revising", "rejected", "revoked"]

# Both are by hand: the ORM has no INSERT … SELECT, and a brand may have a million approved images.
_OF_SUBJECTS = f"""
INSERT INTO generation_stalecandidate (batch, caused_by_id, created_at, asset_id, cause)
SELECT %s, %s, %s, a.id, '{{}}'
FROM ($subjects) AS changed (subject_id)
JOIN generation_pinnedinputs p ON p.subject_id = changed.subject_id
JOIN campaigns_subject s ON s.id = p.subject_id
JOIN generation_asset a ON a.cell_id = p.cell_id
{inputs.JOINS}
WHERE a.state = ANY(%s) AND NOT a.is_sandbox AND (a.state = 'stale' OR {inputs.HAS_MOVED})
"""  # noqa: S608 (our own text only)

_OF_BRAND = """
INSERT INTO generation_stalecandidate (batch, caused_by_id, created_at, asset_id, cause)
SELECT %s, %s, %s, id, %s::jsonb FROM generation_asset
WHERE brand_id = %s AND state IN ('approved', 'stale') AND NOT is_sandbox
"""


@dataclass
class _AssetMoves:
    """The assets of one chunk by the move that each needs. causes: by asset id, why it is stale now."""

    causes: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    becoming: list[Asset] = field(default_factory=list)
    staying: list[Asset] = field(default_factory=list)
    returning: list[Asset] = field(default_factory=list)
    in_review: list[Asset] = field(default_factory=list)


def check_subjects(*, subjects: QuerySet[Any, Any], by: User | None) -> int:
    """Make approvals of these subjects stale if an input changed; returns how many images are affected.

    `subjects` has their ids as its only column, each once. Must run in the transaction of the change.
    """
    selected, values = subjects.query.sql_with_params()
    return _begin(Template(_OF_SUBJECTS).substitute(subjects=selected), [*values, _LOOKED_AT], by)


def check_brand(*, brand_id: int, cause: Mapping[str, Any], by: User | None) -> int:
    """Make every approved image of a brand stale for one cause, a new guide or checklist; returns how many."""
    stamped = json.dumps({**cause, "at": clock.now().isoformat()})
    return _begin(_OF_BRAND, [stamped, brand_id], by)


def process_batches() -> int:
    """Handle assets that another process left, for some seconds; for housekeeping. Returns how many were checked."""
    end, done = time.monotonic() + AFTER_COMMIT_SECONDS, 0
    while time.monotonic() < end:
        batch = StaleCandidate.objects.order_by("id").values_list("batch", flat=True).first()
        if batch is None or not (count := settle(batch)):
            break
        done += count
    return done


@transaction.atomic
def settle(batch: uuid.UUID, *, limit: int = CHUNK) -> int:
    """Handle the next assets of one change: lock them, compare again, move them. Returns how many it took."""
    candidates = StaleCandidate.objects.filter(batch=batch).order_by("asset_id", "pk")
    taken = list(candidates.select_for_update(skip_locked=True)[:limit])
    if not taken:
        return 0
    StaleCandidate.objects.filter(pk__in=[candidate.pk for candidate in taken]).delete()
    rule_causes = {candidate.asset_id: candidate.cause for candidate in taken}
    # Lock first, then compare in another statement: so an approval that was just committed is seen with its inputs.
    locked = list(Asset.objects.select_for_update(of=("self",)).filter(pk__in=rule_causes).order_by("pk"))
    sorted_assets = _compare(locked, rule_causes)
    _write(sorted_assets, taken[0].caused_by)
    return len(taken)


def restore(asset_ids: Sequence[int]) -> list[int]:
    """Move stale assets back to approved, because their inputs are as before; returns the ids that moved.

    The caller holds their locks, and has made sure that nobody has decided about them since.
    """
    moved = assets.move_many(asset_ids, AssetState.STALE, AssetState.APPROVED, label=LABEL)
    StaleAsset.objects.filter(asset__in=moved).delete()
    return moved


def withdraw(asset_ids: Sequence[int]) -> None:
    """Record that these stale assets are no longer published. The caller holds their locks."""
    StaleAsset.objects.filter(asset__in=asset_ids).update(is_published=False)


def end(asset_id: int) -> StaleAsset | None:
    """Delete the stale record of an asset, because the decision about it took effect; returns the record."""
    stale_asset = StaleAsset.objects.filter(asset=asset_id).first()
    if stale_asset is not None:
        StaleAsset.objects.filter(asset=asset_id).delete()
    return stale_asset


def _begin(statement: str, values: Sequence[Any], by: User | None) -> int:
    batch = uuid.uuid4()
    count = sql.execute(statement, [batch, by.pk if by else None, clock.now(), *values])
    # The merge of a large import forbids nested loops, which find a bounded number of assets fastest.
    sql.execute("SET LOCAL enable_nestloop = on")
    if count:
        settle(batch)
    if count > CHUNK:
        # The change has committed by then: a failure here is logged, and housekeeping handles the rest.
        transaction.on_commit(lambda: _process_batch(batch), robust=True)
        wake_ups.wake(Lane.HOUSEKEEPING)
    return count


def _process_batch(batch: uuid.UUID) -> None:
    end = time.monotonic() + AFTER_COMMIT_SECONDS
    while time.monotonic() < end and settle(batch):
        pass


def _compare(locked: Sequence[Asset], rule_causes: Mapping[int, dict[str, Any]]) -> _AssetMoves:
    """Sort locked assets by the move that each needs."""
    moved = inputs.find_changes(asset.cell_id for asset in locked)
    stale_assets = StaleAsset.objects.in_bulk([asset.pk for asset in locked])
    now, sorted_assets = clock.now().isoformat(), _AssetMoves()
    for asset in locked:
        fresh = [{**cause, "at": now} for cause in moved.get(asset.cell_id, [])]
        before = stale_assets[asset.pk].causes if asset.state == AssetState.STALE and asset.pk in stale_assets else []
        causes = _merged(before, fresh, rule_causes.get(asset.pk) or {})
        if asset.state in {AssetState.IN_REVIEW, AssetState.STALE} and fresh:
            sorted_assets.in_review.append(asset)  # stale ones have an open task too
        if asset.state == AssetState.APPROVED and causes:
            sorted_assets.becoming.append(asset)
        elif asset.state == AssetState.STALE and causes:
            sorted_assets.staying.append(asset)
        elif asset.state == AssetState.STALE:
            sorted_assets.returning.append(asset)
        sorted_assets.causes[asset.pk] = causes
    return sorted_assets


def _merged(
    before: Sequence[dict[str, Any]], fresh: Sequence[dict[str, Any]], rule_cause: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return the causes that apply now, each with the time at which it was first seen."""

    def name(cause: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(sorted((key, value) for key, value in cause.items() if key != "at"))

    first_seen = {name(cause): cause["at"] for cause in before}
    rules = [cause for cause in before if cause["kind"] not in inputs.INPUTS]
    rules += [rule_cause] if rule_cause and name(rule_cause) not in first_seen else []
    return rules + [{**cause, "at": first_seen.get(name(cause), cause["at"])} for cause in fresh]


def _write(sorted_assets: _AssetMoves, by: User | None) -> None:
    """Move the assets and publish the events, in a fixed number of statements."""
    if sorted_assets.becoming:
        payloads = {asset.pk: {"causes": sorted_assets.causes[asset.pk]} for asset in sorted_assets.becoming}
        assets.move_many(list(payloads), AssetState.APPROVED, AssetState.STALE, payloads=payloads, by=by, label=LABEL)
    rows = [
        StaleAsset(asset=asset, causes=sorted_assets.causes[asset.pk], began_at=clock.now())
        for asset in (*sorted_assets.becoming, *sorted_assets.staying)
    ]
    StaleAsset.objects.bulk_create(rows, update_conflicts=True, unique_fields=["asset"], update_fields=["causes"])
    kinds: list[tuple[type[events.AssetsNoticed], list[Asset]]] = [
        (events.AssetsBecameStale, sorted_assets.becoming),
        (events.InputsMovedInReview, sorted_assets.in_review),
        (events.InputsReturned, sorted_assets.returning),
    ]
    for kind, listed in kinds:
        if listed:
            ids, brand_id = tuple(asset.pk for asset in listed), listed[0].brand_id
            payload = {"count": len(ids), "assets": list(ids[:100])}
            event = kind(brand_id=brand_id, object_id=brand_id, payload=payload, asset_ids=ids)
            publish(event, by=by, label="" if by else LABEL)
