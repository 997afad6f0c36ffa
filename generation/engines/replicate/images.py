"""Send images to a model as its input, and recognise the image in an input of a prediction.

Up to 256 KB are sent as a data URL. Larger ones are uploaded (https://replicate.com/docs/reference/http#files.create);
all submissions of one worker share an upload while the service keeps it.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any, Final
from urllib.parse import urlsplit

from core.fetching.bodies import SNIFFED_BYTES, sniff
from generation.engines import service
from generation.engines.base import Context, EngineError, ErrorKind, ImageRef, Spec
from generation.engines.replicate import predictions
from generation.engines.replicate.inputs import Inputs
from generation.engines.replicate.shared import call
from generation.engines.service import Service

MAX_DATA_URL_BYTES: Final = 256 * 1024
UPLOAD_REUSE_SECONDS = 45 * 60.0
"""Seconds for which an upload is used. It is deleted after an hour, and must not end while its submission waits."""


class ImageUploads:
    """The uploads of one account, by the sha256 of their content. Used from many threads."""

    def __init__(self, source: Service) -> None:
        self.service = source
        self._uploaded: dict[str, tuple[str, float]] = {}
        self._guard = threading.Lock()

    def input_values(self, spec: Spec, inputs: Inputs, context: Context) -> dict[str, Any]:
        """Return the values of the inputs that take images, by the model's names; large images are uploaded."""
        return image_values(spec, inputs, lambda ref: self._address(ref.sha256, context.load(ref)))

    def is_same_image(self, value: Any, sha256: str) -> bool:
        """Return whether an input of a prediction is the image with this sha256: compares the content of a data URL,
        the name or stored checksum of an upload, or the content fetched from any other address."""
        if not isinstance(value, str):
            return False
        try:
            if value.startswith("data:"):
                return hashlib.sha256(predictions.decode_data_url(value)).hexdigest() == sha256
            return self._is_upload(value, sha256)
        except EngineError as error:
            if error.kind in {ErrorKind.TRANSIENT, ErrorKind.RATE}:
                raise
            return False

    def _address(self, sha256: str, data: bytes) -> str:
        # A file that was converted to sRGB does not have the stored sha256. It is uploaded, because the name of an
        # upload keeps the stored one.
        is_stored = hashlib.sha256(data).hexdigest() == sha256
        if is_stored and len(data) < MAX_DATA_URL_BYTES and len(address := data_url(data)) <= MAX_DATA_URL_BYTES:
            return address
        with self._guard:
            previous = self._uploaded.get(sha256)
        if previous and monotonic() - previous[1] < UPLOAD_REUSE_SECONDS:
            return previous[0]
        address = self._upload(sha256, data)
        with self._guard:
            self._uploaded = {
                key: upload for key, upload in self._uploaded.items() if monotonic() - upload[1] < UPLOAD_REUSE_SECONDS
            }
            self._uploaded[sha256] = (address, monotonic())
        return address

    def _upload(self, sha256: str, data: bytes) -> str:
        media_type = sniff(data[:SNIFFED_BYTES])
        name = f"{_name(sha256)}.{media_type.rpartition('/')[2]}"
        response = call(self.service, "POST", "files", files={"content": (name, data, media_type)})
        kept = service.as_mapping(service.parse_json(response, self.service.host))
        address = kept.get("urls", {}).get("get")
        if not address:
            message = f"{self.service.host} took an image and did not say where it is."
            raise EngineError(ErrorKind.TRANSIENT, message, log=response.text[:4000])
        return str(address)

    def _is_upload(self, address: str, sha256: str) -> bool:
        if urlsplit(address).netloc == self.service.host and "/files/" in address:
            path = urlsplit(address).path.removeprefix(urlsplit(self.service.base_url).path)
            kept = service.as_mapping(service.parse_json(call(self.service, "GET", path), self.service.host))
            if str(kept.get("name") or "").partition(".")[0] == _name(sha256):
                return True
            if checksum := service.as_mapping(kept.get("checksums")).get("sha256"):
                return str(checksum) == sha256
        return hashlib.sha256(self.service.download(address)).hexdigest() == sha256


def _name(sha256: str) -> str:
    """Return the name of an upload without its extension: 64 bits of the stored file's sha256."""
    return sha256[:16]


def image_values(spec: Spec, inputs: Inputs, address: Callable[[ImageRef], str]) -> dict[str, Any]:
    """Return the values of the inputs that take images, by the model's names. address: gives the one of an image."""
    made: dict[str, Any] = {}
    for role, ref in spec.images.items():
        image = inputs.images[role]
        if image.is_list:
            made.setdefault(image.input, []).append(address(ref))
        else:
            made[image.input] = address(ref)
    return made


def data_url(data: bytes) -> str:
    """Return an image as a data URL (RFC 2397), with the media type detected from its bytes."""
    return f"data:{sniff(data[:SNIFFED_BYTES])};base64,{base64.b64encode(data).decode()}"
