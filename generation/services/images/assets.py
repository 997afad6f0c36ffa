"""Assets and their versions. Only this module moves an asset, adds a version to it or closes one of its rounds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Exists, OuterRef
from django.utils.translation import gettext as _

from core import clock, sql
from core.errors import Conflict
from core.events import DomainEvent, publish
from core.models import User
from core.selectors.rows import first_or_refuse
from generation import events
from generation.checks.base import CheckResult
from generation.choices import AssetState, JobState, Outcome, VersionSource
from generation.models import Asset, AssetVersion, Finding, Job, JobSpec, Master
from generation.states import ASSET

#: Job states in which a round may still get another candidate.
UNDECIDED = (JobState.QUEUED, JobState.RUNNING, JobState.WAITING, JobState.HELD)
#: Conditions for assets: the round has an image already; a job may still bring one.
HAS_IMAGE = Exists(AssetVersion.objects.filter(asset=OuterRef("pk"), round=OuterRef("round")))
HAS_OPEN_JOB = Exists(Job.objects.filter(cell=OuterRef("cell"), status__in=UNDECIDED))

# These are written by hand, because a worker runs them for every image (benchmarks/finish.py): they are prepared, and
# write several tables at once. The ORM writes one at a time, and returns no id where a conflict was ignored.
_STORE_MASTER = """
WITH stored AS (
    INSERT INTO generation_master
        (brand_id, fingerprint, sha256, storage_key, image_format, width, height, has_alpha, bytes, thumbnails, pdq,
         pdq_quality, colours, was_rejected, created_at)
    VALUES
        (%(brand_id)s, %(fingerprint)s, %(sha256)s, %(storage_key)s, %(image_format)s, %(width)s, %(height)s,
         %(has_alpha)s, %(bytes)s, %(thumbnails)s, %(pdq)s, %(pdq_quality)s, %(colours)s, false, %(now)s)
    ON CONFLICT DO NOTHING
    RETURNING id, sha256
)
SELECT * FROM stored
UNION ALL
SELECT id, sha256 FROM generation_master WHERE brand_id = %(brand_id)s AND fingerprint = %(fingerprint)s
"""
_ADD_VERSION = """
WITH version AS (
    INSERT INTO generation_assetversion
        (asset_id, round, candidate, master_id, job_id, source, worst_outcome, created_at)
    VALUES
        (%(asset)s, %(round)s, %(candidate)s, %(master)s, %(job)s, %(source)s, %(worst_outcome)s, %(now)s)
    RETURNING *
), findings AS (
    INSERT INTO generation_finding (version_id, check_name, outcome, score, message, box, duplicate_id)
    SELECT version.id, finding.*
    FROM version, jsonb_to_recordset(%(findings)s) AS finding
        (check_name text, outcome text, score float8, message text, box jsonb, duplicate_id bigint)
), renditions AS (
    INSERT INTO generation_rendition
        (version_id, output_spec_id, recipe_version, sha256, storage_key, image_format, width, height, bytes, quality,
         created_at)
    SELECT version.id, rendition.*, %(now)s
    FROM version, jsonb_to_recordset(%(renditions)s) AS rendition
        (output_spec_id bigint, recipe_version int, sha256 text, storage_key text, image_format text, width int,
         height int, bytes bigint, quality int)
)
SELECT * FROM version
"""
_MOVE = """
UPDATE generation_asset SET state = %s, current_version_id = %s, round = %s, changed_at = %s
WHERE id = %s AND state = %s
"""
_ROUND = """
SELECT has_undecided, v.id, v.candidate, v.worst_outcome
FROM (
    SELECT EXISTS (
        SELECT FROM generation_job j JOIN generation_jobspec f ON f.job_id = j.id
        WHERE j.cell_id = %(cell)s AND f.round = %(round)s AND j.status = ANY(%(undecided)s)
    )
) AS round(has_undecided)
LEFT JOIN generation_assetversion v ON v.asset_id = %(asset)s AND v.round = %(round)s
ORDER BY v.candidate
"""


@dataclass(frozen=True)
class StoredRendition:
    """One rendition's file, already in storage."""

    output_spec_id: int
    recipe_version: int
    sha256: str
    storage_key: str
    image_format: str
    width: int
    height: int
    bytes: int
    quality: int | None


