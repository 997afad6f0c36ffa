"""Make everything that is stored from an engine's pixels: checks, master, thumbnails, hashes and renditions.

Pure, in one pass: nothing is decoded or scaled twice. The heavy steps run in C without the GIL, so several images may
be developed at once on threads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from generation.checks.base import Box, CheckResult, Sample, run_checks
from generation.engines.base import Pixels
from generation.finishing import crop, encode, labels, similarity, subject
from generation.finishing.base import STEPS, Encoded, Target, TooLarge
from generation.finishing.resample import shrink_to_fit

THUMBNAILS = (1024, 512, 256)
"""Long edges in pixels: the viewer, a tile, a strip. All are always made; a thumbnail is never larger than the
master."""


class BadPixels(ValueError):
    """The engine returned no image, but an array of the wrong shape or type. The message says which."""


@dataclass(frozen=True)
class Developed:
    """One developed image. hashes: the columns of Master that near-duplicates are found by (see similarity.py).
    subject_box is None if no subject was detected, or if no target needed it."""

    master: Encoded
    thumbnails: dict[int, Encoded]
    check_results: list[CheckResult]
    renditions: list[tuple[Target, Encoded]]
    hashes: dict[str, Any]
    has_alpha: bool
    subject_box: Box | None


def develop(pixels: Pixels, facts: Mapping[str, Any], targets: Sequence[Target]) -> Developed:
    """Develop `pixels` (height × width × 3|4 uint8 sRGB). facts: see `Sample`, and "subject_box" if the engine knows
    it. Raises BadPixels; every other problem of the image becomes a check_result."""
    pixels = _normalise_pixels(pixels)
    sample = Sample(pixels, facts)
    pdq, quality = similarity.pdq(sample.small)
    box = _subject_box(sample, targets)
    renditions, files = _renditions(sample, targets, box)
    sample.facts = {**facts, "files": files}
    return Developed(
        master=encode.encode_master(pixels),
        thumbnails=_thumbnails(pixels),
        check_results=run_checks(sample),
        renditions=renditions,
        hashes={"pdq": pdq, "pdq_quality": quality, "colours": similarity.colours(sample.small)},
        has_alpha=pixels.shape[2] == 4,
        subject_box=box,
    )


def _normalise_pixels(pixels: Pixels) -> Pixels:
    """Return `pixels` as all later steps expect them; an alpha channel that is opaque everywhere is dropped."""
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 3 or pixels.shape[2] not in (3, 4) or not pixels.size:
        shape = getattr(pixels, "shape", type(pixels).__name__)
        raise BadPixels(f"expected height × width × 3 or 4 pixels, got {shape}")
    if pixels.dtype != np.uint8:
        raise BadPixels(f"expected 8-bit pixels (uint8), got {pixels.dtype}")
    if pixels.shape[2] == 4 and int(pixels[..., 3].min()) == 255:
        pixels = pixels[..., :3]
    return np.ascontiguousarray(pixels)


def _thumbnails(pixels: Pixels) -> dict[int, Encoded]:
    """Return the thumbnails, each made from the next larger one."""
    thumbnails = {}
    for long_edge in THUMBNAILS:
        pixels = shrink_to_fit(pixels, long_edge)
        thumbnails[long_edge] = encode.encode_thumbnail(pixels)
    return thumbnails


def _subject_box(sample: Sample, targets: Sequence[Target]) -> Box | None:
    box = sample.facts.get("subject_box")
    if box:
        left, top, right, bottom = (float(share) for share in box)
        return left, top, right, bottom
    height, width, channels = sample.pixels.shape
    if all(crop.same_aspect((width, height), (target.width, target.height)) for target in targets):
        return None
    return subject.find_subject(sample.small if channels == 3 else sample.pixels)


def _renditions(
    sample: Sample, targets: Sequence[Target], box: Box | None
) -> tuple[list[tuple[Target, Encoded]], list[dict[str, Any]]]:
    """Return the renditions that could be made, and the fact "files" about all of them (see `Sample`)."""
    size = (sample.pixels.shape[1], sample.pixels.shape[0])
    steps = [step({**sample.facts, "subject_box": box}) for step in STEPS]
    renditions: list[tuple[Target, Encoded]] = []
    files: list[dict[str, Any]] = []
    for target in targets:
        pixels, problem = sample.pixels, ""
        for step in steps:
            pixels = step.apply(pixels, target)
        if target.label:
            pixels = labels.draw_label(pixels, target.label)
        try:
            file = encode.encode(pixels, target.image_format, max_bytes=target.max_bytes, background=target.background)
            renditions.append((target, file))
        except TooLarge as error:
            problem = str(error)
        scale = crop.enlargement_factor(size, (target.width, target.height), box)
        fact = {"slug": target.slug, "width": target.width, "height": target.height}
        files.append({**fact, "scale": scale, "problem": problem})
    return renditions, files
