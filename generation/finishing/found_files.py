"""Opens image files that were found anywhere, in a child process with limits (core/parsing), never in this one.

Only a small copy, hashes and marks leave the child. It stores nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
from PIL import Image, ImageOps

from campaigns.photos import colour_profiles, intake, metadata
from campaigns.photos.intake import Refused, TooLarge
from core import parsing
from core.parsing import Message
from generation.finishing import matching, similarity
from generation.finishing.matching import Corner
from generation.finishing.resample import composite_over, shrink_to_fit
from generation.provenance import marks as provenance
from generation.provenance.credentials import Credentials

if TYPE_CHECKING:  # the child needs nothing else of it, and it takes long to import
    from generation.engines.base import Pixels

LIMITS: Final = parsing.Limits(memory_bytes=768 << 20, cpu_seconds=8, seconds=20)
SECONDS: Final = 1.5
SECONDS_PER_MB: Final = 0.5
MOST_SECONDS: Final = 8.0
"""The time within which a file is answered: SECONDS, and SECONDS_PER_MB for each whole megabyte, up to MOST_SECONDS.

It includes the start of a child process and the comparison with our images. Large files get more, because genuine ones
with many pixels take long to open on a busy machine."""
SMALL_EDGE: Final = 512
_REDUCIBLE: Final = ("L", "LA", "RGB", "RGBA", "CMYK")
_TOO_MUCH = (
    "The file takes too much memory or time to examine, so that was stopped. Try again; if that does not help, save it "
    "smaller, as JPEG or PNG."
)
_BROKEN = "The image is damaged and cannot be opened; save it again."
_CHANGED: Final = frozenset({"assertion.dataHash.mismatch", "assertion.bmffHash.mismatch"})  # the latter: AVIF
_TASK: Final = f"{__name__}:run_task"
_REFUSALS = {kind.__name__: kind for kind in (Refused, TooLarge)}


@dataclass(frozen=True)
class Mark:
    """A mark of origin. state: "present", "absent" or "invalid"; message: what it says, for people."""

    name: str
    state: str
    message: str


@dataclass(frozen=True)
class Marks:
    """The marks of origin of a file, and the document IDs that they name."""

    marks: tuple[Mark, ...]
    document_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class FoundFile:
    """The size, the looks and the marks of a file.

    hashes: see `matching.hashes`; empty for a plain area. colours: see `similarity.colours`. small: the image with a
    long edge of at most SMALL_EDGE, as PNG.
    """

    image_format: str
    width: int
    height: int
    hashes: tuple[str, ...]
    colours: bytes
    marks: Marks
    small: bytes


@dataclass(frozen=True)
class SameImage:
    """A candidate that shows the image. index: its place; covered: the share of it that is shown; worst: the greatest
    difference of a part, in levels of 0–255."""

    index: int
    covered: float
    worst: float


def describe_marks(found: provenance.Marks) -> Marks:
    """Return the marks in words for people."""
    names = (str(found.credentials.lineage.get("document_id", "")), found.fields.document_id)
    return Marks((_xmp(found), _credentials(found.credentials)), tuple(dict.fromkeys(filter(None, names))))


def _xmp(found: provenance.Marks) -> Mark:
    fields = found.fields
    if not fields.source_type:
        return Mark("XMP", "absent", "The file does not say in XMP where it comes from.")
    meaning = intake.GENERATED.get(fields.source_type, "a source that is not generated")
    sentences = [f"It says: {meaning} (digital source type {fields.source_type})."]
    if fields.ai_system:
        sentences.append(f"AI system: {' '.join(filter(None, (fields.ai_system, fields.ai_version)))}.")
    if fields.caution:
        sentences.append(f"Disclaimer: {fields.caution}.")
    return Mark("XMP", "present", " ".join(sentences))


def _credentials(found: Credentials) -> Mark:
    name = "Content Credentials"
    if found.state == "none":
        return Mark(name, "absent", "The file has no Content Credentials (C2PA).")
    if found.state == "trusted":
        return Mark(name, "present", f"Signed by {found.signer}, and unchanged since.")
    if found.state == "valid":
        return Mark(name, "present", f"Signed by {found.signer}, whom nobody here vouches for; unchanged since.")
    if not _CHANGED.isdisjoint(found.problems):
        return Mark(name, "invalid", f"The file was changed after {found.signer} signed it.")
    if "signingCredential.expired" in found.problems:
        message = f"The certificate of {found.signer} has ended, and no trusted time stamp says that it signed before."
        return Mark(name, "invalid", message)
    return Mark(name, "invalid", f"They cannot be verified: {', '.join(found.problems) or 'they are damaged'}.")


def prepare() -> None:
    """Start the child process that opens files, because a file is likely to come soon."""
    parsing.prepare(_TASK)


def get_seconds(size: int) -> float:
    """Return how long examining a file of `size` bytes may take."""
    return max(SECONDS, min(SECONDS + SECONDS_PER_MB * (size >> 20), MOST_SECONDS))


def examine(data: bytes, *, deadline: float, anchors: str = "") -> FoundFile:
    """Open one file. deadline: see `parsing.run_task`. anchors: PEM of the roots that are trusted. Raises Refused, with
    a sentence, and Busy."""
    if len(data) > intake.MAX_BYTES:
        raise TooLarge(intake.too_large_refusal(len(data)))
    answer = _run("examine", data, deadline=deadline, anchors=anchors)
    value = answer.value
    marks = Marks(tuple(Mark(**mark) for mark in value["marks"]["marks"]), tuple(value["marks"]["document_ids"]))
    colours, hashes = bytes.fromhex(value["colours"]), tuple(value["hashes"])
    size = {name: value[name] for name in ("image_format", "width", "height")}
    return FoundFile(hashes=hashes, colours=colours, marks=marks, small=answer.parts[0], **size)


def find_same(
    small: bytes, candidates: Sequence[bytes], labels: Sequence[Corner] = (), *, deadline: float
) -> list[SameImage]:
    """Return the candidates (thumbnails of masters) that may show the image, the most similar first. Raises Refused,
    and Busy.

    labels: see `matching.find_same`.
    """
    corners = [asdict(corner) for corner in labels]
    answer = _run("find_same", small, *candidates, deadline=deadline, labels=corners)
    return [SameImage(**found) for found in answer.value]


def _run(work: str, *files: bytes, deadline: float, **arguments: Any) -> Message:
    try:
        answer = parsing.run_task(_TASK, {"work": work, **arguments}, files, limits=LIMITS, deadline=deadline)
    except parsing.Exceeded:
        raise TooLarge(_TOO_MUCH) from None
    except parsing.Broken as error:
        raise Refused(_BROKEN) from error
    if isinstance(answer.value, dict) and "refused" in answer.value:
        raise _REFUSALS[answer.value["refused"]](answer.value["message"])
    return answer


def run_task(arguments: dict[str, Any], files: list[bytes]) -> Iterator[Message]:
    """In the child process: yield the message of the work, or the name and sentence of its refusal."""
    cv2.setNumThreads(1)
    try:
        if arguments["work"] == "examine":
            yield _examine(files[0], arguments["anchors"])
        else:
            labels = [Corner(**corner) for corner in arguments["labels"]]
            yield _find_same(files[0], files[1:], labels)
    except Refused as refusal:
        yield Message({"refused": type(refusal).__name__, "message": str(refusal)})


def _examine(data: bytes, anchors: str) -> Message:
    image = intake.open_checked(data)
    marks = describe_marks(provenance.read_opened(image, data, anchors=anchors))
    value: dict[str, Any] = {"image_format": image.format, "width": image.width, "height": image.height}
    small = _decode_small(image, data)
    value |= {"hashes": matching.hashes(small), "colours": similarity.colours(small).hex(), "marks": asdict(marks)}
    png = cv2.imencode(".png", small[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
    return Message(value, [png])


def _decode_small(image: Image.Image, data: bytes) -> Pixels:
    """Return the upright sRGB pixels over white, height × width × 3, with a long edge of at most SMALL_EDGE."""
    image.draft("RGB", (2 * SMALL_EDGE, 2 * SMALL_EDGE))  # JPEG only: decode no more than is needed
    intake.load(image)
    converted = colour_profiles.to_srgb(_reduce(image), data)
    if metadata.has_turned_orientation(image):
        converted.getexif()[metadata.ORIENTATION] = image.getexif()[metadata.ORIENTATION]
        converted = ImageOps.exif_transpose(converted)
    pixels = np.ascontiguousarray(np.asarray(converted, dtype=np.uint8))
    return np.ascontiguousarray(shrink_to_fit(composite_over(pixels, ""), SMALL_EDGE))


def _reduce(image: Image.Image) -> Image.Image:
    """Return a decoded image with a long edge of about SMALL_EDGE to three times that, to save memory afterwards."""
    factor = max(image.size) // (2 * SMALL_EDGE)
    if factor < 2:
        return image
    if image.mode == "1":
        image = image.convert("L")
    return image.reduce(factor) if image.mode in _REDUCIBLE else image


def _find_same(small: bytes, candidates: Sequence[bytes], labels: Sequence[Corner]) -> Message:
    same = matching.find_same(_pixels(small), [_pixels(candidate) for candidate in candidates], labels)
    return Message(
        [{"index": index, "covered": found.covered, "worst": found.sharpest} for index, found in same],
    )


def _pixels(file: bytes) -> Pixels:
    """Return the pixels of one of our own small files over white, with a long edge of at most that of a thumbnail."""
    decoded = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.ndim != 3:
        raise Refused(_BROKEN)
    code = cv2.COLOR_BGRA2RGBA if decoded.shape[2] == 4 else cv2.COLOR_BGR2RGB
    return composite_over(np.asarray(cv2.cvtColor(decoded, code), dtype=np.uint8), "")
