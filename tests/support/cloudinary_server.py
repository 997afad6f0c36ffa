"""A Cloudinary product environment on a real socket, as far as deliveries need it.

It behaves as the references of the Upload API and the Admin API and the code of the SDKs say: signatures that are valid
for an hour, Basic authentication and a limit per hour for the Admin API, one image per public id, `existing` where
nothing is overwritten, versions in addresses, and a cache in front of the images that only `invalidate` empties.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.support import troubled_server
from tests.support.form_data import read_form
from tests.support.marked_images import without_marks
from tests.support.troubled_server import Reply, TroubledServer

CLOUD = "demo"
UNSIGNED = {"file", "cloud_name", "resource_type", "api_key", "signature"}


class Refusal(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


@dataclass
class Image:
    public_id: str
    content: bytes
    version: int
    format: str = "jpg"
    context: dict[str, str] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    asset_id: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def path(self) -> str:
        return f"/{CLOUD}/image/upload/v{self.version}/{self.public_id}.{self.format}"


class CloudinaryServer(TroubledServer):
    """images: by public id. cached: what the caches serve, by path. admin_calls: that are left in this hour.

    clock: seconds that the server is ahead of us.
    """

    def __init__(self) -> None:
        super().__init__()
        self.key, self.signing_secret = "123456789012345", "abcdeABCDE_12-x"
        self.max_image_bytes = 10_485_760
        self.admin_calls = 500
        self.clock = 0
        self.images: dict[str, Image] = {}
        self.cached: dict[str, bytes] = {}
        self._last_version = 1_315_060_510

    @property
    def secret(self) -> str:
        return f"{self.key}:{self.signing_secret}"

    @property
    def media(self) -> dict[int, Image]:
        return dict(enumerate(self.images.values()))

    def count(self, content: bytes) -> int:
        return sum(without_marks(image.content) == content for image in self.images.values())

    def add_image(self, public_id: str = "theirs", content: bytes = b"theirs") -> Image:
        self._last_version += 1
        self.images[public_id] = Image(public_id, content, self._last_version)
        return self.images[public_id]

    # -- requests ----------------------------------------------------------------------------------------------------

    def is_open_to_all(self, path: str) -> bool:
        return path.startswith(f"/{CLOUD}/")

    def route_of(self, method: str, path: str, query: str, body: bytes) -> str:
        return path.removeprefix(f"/v1_1/{CLOUD}/")

    def reply_too_large(self) -> Reply:
        return Reply(413, b"<html>413 Request Entity Too Large</html>")

    def reply(self, method: str, target: str, headers: Any, body: bytes) -> Reply:
        path = unquote(urlsplit(target).path)
        if self.is_open_to_all(path):
            return self._serve(path)
        try:
            return self._answer(method, path, headers, body)
        except Refusal as refusal:
            return _json(refusal.status, {"error": {"message": refusal.message}}, self._limits())

    def _serve(self, path: str) -> Reply:
        there = {image.path: image.content for image in self.images.values()}
        if path in there:
            self.cached[path] = there[path]
        content = self.cached.get(path)
        return Reply(200, content, {"Content-Type": "image/jpeg"}) if content is not None else Reply(404)

    def _answer(self, method: str, path: str, headers: Any, body: bytes) -> Reply:
        parts = path.strip("/").split("/", 2)
        if parts[:2] != ["v1_1", CLOUD]:
            raise Refusal(401, f"Invalid cloud_name {parts[1] if len(parts) > 1 else ''}")
        match method, parts[2].split("/", 3):
            case "POST", ["image", ("upload" | "destroy" | "context") as action]:
                fields, file = _read_fields(headers, body)
                self._check_signature(fields)
                content: Any = getattr(self, f"_{action}")(fields, file)
            case "GET", ["ping"]:
                self._log_in(headers)
                content = {"status": "ok"}
            case "GET", ["resources", "image", "upload", public_id]:
                self._log_in(headers)
                content = {**self._show(self._find(public_id)), "context": {"custom": self.images[public_id].context}}
            case _:
                raise Refusal(404, f"Unknown path {path}")
        return _json(200, content, self._limits() if method == "GET" else {})

    def _log_in(self, headers: Any) -> None:
        expected = base64.b64encode(self.secret.encode()).decode()
        if headers.get("Authorization") != f"Basic {expected}":
            raise Refusal(401, "api_secret mismatch")
        if self.admin_calls <= 0:
            raise Refusal(420, "Rate Limit Exceeded. Limit of 500 api operations reached.")
        self.admin_calls -= 1

    def _limits(self) -> dict[str, str]:
        reset = formatdate(time.time() + 1800, usegmt=True)
        values = {"Limit": "500", "Remaining": str(self.admin_calls), "Reset": reset}
        return {f"X-FeatureRateLimit-{name}": value for name, value in values.items()}

    def _check_signature(self, fields: Mapping[str, str]) -> None:
        if fields.get("api_key") != self.key:
            raise Refusal(401, f"Unknown API key {fields.get('api_key')}" if "api_key" in fields else "Missing api_key")
        signed = sorted(
            f"{name.removesuffix('[]')}={text}".replace("&", "%26")
            for name, text in fields.items()
            if name not in UNSIGNED and text
        )
        words = "&".join(signed)
        hashes = [hashlib.new(name, (words + self.signing_secret).encode()).hexdigest() for name in ("sha1", "sha256")]
        given = fields.get("signature", "")
        if not any(hmac.compare_digest(given, each) for each in hashes):
            raise Refusal(401, f"Invalid Signature {given}. String to sign - '{words}'.")
        if abs(time.time() + self.clock - int(fields.get("timestamp") or 0)) > 3600:
            raise Refusal(400, f"Stale request - reported time is {fields.get('timestamp')}")

    # -- actions -----------------------------------------------------------------------------------------------------

    def _upload(self, fields: Mapping[str, str], file: tuple[str, bytes] | None) -> dict[str, Any]:
        if file is None:
            raise Refusal(400, "Missing required parameter - file")
        public_id, content = fields.get("public_id") or secrets.token_hex(8), file[1]
        if re.search(r"[?&#\\%<>+]", public_id):
            raise Refusal(400, f"public_id ({public_id}) is invalid")
        if len(content) > self.max_image_bytes:
            words = f"File size too large. Got {len(content)}. Maximum is {self.max_image_bytes}. Upgrade your plan."
            raise Refusal(400, words)
        if public_id in self.images and fields.get("overwrite") == "false":
            return {**self._show(self.images[public_id]), "existing": True}
        image = self.add_image(public_id, content)
        image.format = file[0].rpartition(".")[2]
        image.context = _read_context(fields.get("context", ""))
        image.tags = [tag.strip() for tag in fields.get("tags", "").split(",") if tag.strip()]
        return self._show(image)

    def _destroy(self, fields: Mapping[str, str], _file: object) -> dict[str, Any]:
        image = self.images.pop(fields["public_id"], None)
        if image is None:
            return {"result": "not found"}
        if fields.get("invalidate") == "true":
            self.cached.pop(image.path, None)
        return {"result": "ok"}

    def _context(self, fields: Mapping[str, str], _file: object) -> dict[str, Any]:
        image = self.images.get(fields["public_ids[]"])
        if image is None:
            return {"public_ids": []}
        image.context |= _read_context(fields["context"])
        return {"public_ids": [image.public_id]}

    def _find(self, public_id: str) -> Image:
        if public_id not in self.images:
            raise Refusal(404, f"Resource not found - {public_id}")
        return self.images[public_id]

    def _show(self, image: Image) -> dict[str, Any]:
        return {
            "asset_id": image.asset_id, "public_id": image.public_id,
            "version": image.version, "format": image.format, "resource_type": "image", "type": "upload",
            "bytes": len(image.content), "etag": _md5(image.content), "tags": image.tags,
            "secure_url": f"{self.url}{image.path}",
        }  # fmt: skip


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _read_fields(headers: Any, body: bytes) -> tuple[dict[str, str], tuple[str, bytes] | None]:
    kind = headers.get("Content-Type", "")
    if not kind.startswith("multipart/form-data"):
        return dict(parse_qsl(body.decode())), None
    form = read_form(kind, body)
    file = form.pop("file", None)
    return {name: value.decode() for name, (_name, value) in form.items()}, file


def _read_context(text: str) -> dict[str, str]:
    """Return the pairs of a context, in which \\= and \\| are no separators."""
    pairs = [re.split(r"(?<!\\)=", pair, maxsplit=1) for pair in re.split(r"(?<!\\)\|", text) if pair]
    return {name: re.sub(r"\\([=|])", r"\1", value) for name, value in pairs}


def _json(status: int, content: Any, headers: Mapping[str, str]) -> Reply:
    return Reply(status, json.dumps(content).encode(), {"Content-Type": "application/json", **headers})


@contextmanager
def serving() -> Iterator[CloudinaryServer]:
    with troubled_server.serving(CloudinaryServer()) as cloud:
        yield cloud
