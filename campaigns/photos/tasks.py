"""The tasks that a child process runs for `reading.py`: they take files, and return files and plain data."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields
from functools import wraps
from typing import Any, Final

from PIL import Image

from campaigns.photos import colour_profiles, cutout, intake, masks, palettes
from core.parsing.messages import Message

_QUALITY: Final = 82  # of small copies
Task = Callable[[dict[str, Any], list[bytes]], Message]


def _task(work: Task) -> Callable[[dict[str, Any], list[bytes]], Iterator[Message]]:
    """Decorator: yield the message of the work, or the name and sentence of its refusal."""

    @wraps(work)
    def run(arguments: dict[str, Any], parts: list[bytes]) -> Iterator[Message]:
        try:
            yield work(arguments, parts)
        except (intake.Refused, cutout.NoProduct) as refusal:
            yield Message({"refused": type(refusal).__name__, "message": str(refusal)})

    return run


@_task
def admit(arguments: dict[str, Any], parts: list[bytes]) -> Message:
    photo = intake.admit(parts[0])
    value = {field.name: getattr(photo, field.name) for field in fields(intake.AdmittedPhoto) if field.name != "data"}
    return Message(value, [] if photo.data == parts[0] else [photo.data])


@_task
def cut_out(arguments: dict[str, Any], parts: list[bytes]) -> Message:
    return _file(cutout.cut_out(intake.decode(parts[0])))


@_task
def apply_mask(arguments: dict[str, Any], parts: list[bytes]) -> Message:
    photo, mask = parts
    alpha = masks.read_mask(mask, **arguments)
    return _file(masks.cut_out_with_mask(intake.decode(photo), alpha))


def _file(cut: cutout.CutOut) -> Message:
    value = {"method": cut.method, "confidence": float(cut.confidence), "box": cut.box, "note": cut.note}
    return Message(value, [cutout.to_png(cut.rgba)])


@_task
def palette(arguments: dict[str, Any], parts: list[bytes]) -> Message:
    swatches = palettes.extract_palette(intake.admit(parts[0]).pixels)
    return Message([asdict(swatch) | {"share": float(swatch.share)} for swatch in swatches])


@_task
def small_copy(arguments: dict[str, Any], parts: list[bytes]) -> Message:
    edge = arguments["edge"]
    try:
        image: Image.Image = Image.open(io.BytesIO(parts[0]))
        image.draft("RGB", (edge * 2, edge * 2))  # JPEG only: decode no more than is needed
        if max(image.size) <= edge:
            return Message(None)
        image.load()
        image = colour_profiles.to_srgb(image, parts[0]).image
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise intake.Truncated(f"The image cannot be read ({error}).") from error
    image.thumbnail((edge, edge), Image.Resampling.LANCZOS, reducing_gap=2.0)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=_QUALITY, method=2)
    return Message(None, [buffer.getvalue()])
