"""Opens untrusted photos in a child process with limits (core/parsing), never in this one.

The functions do the work of `intake`, `cutout` and `colours` on files. The child runs `run_task`, which takes files and
returns files and plain data: pixels stay there.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

from PIL import Image

from campaigns.photos import colour_profiles, colours, cutout, intake
from campaigns.photos.cutout import NoProduct
from campaigns.photos.intake import AdmittedPhoto, Refused, TooLarge
from core import parsing
from core.parsing import Message

LIMITS = parsing.Limits(memory_bytes=1536 << 20, cpu_seconds=60, seconds=180)
TOO_MUCH = "The file takes too much memory or time to open, so it was not opened. Save it smaller, as JPEG or PNG."
_BROKEN = "The image is damaged and cannot be opened; export it again."
_REFUSALS: dict[str, Callable[[str], Exception]] = {kind.__name__: kind for kind in (NoProduct, Refused, TooLarge)}


@dataclass(frozen=True)
class CutOutFile:
    """A cut-out as a PNG file; the rest is as in `cutout.CutOut`."""

    png: bytes
    method: str
    confidence: float
    box: list[int]
    note: str


def admit(data: bytes, *, is_patient: bool = False) -> AdmittedPhoto:
    """Check one file and prepare it for storage. Raises intake.Refused, and Busy unless `is_patient`."""
    answer = _run(_admit, data, is_patient=is_patient)
    values = answer.value | {"notes": tuple(answer.value["notes"])}
    return AdmittedPhoto(data=answer.parts[0] if answer.parts else data, **values)


def cut_out(data: bytes, *, is_patient: bool = False) -> CutOutFile:
    """Cut the product out of an admitted photo. Raises NoProduct if that cannot be done, whatever the reason."""
    try:
        answer = _run(_cut_out, data, is_patient=is_patient)
        return CutOutFile(answer.parts[0], **answer.value)
    except TooLarge:
        reason = "The photo is too large for its product to be cut out; use a smaller one, or your own cut-out."
    except Refused:
        reason = "The product could not be cut out of this photo. Mark it by hand, or add another photo."
    raise NoProduct(reason)


def apply_mask(photo: bytes, mask: bytes, *, width: int, height: int) -> CutOutFile:
    """Give an admitted photo of this size the alpha of a mask file. Raises intake.Refused and NoProduct."""
    answer = _run(_apply_mask, photo, mask, width=width, height=height)
    return CutOutFile(answer.parts[0], **answer.value)


def palette(data: bytes) -> list[dict[str, str]]:
    """Return the main colours of one file, {"name", "hex"}. Raises intake.Refused."""
    return list(_run(_palette, data).value)


def small_copy(data: bytes, edge: int) -> bytes:
    """Return a WebP whose long edge is at most `edge` pixels; b"" for an image no larger. Raises intake.Refused."""
    parts = _run(_small_copy, data, edge=edge).parts
    return parts[0] if parts else b""


def _run(work: Callable[..., Message], *files: bytes, is_patient: bool = False, **arguments: int) -> Message:
    """Return the message of the work, done in a child process. Raises the refusal that it names."""
    if (largest := max(map(len, files))) > intake.MAX_BYTES:  # the child would refuse it too
        raise TooLarge(intake.too_large_refusal(largest))
    try:
        answer = parsing.run_task(
            f"{__name__}:run_task", {"work": work.__name__, **arguments}, files, limits=LIMITS, is_patient=is_patient
        )
    except parsing.Exceeded:
        raise TooLarge(TOO_MUCH) from None
    except parsing.Broken as error:
        raise Refused(_BROKEN) from error
    if isinstance(answer.value, dict) and "refused" in answer.value:
        raise _REFUSALS[answer.value["refused"]](answer.value["message"])
    return answer


def run_task(arguments: dict[str, Any], files: list[bytes]) -> Iterator[Message]:
    """In the child process: yield the message of the work, or the name and sentence of its refusal."""
    try:
        yield _WORKS[arguments.pop("work")](*files, **arguments)
    except (Refused, NoProduct) as refusal:
        yield Message({"refused": type(refusal).__name__, "message": str(refusal)})


def _admit(data: bytes) -> Message:
    photo = intake.admit(data)
    value = {field.name: getattr(photo, field.name) for field in fields(AdmittedPhoto) if field.name != "data"}
    return Message(value, [] if photo.data == data else [photo.data])


def _cut_out(photo: bytes) -> Message:
    return _cut_out_message(cutout.cut_out(intake.decode(photo)))


def _apply_mask(photo: bytes, mask: bytes, width: int, height: int) -> Message:
    alpha = cutout.read_mask(mask, width=width, height=height)
    return _cut_out_message(cutout.cut_out_with_mask(intake.decode(photo), alpha))


def _cut_out_message(cut: cutout.CutOut) -> Message:
    value = {"method": cut.method, "confidence": float(cut.confidence), "box": cut.box, "note": cut.note}
    return Message(value, [cutout.to_png(cut.rgba)])


def _palette(data: bytes) -> Message:
    return Message(colours.extract_palette(intake.admit(data).pixels))


def _small_copy(data: bytes, edge: int) -> Message:
    try:
        image: Image.Image = Image.open(io.BytesIO(data))
        image.draft("RGB", (edge * 2, edge * 2))  # JPEG only: decode no more than is needed
        if max(image.size) <= edge:
            return Message(None)
        image.load()
        image = colour_profiles.to_srgb(image, data)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise Refused(f"The image cannot be read ({error}).") from error
    image.thumbnail((edge, edge), Image.Resampling.LANCZOS, reducing_gap=2.0)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=82, method=2)
    return Message(None, [buffer.getvalue()])


_WORKS: dict[str, Any] = {work.__name__: work for work in (_admit, _cut_out, _apply_mask, _palette, _small_copy)}
