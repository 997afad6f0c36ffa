"""Put all marks of origin into a file, and read them from a file that was found anywhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from PIL import Image

from campaigns.photos import intake, metadata
from generation.provenance import containers, credentials, xmp
from generation.provenance.credentials import Credentials, Making
from generation.provenance.xmp import Fields

if TYPE_CHECKING:
    from generation.provenance.signers import Identity

_FORMATS = {"JPEG": "jpeg", "MPO": "jpeg", "PNG": "png", "WEBP": "webp", "AVIF": "avif"}


@dataclass(frozen=True)
class Marks:
    """The marks of a file. has_xmp: it has a packet that can be read; fields: what the packet says."""

    has_profile: bool = False
    has_xmp: bool = False
    fields: Fields = field(default_factory=Fields)
    credentials: Credentials = field(default_factory=Credentials)

    @property
    def document_id(self) -> str:
        """Return the ID by which the installation that made the file finds its lineage; "" if no mark has it."""
        return str(self.credentials.lineage.get("document_id", "")) or self.fields.document_id

    @property
    def is_labelled(self) -> bool:
        """Return whether software can tell that the image was made by AI, by IPTC's field or by a manifest."""
        return bool(self.fields.source_type) or self.credentials.state in ("valid", "trusted")


def mark(data: bytes, image_format: str, fields: Fields, making: Making, identity: Identity) -> bytes:
    """Return an encoded image with profile, XMP and manifest; its pixels stay as they are. Raises C2paError."""
    return credentials.sign(containers.insert(data, image_format, xmp.write(fields)), image_format, making, identity)


def read(data: bytes, *, anchors: str = "") -> Marks:
    """Return the marks of any file. anchors: see `credentials.read`. Raises intake.Refused, a ValueError, with a
    sentence if it is no image of a known format, or if it is too large."""
    with intake.open_checked(data) as image:
        return read_opened(image, data, anchors=anchors)


def read_opened(image: Image.Image, data: bytes, *, anchors: str = "") -> Marks:
    """Return the marks of an opened image, whose cost was checked. Its pixels are not decoded."""
    packet, has_profile = metadata.xmp_block(image), bool(image.info.get("icc_profile"))
    image_format = _FORMATS[image.format or ""]
    fields, has_xmp = Fields(), False
    if packet:
        try:
            fields, has_xmp = xmp.read(packet), True
        except ValueError:
            has_xmp = False
    return Marks(has_profile, has_xmp, fields, credentials.read(data, image_format, anchors=anchors))
