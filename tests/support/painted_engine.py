"""An engine whose images show its real state when it made them, and helpers that change it after planning."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from campaigns.models import Campaign
from core.choices import Lane
from generation.choices import JobState
from generation.engines.base import ENGINES, Capabilities, Context, EnginePlugin, Pixels, Result, Task
from generation.models import AssetVersion, Endpoint, Job, Run
from generation.services import runs
from generation.services.planning import fingerprints, plans
from generation.services.planning.fingerprints import Maker
from generation.services.planning.plan_requests import PlanArguments
from generation.workers import product
from generation.workers.lane import LaneWorker
from tests.support import engines, factories

SIDE = 64


def paint(revision: str, tier: str, spec: Mapping[str, Any], *, is_blind: bool = False) -> Pixels:
    """Return the image of a spec: 64 blocks, in other colours for each revision, tier and spec."""
    words = "" if is_blind else spec["prompt"]
    text = f"{revision}/{tier}/{words}/{spec['seed']}/{spec['candidate']}"
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    blocks = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return np.ascontiguousarray(blocks.repeat(spec["height"] // 8, axis=0).repeat(spec["width"] // 8, axis=1))


class PaintedEngine(engines.ReadyEngine):
    """config: "file" holds its weights, "ink" is a setting that decides pixels; "blind": it obeys no prompt.

    meanwhile: functions that are called one by one, each before an image: changes by others during a batch.
    """

    name = "painted"
    meanwhile: ClassVar[list[Callable[[], None]]] = []

    def capabilities(self) -> Capabilities:
        obeys = {"seed"} if self.config.get("blind") else {"prompt", "seed"}
        return Capabilities(
            is_remote=False, obeys=frozenset(obeys), controls=(), obeys_prompt=not self.config.get("blind")
        )

    def model_identity(self) -> tuple[str, str]:
        content = Path(self.config["file"]).read_bytes()
        settings = f"{self.config.get('ink')}/{self.config.get('blind')}"
        return ("painted", hashlib.sha256(settings.encode() + content).hexdigest())

    def generate(self, batch: Sequence[Task], context: Context) -> Iterator[Result]:
        for task in batch:
            if self.meanwhile:
                self.meanwhile.pop(0)()
            model, revision = self.model_identity()
            tier, is_blind = str(self.config.get("tier", "final")), bool(self.config.get("blind"))
            pixels = paint(revision, tier, task.spec.to_json(), is_blind=is_blind)
            yield Result(task.id, pixels, model, revision, task.spec.seed)


class AnonymousPaintedEngine(PaintedEngine):
    """A painted engine whose results do not say what made them."""

    name = "painted-silently"

    def generate(self, batch: Sequence[Task], context: Context) -> Iterator[Result]:
        for result in super().generate(batch, context):
            yield Result(result.task_id, result.pixels, seed=result.seed)


ENGINES.register("painted", EnginePlugin("painted", PaintedEngine))
ENGINES.register("painted-silently", EnginePlugin("painted-silently", AnonymousPaintedEngine))


def create_endpoint(folder: Path, **config: Any) -> Endpoint:
    file = folder / f"weights-{Endpoint.objects.count()}"
    file.write_bytes(b"first")
    engine = config.pop("engine", "painted")
    return factories.EndpointFactory(engine=engine, lane=Lane.CPU, batch_size=2, config={"file": str(file), **config})


def create_campaign(subjects: int = 3, **fields: Any) -> Campaign:
    brand = fields.pop("brand", None) or factories.BrandFactory()
    mugs = [factories.SubjectFactory(brand=brand) for _ in range(subjects)]
    campaign = factories.CampaignFactory(brand=brand, subjects=mugs, **fields)
    factories.OutputSpecFactory(campaign=campaign, width=SIDE, height=SIDE)
    manager = factories.MembershipFactory(brand=brand, role="campaign_manager").user
    factories.PromptVersionFactory(
        template__brand=brand, text="{name} on oak", axes={}, parameters={}, needs={}, created_by=manager
    )
    return campaign


def plan_run(campaign: Campaign, endpoint: Endpoint, **changes: Any) -> Run:
    from campaigns.models import PromptVersion

    version = PromptVersion.objects.get(template__brand=campaign.brand)
    arguments: dict[str, Any] = {"stage": "pilot", "by": version.created_by, "prompt_version": version, **changes}
    return plans.plan(PlanArguments(campaign=campaign, endpoint=endpoint, **arguments))


def release_run(run: Run) -> Run:
    return runs.release(run_id=run.pk, by=run.requested_by)


def change_config(endpoint: Endpoint, **config: Any) -> None:
    """Change settings of the endpoint; None removes a setting."""
    kept = {**Endpoint.objects.get(pk=endpoint.pk).config, **config}
    Endpoint.objects.filter(pk=endpoint.pk).update(
        config={name: value for name, value in kept.items() if value is not None}
    )


def overwrite_weights(endpoint: Endpoint, content: bytes) -> None:
    Path(endpoint.config["file"]).write_bytes(content)


def work_until_idle(worker: LaneWorker) -> None:
    """Work on the lane until nothing is queued on it."""
    while Job.objects.filter(lane=Lane.CPU, status=JobState.QUEUED, not_before=None).exists():
        worker.drain(Lane.CPU)


def find_mismatches() -> list[str]:
    """Return a sentence for each kept image whose pixels or fingerprint are not those of its recorded maker."""
    faults = []
    engine = PaintedEngine({"file": "/dev/null"})
    for version in AssetVersion.objects.select_related("master", "job__frozen", "job__endpoint"):
        frozen = version.job.frozen
        maker = Maker(**frozen.maker)
        pixels = product.read_pixels(version.master)
        if not np.array_equal(pixels, paint(maker.revision, maker.tier, frozen.spec)):
            faults.append(f"{version}: its pixels are not what {maker} makes.")
        named = fingerprints.fingerprint_spec(brand_id=frozen.brand_id, maker=maker, engine=engine, spec=frozen.spec)
        if not named == frozen.fingerprint == version.master.fingerprint:
            faults.append(f"{version}: its fingerprint is not that of {maker}.")
    return faults
