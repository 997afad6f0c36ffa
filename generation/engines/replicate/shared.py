"""The common part of the Replicate and Cog clients: settings, calls, and the images that are sent and received.

Images of up to 256 KB are sent as a data URL. Larger ones are uploaded to Replicate
(https://replicate.com/docs/reference/http#files.create).
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import cached_property
from time import monotonic
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

import httpx

from core.fetching.bodies import SNIFFED_BYTES, sniff
from generation.engines import service
from generation.engines.base import Capabilities, Context, EngineError, ErrorKind, Health, ImageRef, Quote, Result, Spec
from generation.engines.replicate import inputs as replicate_inputs
from generation.engines.replicate import predictions
from generation.engines.replicate import schema as replicate_schema
from generation.engines.replicate.config import Config, credentials
from generation.engines.service import Service

MAX_DATA_URL_BYTES: Final = 256 * 1024
UPLOAD_NAME_LENGTH: Final = 16  # digits of the stored file's sha256 that are the name of its upload
UPLOAD_REUSE_SECONDS = 45 * 60.0
"""Seconds for which an upload is used. It is deleted after an hour, and must not end while its submission waits."""


class PredictionEngine:
    """The settings and the service of one model, which is asked for predictions."""

    name = "replicate"
    can_find_submissions = True
    default_url: ClassVar[str] = ""
    default_hosts: ClassVar[tuple[str, ...]] = ()
    default_settle_seconds: ClassVar[float]
    timeout_seconds = 30.0

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = Config.read(config)
        self.inputs = replicate_inputs.read(self.config)
        self.token = credentials(self.config.secret)[0]
        settle, hosts = self.config.settle_seconds, self.config.output_hosts
        self.settle_seconds = self.default_settle_seconds if settle is None else settle
        self.output_hosts = service.read_output_hosts(self.default_hosts if hosts is None else hosts)

    def capabilities(self) -> Capabilities:
        return self.inputs.capabilities()

    def validate(self, spec: Spec) -> list[str]:
        return self.inputs.problems(spec)

    def quote(self, spec: Spec) -> Quote:
        return Quote.from_config(self.config, seconds=10.0)

    def fetch(self, result: Result, context: Context) -> Result:
        """Return the result with its first image, downloaded or from a data URL, and decoded."""
        if result.pixels is not None or not result.outputs:
            return result
        first = result.outputs[0]
        data = predictions.decode_data_url(first) if first.startswith("data:") else self.service.download(first)
        pixels = service.pixels_of(data)
        facts = {**result.facts, "bytes": len(data), "width": pixels.shape[1], "height": pixels.shape[0]}
        return replace(result, pixels=pixels, outputs=(), facts=facts)

    @cached_property
    def service(self) -> Service:
        return Service(
            self.config.base_url or self.default_url,
            headers={"Authorization": f"Bearer {self.token}"} if self.token else {},
            timeout_seconds=self.timeout_seconds,
            ca=self.config.ca,
            output_hosts=self.output_hosts,
        )

    def _model_input(self, spec: Spec, address: Callable[[ImageRef], str]) -> dict[str, Any]:
        """Return the model's whole input. address: gives the address of an image."""
        made: dict[str, Any] = {}
        for role, ref in spec.images.items():
            image = self.inputs.images[role]
            if image.is_list:
                made.setdefault(image.input, []).append(address(ref))
            else:
                made[image.input] = address(ref)
        return {**self.inputs.model_input(spec), **made}

    def _health(self, model_inputs: tuple[replicate_schema.Input, ...], words: str, facts: dict[str, Any]) -> Health:
        """Return the health of a service that answers, by whether its model has the inputs that the endpoint names."""
        problem = replicate_schema.problem(model_inputs, self.inputs.names)
        suggested = replicate_schema.suggest_settings(model_inputs, self.config.inputs, fits=not problem)
        return Health(not problem, problem or words, facts, suggested)


class ImageUploads:
    """The uploads of one account, by the sha256 of their content, shared by all submissions. Used from many threads."""

    def __init__(self, source: Service) -> None:
        self.service = source
        self._uploaded: dict[str, tuple[str, float]] = {}
        self._guard = threading.Lock()

    def address(self, sha256: str, data: bytes) -> str:
        """Return the image as a data URL, or the address of its upload if it is large."""
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

    def _upload(self, sha256: str, data: bytes) -> str:
        media_type = sniff(data[:SNIFFED_BYTES])
        name = f"{sha256[:UPLOAD_NAME_LENGTH]}.{media_type.rpartition('/')[2]}"
        response = call(self.service, "POST", "files", files={"content": (name, data, media_type)})
        kept = service.as_mapping(service.parse_json(response, self.service.host))
        if not (address := kept.get("urls", {}).get("get")):
            message = f"{self.service.host} took an image and did not say where it is."
            raise EngineError(ErrorKind.TRANSIENT, message, log=response.text[:4000])
        return str(address)

    def _is_upload(self, address: str, sha256: str) -> bool:
        if urlsplit(address).netloc == self.service.host and "/files/" in address:
            kept = get_json(self.service, urlsplit(address).path.removeprefix(urlsplit(self.service.base_url).path))
            if str(kept.get("name") or "").partition(".")[0] == sha256[:UPLOAD_NAME_LENGTH]:
                return True
            if checksum := service.as_mapping(kept.get("checksums")).get("sha256"):
                return str(checksum) == sha256
        return hashlib.sha256(self.service.download(address)).hexdigest() == sha256


def data_url(data: bytes) -> str:
    """Return an image as a data URL (RFC 2397), with the media type detected from its bytes."""
    return f"data:{sniff(data[:SNIFFED_BYTES])};base64,{base64.b64encode(data).decode()}"


def get_json(source: Service, path: str) -> Mapping[str, Any]:
    """Return the object at this path; {} if the answer is other JSON. Raises EngineError as `call` does."""
    return service.as_mapping(service.parse_json(call(source, "GET", path), source.host))


def call(source: Service, method: str, path: str, *, allowed: Collection[int] = (), **options: Any) -> httpx.Response:
    """Make a call that may be repeated. Raises EngineError for an answer without success, except those `allowed`."""
    response = source.request(method, path, **options)
    if not response.is_success and response.status_code not in allowed:
        raise predictions.refusal(response, source.host)
    return response
