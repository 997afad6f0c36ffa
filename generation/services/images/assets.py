"""Assets and their versions. Only this module moves an asset, adds a version to it or closes one of its rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from django.db.models import Exists, OuterRef
from django.utils.translation import gettext as _

from core import clock, sql
from core.errors import Conflict
from core.events import publish
from core.models import User
from core.selectors.rows import first_or_refuse
from generation import events
from generation.checks.base import CheckResult
from generation.choices import AssetState, JobState, Outcome, VersionSource
from generation.models import Asset, AssetVersion, Finding, Job, JobSpec, Master, Rendition
from generation.states import ASSET

#: Job states in which a round may still get another candidate.
UNDECIDED = (JobState.QUEUED, JobState.RUNNING, JobState.WAITING, JobState.HELD)
#: Conditions for assets: the round has an image already; a job may still bring one.
HAS_IMAGE = Exists(AssetVersion.objects.filter(asset=OuterRef("pk"), round=OuterRef("round")))
HAS_OPEN_JOB = Exists(Job.objects.filter(cell=OuterRef("cell"), status__in=UNDECIDED))

_HAS_UNDECIDED = """
SELECT EXISTS (
    SELECT FROM generation_job j JOIN generation_jobspec f ON f.job_id = j.id
    WHERE j.cell_id = %s AND f.round = %s AND j.status = ANY(%s)
)
"""
_VERSIONS_OF_ROUND = "SELECT * FROM generation_assetversion WHERE asset_id = %s AND round = %s ORDER BY candidate"


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
    return Asset.objects.raw("SELECT * FROM generation_asset WHERE cell_id = %s FOR UPDATE", [cell_id])[0]


def move(asset: Asset, to: str, *, by: User | None = None, label: str = "", **payload: Any) -> Asset:
    """Compare-and-set the asset's state and publish an event. The caller holds the row's lock. Raises Conflict."""
    old = asset.state
    ASSET.ensure(old, to)
    moved = Asset.objects.filter(pk=asset.pk, state=old).update(
        state=to, current_version_id=asset.current_version_id, round=asset.round, changed_at=clock.now()
    )
    if not moved:
        message = _("Asset %(id)s is no longer %(state)s.") % {"id": asset.pk, "state": old}
        raise Conflict(message, state=old, wanted=to)
    asset.state = to
    payload = {"from": str(old), "to": str(to), "version": asset.current_version_id, **payload}
    publish(events.AssetMoved.of(asset, **payload), by=by, label=label)
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
    columns = asdict(stored)
    hashes = columns.pop("hashes")
    master = Master(brand_id=brand_id, fingerprint=fingerprint, **columns, **hashes)
    Master.objects.bulk_create([master], ignore_conflicts=True)
    statement = "SELECT id, sha256 FROM generation_master WHERE brand_id = %s AND fingerprint = %s"
    [(master.pk, sha256)] = sql.rows(statement, [brand_id, fingerprint])
    return master if sha256 == stored.sha256 else Master.objects.get(pk=master.pk)


def add_version(asset: Asset, new: NewVersion) -> AssetVersion:
    """Insert one immutable version with its findings and renditions."""
    outcomes = {check_result.outcome for check_result in new.check_results}
    worst = next((level for level in (Outcome.FAIL, Outcome.FLAG) if level in outcomes), Outcome.PASS)
    version = AssetVersion.objects.create(
        asset=asset,
        round=new.round,
        candidate=new.candidate,
        master=new.master,
        job_id=new.job_id,
        source=new.source,
        worst_outcome=worst,
    )
    Finding.objects.bulk_create(
        Finding(
            version=version,
            check_name=check_result.check,
            outcome=check_result.outcome,
            score=check_result.score,
            message=check_result.message[:300],
            box=list(check_result.box) if check_result.box else None,
            duplicate_id=new.duplicates.get(check_result.check),
        )
        for check_result in new.check_results
    )
    Rendition.objects.bulk_create([Rendition(version=version, **asdict(file)) for file in new.renditions])
    return version


def settle_round(asset: Asset, *, label: str, is_final: bool = False) -> None:
    """If no job of the asset's round can bring another candidate, move the asset to review, or to failed without any.

    If every candidate failed its checks and the prompt's policy wants another one, ChecksFailed is published instead
    and the asset stays as it is (regenerations.py continues), unless `is_final`. If the policy says so, the asset is
    rejected instead of moved to review. The caller holds the asset's lock, so of two workers that finish its last
    candidates exactly one comes last here.
    """
    [(has_undecided,)] = sql.rows(_HAS_UNDECIDED, [asset.cell_id, asset.round, [state.value for state in UNDECIDED]])
    if has_undecided:
        return
    versions = list(AssetVersion.objects.raw(_VERSIONS_OF_ROUND, [asset.pk, asset.round]))
    if not versions:
        if ASSET.allows(asset.state, AssetState.FAILED):
            move(asset, AssetState.FAILED, label=label)
        return
    if not ASSET.allows(asset.state, AssetState.IN_REVIEW):
        return
    shown = best_version(versions)
    has_failed = shown.worst_outcome == Outcome.FAIL
    payload: dict[str, Any] = {"round": asset.round, "version_ids": [version.pk for version in versions]}
    if has_failed and not is_final and regenerations_left(asset):
        publish(events.ChecksFailed.of(asset, **payload), label=label)
        return
    asset.current_version = shown
    if has_failed and _rejects_failed(asset):
        payload |= _describe_failure(shown)
        move(asset, AssetState.REJECTED, label=label)
        publish(events.RejectedByChecks.of(asset, **payload), label=label)
        return
    payload |= {"worst_outcome": str(shown.worst_outcome), "is_sandbox": asset.is_sandbox}
    move(asset, AssetState.IN_REVIEW, label=label)
    ready = events.VersionReady(brand_id=asset.brand_id, object_id=asset.pk, payload=payload, asset=asset)
    publish(ready, label=label)


def _rejects_failed(asset: Asset) -> bool:
    """Return whether the prompt's policy rejects images that fail their checks; False once a person saw the image."""
    is_new = asset.state == AssetState.MAKING and not asset.is_sandbox
    return is_new and asset.cell.run.prompt_version.policy.get("on_fail") == "reject"


def _describe_failure(version: AssetVersion) -> dict[str, Any]:
    """Return the failed checks of a version, and one text of their messages."""
    failed = Finding.objects.filter(version=version, outcome=Outcome.FAIL).order_by("check_name")
    checks = [{"check": finding.check_name, "message": finding.message} for finding in failed]
    return {"reason": "; ".join(check["message"] or check["check"] for check in checks), "checks": checks}


def regenerations_left(asset: Asset) -> int:
    """Return how many more candidates the prompt's policy allows after failed checks; 0 once a person saw the image."""
    version = asset.cell.run.prompt_version
    if asset.state != AssetState.MAKING or version.policy.get("on_fail") != "regenerate":
        return 0
    made_count = JobSpec.objects.filter(cell_id=asset.cell_id, round=asset.round).count()
    return max(0, version.candidates + int(version.policy.get("max_regenerations") or 0) - made_count)


def best_version(versions: list[AssetVersion]) -> AssetVersion:
    """Return the candidate to show first: the first one with the best outcome."""
    order = [Outcome.PASS, Outcome.FLAG, Outcome.FAIL]
    return min(versions, key=lambda version: (order.index(Outcome(version.worst_outcome)), version.candidate))


def mark_rejected(master_id: int, *, is_rejected: bool = True) -> None:
    """Record that an image was rejected, so that it is never reused silently, or that this was taken back."""
    Master.objects.filter(pk=master_id).update(was_rejected=is_rejected)
