"""Make everything that is stored from an engine's pixels: checks, master, thumbnails, hashes and renditions.

Pure, in one pass: nothing is decoded or scaled twice. The heavy steps run in C without the GIL, so several images may
be developed at once on threads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from campaigns import thresholds
from generation.checks.base import Box, CheckResult, Sample, Threshold
from generation.checks.registry import run_checks
from generation.engines.base import Pixels
from generation.finishing import crop, encode, similarity, subject
from generation.finishing.base import Encoded, Target, TooLarge
from generation.finishing.resample import shrink_to_fit

THUMBNAILS = (1024, 512, 256)
"""Long edges in pixels: the viewer, a tile, a strip. All are always made; a thumbnail is never larger than the
master."""
LIMITS = (
    Threshold(
        "enlarged", "A file may be larger than its image",
        "From this on a file that had to be enlarged from the image made is flagged. Lower it where sharpness "
        "matters most; raise it for channels that show small.",
        default=1.25, minimum=1, maximum=4, step=0.05, unit="times",
    ),
)  # fmt: skip
thresholds.declare_thresholds("renditions", LIMITS)


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
    check_results = run_checks(sample)
    pdq, quality = similarity.pdq(sample.small)
    box = _subject_box(sample, targets)
    renditions, problems = _renditions(pixels, targets, box)
    if problems:
        check_results.append(CheckResult("renditions", "fail", " ".join(problems)))
    elif targets:
        check_results.append(_enlargement_result(sample, box, targets))
    return Developed(
        master=encode.encode_master(pixels),
        thumbnails=_thumbnails(pixels),
        check_results=check_results,
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
    pixels: Pixels, targets: Sequence[Target], box: Box | None
) -> tuple[list[tuple[Target, Encoded]], list[str]]:
    """Return the renditions that could be made, and sentences about those that could not."""
    renditions: list[tuple[Target, Encoded]] = []
    problems: list[str] = []
    sized: dict[tuple[int, int], Pixels] = {}
    for target in targets:
        size = (target.width, target.height)
        if size not in sized:
            sized[size] = crop.fit_to_size(pixels, *size, box)
        try:
            file = encode.encode(
                sized[size], target.image_format, max_bytes=target.max_bytes, background=target.background
            )
            renditions.append((target, file))
        except TooLarge as error:
            problems.append(f"{target.slug}: {error}")
    return renditions, problems


def _enlargement_result(sample: Sample, box: Box | None, targets: Sequence[Target]) -> CheckResult:
    """Return one result for all files. The score is the largest factor by which a file is enlarged from the master."""
    size = (sample.pixels.shape[1], sample.pixels.shape[0])
    scales = [crop.enlargement_factor(size, (target.width, target.height), box) for target in targets]
    scale = max(scales)
    target = targets[scales.index(scale)]
    if scale >= sample.limit("renditions", "enlarged"):
        message = (
            f"{target.slug} wants {target.width} × {target.height} px, the image was made with"
            f" {size[0]} × {size[1]} px: it is enlarged {scale:.1f} times."
        )
        return CheckResult("renditions", "flag", message, round(scale, 2))
    made = "1 file" if len(targets) == 1 else f"{len(targets)} files"
    return CheckResult("renditions", "pass", f"{made}, each within its limit.", round(scale, 2))
