"""Opens untrusted photos in a child process with limits (core/parsing), never in this one.

The functions do the work of `intake`, `cutout`, `masks` and `palettes` on files: pixels stay in the child process,
which runs `tasks.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from campaigns.photos import intake
from campaigns.photos.cutout import NoProduct
from campaigns.photos.intake import AdmittedPhoto
from campaigns.photos.palettes import Swatch
from campaigns.photos.refusals import Animated, NotAnImage, Refused, TooCostly, TooLarge, TooSmall, Truncated
from core import parsing

LIMITS = parsing.Limits(memory_bytes=1536 << 20, cpu_seconds=60, seconds=180)
TOO_MUCH = "The file takes too much memory or time to open, so it was not opened. Save it smaller, as JPEG or PNG."
_BROKEN = "The image is damaged and cannot be opened; export it again."
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class CutOutFile:
    """A cut-out as a PNG file; the rest is as in `cutout.CutOut`."""

    png: bytes
    method: str
    confidence: float
    box: tuple[int, int, int, int]
    note: str


def admit(data: bytes, *, is_patient: bool = False) -> AdmittedPhoto:
    """Check one file and prepare it for storage. Raises a subclass of intake.Refused, and Busy unless `is_patient`."""
    answer = _run_task("admit", {}, [data], is_patient=is_patient)
    fields = answer.value | {"notes": tuple(answer.value["notes"])}
    return AdmittedPhoto(data=answer.parts[0] if answer.parts else data, **fields)


def cut_out(data: bytes, *, is_patient: bool = False) -> CutOutFile:
    """Cut the product out of an admitted photo. Raises NoProduct if that cannot be done, whatever the reason."""
    try:
        return _cut_out(_run_task("cut_out", {}, [data], is_patient=is_patient))
    except TooLarge:
        reason = "The photo is too large for its product to be cut out; use a smaller one, or your own cut-out."
    except Refused:
        reason = "The product could not be cut out of this photo. Mark it by hand, or add another photo."
    raise NoProduct(reason)


def apply_mask(photo: bytes, mask: bytes, *, width: int, height: int) -> CutOutFile:
    """Give an admitted photo of this size the alpha of a mask file. Raises intake.Refused and NoProduct."""
    return _cut_out(_run_task("apply_mask", {"width": width, "height": height}, [photo, mask]))


def palette(data: bytes) -> list[Swatch]:
    """Return the main colours of one file. Raises intake.Refused."""
    return [Swatch(**swatch) for swatch in _run_task("palette", {}, [data]).value]


def small_copy(data: bytes, edge: int) -> bytes:
    """Return a WebP whose long edge is at most `edge` pixels; b"" for an image no larger. Raises intake.Refused."""
    parts = _run_task("small_copy", {"edge": edge}, [data]).parts
    return parts[0] if parts else b""


def _cut_out(answer: parsing.Message) -> CutOutFile:
    value = answer.value
    return CutOutFile(answer.parts[0], value["method"], value["confidence"], tuple(value["box"]), value["note"])


def _run_task(task: str, arguments: dict[str, Any], parts: list[bytes], *, is_patient: bool = False) -> parsing.Message:
    """Return the answer of a task. Raises the refusal that it names."""
    if (largest := max(map(len, parts))) > intake.MAX_BYTES:  # the child would refuse it too
        raise TooLarge(intake.too_large_refusal(largest))
    try:
        path = f"campaigns.photos.tasks:{task}"
        answer = parsing.run_task(path, arguments, parts, limits=LIMITS, is_patient=is_patient)
    except parsing.Exceeded:
        raise TooCostly(TOO_MUCH) from None
    except parsing.Broken as error:
        log.warning("photo.broken", task=task, error=str(error))
        raise Truncated(_BROKEN) from error
    if isinstance(answer.value, dict) and "refused" in answer.value:
        raise _REFUSALS[answer.value["refused"]](answer.value["message"])
    return answer


_REFUSALS: dict[str, Callable[[str], Exception]] = {
    kind.__name__: kind for kind in (NoProduct, Refused, NotAnImage, Truncated, TooLarge, TooCostly, TooSmall, Animated)
}
