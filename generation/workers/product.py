"""Develop one image from pixels and store its files. Runs on a finisher thread."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from core import crash_points, stored_files
from generation.checks import histories
from generation.engines.base import EngineError, ErrorKind, Pixels, Result
from generation.finishing.base import RECIPE_VERSION, Encoded
from generation.finishing.develop import BadPixels, Developed, develop
from generation.models import Master
from generation.services.dispatch.outcomes import StoredResult
from generation.services.images.assets import StoredMaster, StoredRendition
from generation.workers.job_contexts import JobContext

Put = Callable[..., stored_files.StoredFile]
"""`stored_files.put`, or a function that calls it and waits while the disk is full."""


def develop_result(job_context: JobContext, result: Result, *, put: Put = stored_files.put) -> StoredResult:
    """Develop and store an engine's image. Files are written before any row names them."""
    assert result.pixels is not None
    result_facts = {"subject_box": result.facts["subject_box"]} if "subject_box" in result.facts else {}
    if "asked_size" in result.facts:  # the nearest size, for a service that cannot make the requested size
        result_facts["asked"] = result.facts["asked_size"]
    facts = {**job_context.facts, **result_facts}
    try:
        developed = develop(result.pixels, facts, [target for _, target in job_context.targets])
    except BadPixels as error:
        raise EngineError(ErrorKind.INPUT, f"The engine's image cannot be used: {error}") from error
    crash_points.point("developed")
    return StoredResult(
        master=_stored(developed, put),
        check_results=tuple(developed.check_results),
        renditions=_renditions(job_context, developed, put),
        cost=result.cost,
        usage=result.usage,
        details={
            "model": result.model,
            "revision": result.revision,
            "seed": result.seed,
            "seconds": round(result.seconds, 4),
            "log": result.log[-4000:],
            **({"usage": dict(result.usage)} if result.usage else {}),
            **result.facts,
        },
    )


def develop_master(job_context: JobContext, *, put: Put = stored_files.put) -> StoredResult:
    """Make renditions and findings again for an existing master; nothing is generated. The master's file is not written
    again, because encoding the same pixels again may give other bytes."""
    assert job_context.master is not None
    master = job_context.master
    developed = develop(read_pixels(master), job_context.facts, [target for _, target in job_context.targets])
    check_results = tuple(developed.check_results)
    if master.was_rejected:
        check_results = (*check_results, histories.rejected_before())
    return StoredResult(
        master=StoredMaster(
            sha256=master.sha256,
            storage_key=master.storage_key,
            image_format=master.image_format,
            width=master.width,
            height=master.height,
            has_alpha=master.has_alpha,
            bytes=master.bytes,
            thumbnails=master.thumbnails,
            hashes=developed.hashes,
        ),
        check_results=check_results,
        renditions=_renditions(job_context, developed, put),
        details={**job_context.master_facts, "reused_master": master.sha256},
        is_reused=True,
    )


def read_pixels(master: Master) -> Pixels:
    """Return the master's pixels, height × width × 3|4 uint8."""
    with Image.open(io.BytesIO(stored_files.read(master.storage_key))) as image:
        return np.asarray(image.convert("RGBA" if master.has_alpha else "RGB"))


def _stored(developed: Developed, put: Put) -> StoredMaster:
    master = put(developed.master.data, suffix=developed.master.image_format, sha256=developed.master.sha256)
    thumbnails = {
        str(edge): put(thumb.data, suffix=thumb.image_format, durable=False, sha256=thumb.sha256).key
        for edge, thumb in developed.thumbnails.items()
    }
    return StoredMaster(
        sha256=master.sha256,
        storage_key=master.key,
        image_format=developed.master.image_format,
        width=developed.master.width,
        height=developed.master.height,
        has_alpha=developed.has_alpha,
        bytes=master.bytes,
        thumbnails=thumbnails,
        hashes=developed.hashes,
    )


def _renditions(job_context: JobContext, developed: Developed, put: Put) -> tuple[StoredRendition, ...]:
    spec_ids = {target.slug: spec_id for spec_id, target in job_context.targets}
    return tuple(_rendition(spec_ids[target.slug], encoded, put) for target, encoded in developed.renditions)


def _rendition(output_spec_id: int, encoded: Encoded, put: Put) -> StoredRendition:
    stored = put(encoded.data, suffix=encoded.image_format, sha256=encoded.sha256)
    return StoredRendition(
        output_spec_id=output_spec_id,
        recipe_version=RECIPE_VERSION,
        sha256=stored.sha256,
        storage_key=stored.key,
        image_format=encoded.image_format,
        width=encoded.width,
        height=encoded.height,
        bytes=stored.bytes,
        quality=encoded.quality,
    )