@dataclass(frozen=True)
class StoredMaster:
    """One master's file, already in storage, with what was measured on its pixels."""

    sha256: str
    storage_key: str
    image_format: str
    width: int
    height: int
    has_alpha: bool
    bytes: int
    thumbnails: Mapping[str, str]
    hashes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class NewVersion:
    """An image of a round, to be added to its asset. duplicates: ids of near-duplicate versions, by check name."""

    round: int
    candidate: int
    master: Master
    job_id: int
    source: str = VersionSource.GENERATED
    check_results: Sequence[CheckResult] = ()
    duplicates: Mapping[str, int] = field(default_factory=dict)
    renditions: Sequence[StoredRendition] = ()


def lock(asset_id: int) -> Asset:
    """Return the asset with its row locked until the transaction ends. Raises NotFound."""
    rows = Asset.objects.select_for_update(of=("self",)).filter(pk=asset_id)
    return first_or_refuse(rows, _("There is no asset %(id)s.") % {"id": asset_id})


def lock_of_cell(cell_id: int) -> Asset:
    """Return the asset that the cell's jobs make, locked as by `lock`."""
    return sql.instances(Asset, "SELECT * FROM generation_asset WHERE cell_id = %s FOR UPDATE", [cell_id])[0]


def move(
    asset: Asset,
    to: str,
    *,
    by: User | None = None,
    label: str = "",
    before: Sequence[DomainEvent] = (),
    also: Sequence[DomainEvent] = (),
    **payload: Any,
) -> Asset:
    """Compare-and-set the asset's state and publish an event, between those in `before` and `also`. The caller holds
    the row's lock. Raises Conflict."""
    old = asset.state
    ASSET.ensure(old, to)
    values = [str(to), asset.current_version_id, asset.round, clock.now(), asset.pk, str(old)]
    if not sql.execute(_MOVE, values):
        message = _("Asset %(id)s is no longer %(state)s.") % {"id": asset.pk, "state": old}
        raise Conflict(message, state=old, wanted=to)
    asset.state = to
    payload = {"from": str(old), "to": str(to), "version": asset.current_version_id, **payload}
    publish(*before, events.AssetMoved.of(asset, **payload), *also, by=by, label=label)
    return asset


def move_many(
    asset_ids: Sequence[int],
    old: str,
    to: str,
    *,
    payloads: Mapping[int, Mapping[str, Any]] | None = None,
    by: User | None = None,
    label: str = "",
) -> list[int]:
    """Move many assets in two statements; those no longer `old` stay. payloads: by id. Returns the ids that moved."""
    ASSET.ensure(old, to)
    # Compare-and-set must tell which assets moved, and the ORM has no UPDATE … RETURNING.
    rows = sorted(
        sql.rows(
            "UPDATE generation_asset SET state = %s, changed_at = %s WHERE id = ANY(%s) AND state = %s"
            " RETURNING id, brand_id, current_version_id",
            [str(to), clock.now(), list(asset_ids), str(old)],
        )
    )
    moves = [
        events.AssetMoved(
            brand_id=brand_id,
            object_id=pk,
            payload={"from": str(old), "to": str(to), "version": version_id, **(payloads or {}).get(pk, {})},
        )
        for pk, brand_id, version_id in rows
    ]
    publish(*moves, by=by, label="" if by else label)
    return [row[0] for row in rows]


def store_master(*, brand_id: int, fingerprint: str, stored: StoredMaster) -> Master:
    """Store a master and return the brand's master for that fingerprint, which may be another worker's earlier one."""
    columns = {**vars(stored), **stored.hashes}
    del columns["hashes"]
    values = {**columns, "thumbnails": json.dumps(columns["thumbnails"]), "now": clock.now()}
    rows = sql.rows(_STORE_MASTER, {"brand_id": brand_id, "fingerprint": fingerprint, **values})
    if rows and rows[0].sha256 == stored.sha256:
        return Master(pk=rows[0].id, brand_id=brand_id, fingerprint=fingerprint, **columns)
    return Master.objects.get(brand_id=brand_id, fingerprint=fingerprint)  # without rows, another worker was quicker


