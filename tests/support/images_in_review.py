"""Images in review for tests of decisions, queues and deliveries, with real rows and stored files."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from core import stored_files
from generation.choices import AssetState
from generation.models import Asset, AssetVersion
from review import pins
from review.models import ReviewTask
from review.services import queue, reasons
from tests.support import factories


def create_image_in_review(
    brand: Any,
    *,
    candidates: int = 1,
    campaign: Any = None,
    specs: list[Any] | None = None,
    run: Any = None,
    **asset: Any,
) -> ReviewTask:
    """Create an asset whose round is complete, with one rendition per spec; return its open task."""
    campaign = campaign or (run.campaign if run else factories.CampaignFactory(brand=brand))
    run = run or factories.RunFactory(campaign=campaign)
    specs = specs if specs is not None else [factories.OutputSpecFactory(campaign=campaign)]
    cell = factories.CellFactory(run=run, axis_values={"backdrop": "clay"})
    made = factories.AssetFactory(cell=cell, state=AssetState.IN_REVIEW, **asset)
    for number in range(1, candidates + 1):
        frozen = factories.JobSpecFactory(
            job=factories.JobFactory(run=run, cell=cell, status="succeeded"),
            candidate=number,
            spec=packshot_spec(number),
        )
        master = factories.MasterFactory(brand=brand, fingerprint=frozen.fingerprint)
        version = factories.AssetVersionFactory(asset=made, candidate=number, master=master, job=frozen.job)
        for spec in specs:
            stored = stored_files.put(factories.tiny_jpeg(f"{made.pk} {number} {spec.pk}"), suffix="jpg")
            factories.RenditionFactory(
                version=version, output_spec=spec, sha256=stored.sha256, storage_key=stored.key, bytes=stored.bytes
            )
        factories.FindingFactory(version=version)
    Asset.objects.filter(pk=made.pk).update(current_version=made.versions.first())
    made.refresh_from_db()
    with transaction.atomic():
        return queue.open_task(asset=made)


def packshot_spec(candidate: int = 1) -> dict[str, Any]:
    """Return a frozen spec as planning writes it for the packshot engine."""
    image = {"sha256": factories.digest("cut-out"), "key": "sha256/aa/bb/cutout.png"}
    return {
        "prompt": "A mug on clay",
        "negative": "",
        "width": 1024,
        "height": 1024,
        "seed": 7,
        "candidate": candidate,
        "parameters": {"backdrop": "clay", "fill": 0.8},
        "images": {"cutout": image},
    }


def decision_arguments(task: ReviewTask, version: AssetVersion | None = None) -> dict[str, Any]:
    """Return what a page sends with a decision about a version; the default is the first version."""
    version = version or task.asset.versions.order_by("candidate").first()
    assert version is not None
    token = pins.current_state(version, ReviewTask.objects.get(pk=task.pk)).token
    return {"task_id": task.pk, "version_id": version.pk, "seen": token}


def add_default_reasons(brand: Any, lead: Any) -> None:
    reasons.add_defaults(brand=brand, by=lead)
