"""Automatic regeneration: an image that failed its checks is made again with a new seed if its prompt's policy says so.

`{"on_fail": "regenerate", "max_regenerations": 2}` allows two further candidates in the round, each with its own job,
cost and events. The failed ones stay: reviewers see them beside the new image.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from datetime import timedelta

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from campaigns.prompts import MAX_SEED
from core.errors import Conflict
from core.events import publish
from generation import events
from generation.choices import AssetState, RunState
from generation.engines import base as engines
from generation.models import Asset, AssetVersion, JobSpec, Run
from generation.services.images import assets, rounds
from generation.services.planning import fingerprints


@transaction.atomic
def regenerate(asset_id: int) -> bool:
    """Queue one more candidate of the asset's round, or move the asset to review if no more are possible.

    That is if candidates are used up, the engine ignores seeds, the run was cancelled or the budget does not suffice.
    True if a candidate was added. Safe to call twice.
    """
    run = rounds.lock_run_of(asset_id)
    asset = assets.lock(asset_id)
    if asset.state != AssetState.MAKING or not AssetVersion.objects.filter(asset=asset, round=asset.round).exists():
        return False
    of_round = JobSpec.objects.filter(cell_id=asset.cell_id, round=asset.round).select_related("job__endpoint")
    specs = list(of_round.order_by("candidate"))
    if any(frozen.job.status in assets.UNDECIDED for frozen in specs):
        return False
    left = assets.regenerations_left(asset)
    engine = engines.build(specs[0].job.endpoint.engine, specs[0].job.endpoint.config)
    if left and "seed" in engine.capabilities().obeys:
        # Conflict: cancelled meanwhile, or no money left. Then people review the existing candidates.
        with suppress(Conflict), transaction.atomic():
            _add(asset, run, specs, engine, left - 1)
            return True
    assets.settle_round(asset, label="system", is_final=True)
    return False


def regenerate_interrupted() -> int:
    """Call `regenerate` for every asset that waits for it without an open job; returns how many there were."""
    is_recent = Q(cell__run__state__in=(RunState.RUNNING, RunState.PAUSED)) | Q(
        cell__run__finished_at__gt=Now() - timedelta(hours=1)
    )
    unfinished = Asset.objects.filter(assets.HAS_IMAGE, ~assets.HAS_OPEN_JOB, is_recent, state=AssetState.MAKING)
    interrupted = unfinished.filter(cell__run__prompt_version__policy__on_fail="regenerate").order_by()
    asset_ids = list(interrupted.values_list("pk", flat=True)[:200])
    for asset_id in asset_ids:
        regenerate(asset_id)
    return len(asset_ids)


def _add(asset: Asset, run: Run, specs: list[JobSpec], engine: engines.Engine, left: int) -> None:
    parent, candidate = specs[0], specs[-1].candidate + 1
    seed = seed_after(int(parent.spec["seed"]), candidate)
    spec = {**parent.spec, "candidate": candidate, "seed": seed}
    endpoint = parent.job.endpoint
    maker = fingerprints.get_maker(endpoint, engine)
    fingerprint = fingerprints.fingerprint_spec(brand_id=asset.brand_id, maker=maker, engine=engine, spec=spec)
    change = rounds.SpecChange(parent, endpoint, engine, spec, maker, fingerprint)
    job = rounds.add_job(asset, run, change, candidate=candidate, priority=parent.job.priority)
    payload = {"round": asset.round, "candidate": candidate, "job": job.pk, "seed": seed, "left": left}
    publish(events.CandidateAdded.of(asset, **payload))
    rounds.announce(job)


def seed_after(seed: int, candidate: int) -> int:
    """Return another seed, 0 … MAX_SEED, that is always the same for the same seed and candidate."""
    text = f"{seed}/{candidate}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % (MAX_SEED + 1)