def add_version(asset: Asset, new: NewVersion) -> AssetVersion:
    """Insert one immutable version with its findings and renditions."""
    outcomes = {check_result.outcome for check_result in new.check_results}
    worst = next((level for level in (Outcome.FAIL, Outcome.FLAG) if level in outcomes), Outcome.PASS)
    findings = [
        {
            "check_name": check_result.check,
            "outcome": check_result.outcome,
            "score": check_result.score,
            "message": check_result.message[:300],
            "box": check_result.box,
            "duplicate_id": new.duplicates.get(check_result.check),
        }
        for check_result in new.check_results
    ]
    values = {
        "asset": asset.pk,
        "round": new.round,
        "candidate": new.candidate,
        "master": new.master.pk,
        "job": new.job_id,
        "source": new.source,
        "worst_outcome": worst,
        "findings": json.dumps(findings),
        "renditions": json.dumps([vars(file) for file in new.renditions]),
        "now": clock.now(),
    }
    return sql.instances(AssetVersion, _ADD_VERSION, values)[0]


def settle_round(asset: Asset, *, label: str, is_final: bool = False, before: Sequence[DomainEvent] = ()) -> None:
    """If no job of the asset's round can bring another candidate, move the asset to review, or to failed without any.

    If every candidate failed its checks and the prompt's policy wants another one, ChecksFailed is published instead
    and the asset stays as it is (regenerations.py continues), unless `is_final`. If the policy says so, the asset is
    rejected instead of moved to review. The caller holds the asset's lock, so of two workers that finish its last
    candidates exactly one comes last here. before: events to publish first; one statement inserts them with the others.
    """
    values = {"cell": asset.cell_id, "round": asset.round, "asset": asset.pk}
    rows = sql.rows(_ROUND, {**values, "undecided": [state.value for state in UNDECIDED]})
    versions = [row for row in rows if row.id is not None]
    to = AssetState.IN_REVIEW if versions else AssetState.FAILED
    if rows[0].has_undecided or not ASSET.allows(asset.state, to):
        publish(*before, label=label)
        return
    if not versions:
        move(asset, AssetState.FAILED, label=label, before=before)
        return
    order = [Outcome.PASS, Outcome.FLAG, Outcome.FAIL]
    shown = min(versions, key=lambda version: (order.index(version.worst_outcome), version.candidate))
    has_failed = shown.worst_outcome == Outcome.FAIL
    payload: dict[str, Any] = {"round": asset.round, "version_ids": [version.id for version in versions]}
    if has_failed and not is_final and regenerations_left(asset):
        publish(*before, events.ChecksFailed.of(asset, **payload), label=label)
        return
    asset.current_version_id = shown.id
    if has_failed and _rejects_failed(asset):
        payload |= _describe_failure(shown.id)
        rejected = events.RejectedByChecks.of(asset, **payload)
        move(asset, AssetState.REJECTED, label=label, before=before, also=[rejected])
        return
    payload |= {"worst_outcome": str(shown.worst_outcome), "is_sandbox": asset.is_sandbox}
    ready = events.VersionReady(brand_id=asset.brand_id, object_id=asset.pk, payload=payload, asset=asset)
    move(asset, AssetState.IN_REVIEW, label=label, before=before, also=[ready])


def _rejects_failed(asset: Asset) -> bool:
    """Return whether the prompt's policy rejects images that fail their checks; False once a person saw the image."""
    is_new = asset.state == AssetState.MAKING and not asset.is_sandbox
    return is_new and asset.cell.run.prompt_version.policy.get("on_fail") == "reject"


def _describe_failure(version_id: int) -> dict[str, Any]:
    """Return the failed checks of a version, and one text of their messages."""
    failed = Finding.objects.filter(version_id=version_id, outcome=Outcome.FAIL).order_by("check_name")
    checks = [{"check": finding.check_name, "message": finding.message} for finding in failed]
    return {"reason": "; ".join(check["message"] or check["check"] for check in checks), "checks": checks}


def regenerations_left(asset: Asset) -> int:
    """Return how many more candidates the prompt's policy allows after failed checks; 0 once a person saw the image."""
    version = asset.cell.run.prompt_version
    if asset.state != AssetState.MAKING or version.policy.get("on_fail") != "regenerate":
        return 0
    made_count = JobSpec.objects.filter(cell_id=asset.cell_id, round=asset.round).count()
    return max(0, version.candidates + int(version.policy.get("max_regenerations") or 0) - made_count)


def mark_rejected(master_id: int, *, is_rejected: bool = True) -> None:
    """Record that an image was rejected, so that it is never reused silently, or that this was taken back."""
    Master.objects.filter(pk=master_id).update(was_rejected=is_rejected)
