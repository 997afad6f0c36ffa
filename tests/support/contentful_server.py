"""A space of Contentful with its upload API on a real socket, as far as deliveries need it.

It behaves as documented (https://www.contentful.com/developers/docs/references/content-management-api/): a change needs
the version of the asset, an asset with an id is created by PUT, processing goes on after its answer and ends in silence
if the upload is gone, only processed assets can be published, published ones cannot be deleted, and addresses of files
have no scheme.
"""

from __future__ import annotations

import json
import re
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support import troubled_server
from tests.support.marked_images import without_marks
from tests.support.troubled_server import Reply, TroubledServer

SPACE, ENVIRONMENT = "cfexampleapi", "master"
UPLOAD_LIVES = timedelta(hours=24)


class Refusal(Exception):
    def __init__(self, status: int, kind: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.status = status
        self.content = {"sys": {"type": "Error", "id": kind}, "message": message, "details": details}
        self.headers: dict[str, str] = {}


@dataclass
class Asset:
    """looks_left: how many more times it is looked at before its file is processed; None: nobody has asked for that."""

    id: str
    fields: dict[str, dict[str, Any]]
    metadata: dict[str, Any] = field(default_factory=dict)
    version: int = 1
    published_version: int = 0
    updated_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    looks_left: int | None = None
    content: bytes = b""

    @property
    def name(self) -> str:
        return str(next(iter(self.fields["file"].values()))["fileName"])

    def text(self, name: str) -> str:
        return str(self.fields.get(name, {}).get("en-US", ""))

    def change(self) -> None:
        self.version += 1
        self.updated_at = datetime.now(UTC)


class ContentfulServer(TroubledServer):
    """assets, uploads, entries: by id. looks: how many times a file is looked at until it is processed.

    per_second: the rate limit; 0: none. limited: so many requests were too many. is_stuck: nothing is processed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.secret = "CFPAT-s3cretT0ken"
        self.may_publish = True
        self.looks, self.is_stuck, self.per_second = 0, False, 0
        self.assets: dict[str, Asset] = {}
        self.uploads: dict[str, tuple[bytes, datetime]] = {}
        self.entries: dict[str, list[str]] = {}
        self.recent = deque[float]()
        self.limited = 0
        self._numbers = count(1)

    @property
    def media(self) -> dict[int, Asset]:
        return dict(enumerate(self.assets.values()))

    def count(self, content: bytes) -> int:
        """Return how many assets have these bytes."""
        return sum(without_marks(asset.content) == content for asset in self.assets.values())

    def add_asset(self, name: str, content: bytes) -> Asset:
        """Add a published asset as an editor does."""
        asset = Asset(f"editors{next(self._numbers)}", {"title": {"en-US": name}}, content=content)
        asset.fields["file"] = {"en-US": {"fileName": name, "url": f"//elsewhere/{name}"}}
        asset.version, asset.published_version = 3, 2
        self.assets[asset.id] = asset
        return asset

    # -- requests ----------------------------------------------------------------------------------------------------

    def route_of(self, method: str, path: str, query: str, body: bytes) -> str:
        return re.sub(r"proofline-[\w-]+", "ID", path.partition(f"/environments/{ENVIRONMENT}/")[2])

    def is_open_to_all(self, path: str) -> bool:
        return path.startswith("/files/")

    def reply_too_large(self) -> Reply:
        return self._refuse(Refusal(413, "RequestEntityTooLarge", "The file is too large."))

    def reply(self, method: str, target: str, headers: Any, body: bytes) -> Reply:
        parts = urlsplit(target)
        if self.is_open_to_all(parts.path):
            asset = self.assets.get(parts.path.split("/")[2])
            return Reply(200, asset.content) if asset and asset.content else Reply(404)
        try:
            self._limit_rate()
            if headers.get("Authorization") != f"Bearer {self.secret}":
                words = f"The access token you sent could not be found or is invalid: {headers.get('Authorization')}"
                raise Refusal(401, "AccessTokenInvalid", words)
            status, content = self._answer(method, parts.path, parse_qs(parts.query), headers, body)
        except Refusal as refusal:
            return self._refuse(refusal)
        return Reply(status, json.dumps(content).encode() if content is not None else b"")

    def _refuse(self, refusal: Refusal) -> Reply:
        return Reply(refusal.status, json.dumps(refusal.content).encode(), refusal.headers)

    def _limit_rate(self) -> None:
        now = time.monotonic()
        while self.recent and self.recent[0] < now - 1:
            self.recent.popleft()
        if self.per_second and len(self.recent) >= self.per_second:
            refusal = Refusal(429, "RateLimitExceeded", "You have exceeded the rate limit of the organization.")
            refusal.headers = {"X-Contentful-RateLimit-Reset": "1"}
            self.limited += 1
            raise refusal
        self.recent.append(now)

    def _answer(self, method: str, path: str, query: dict[str, list[str]], headers: Any, body: bytes) -> Any:
        route = re.fullmatch(r"/spaces/([^/]+)/environments/([^/]+)/(.+)", path)
        if route is None or route[1] != SPACE or route[2] != ENVIRONMENT:
            raise Refusal(404, "NotFound", "The resource could not be found.", type="Environment")
        version = int(headers.get("X-Contentful-Version") or 0)
        match method, route[3].split("/"):
            case "POST", ["uploads"]:
                return 201, self._add_upload(headers, body)
            case "GET", ["locales"]:
                codes = ("en-US", "de-DE")
                return 200, {"sys": {"type": "Array"}, "items": [{"code": code} for code in codes]}
            case "GET", ["entries"]:
                ids = [each for each, links in self.entries.items() if query["links_to_asset"][0] in links]
                items = [{"sys": {"id": each}} for each in ids[: int(query["limit"][0])]]
                return 200, {"sys": {"type": "Array"}, "items": items}
            case "GET", ["assets", asset_id]:
                return 200, self._look_at(self._find(asset_id))
            case "PUT", ["assets", asset_id]:
                return self._save(asset_id, version, headers, json.loads(body))
            case "DELETE", ["assets", asset_id]:
                return 204, self._delete(self._find(asset_id, version))
            case "PUT", ["assets", asset_id, "files", locale, "process"]:
                return 204, self._process(self._find(asset_id, version), locale)
            case "PUT", ["assets", asset_id, "published"]:
                return 200, self._publish(self._find(asset_id, version))
            case "DELETE", ["assets", asset_id, "published"]:
                return 200, self._unpublish(self._find(asset_id, version))
        raise Refusal(404, "NotFound", "The resource could not be found.", type="Route")

    def _find(self, asset_id: str, version: int | None = None) -> Asset:
        asset = self.assets.get(asset_id)
        if asset is None:
            raise Refusal(404, "NotFound", "The resource could not be found.", type="Asset", id=asset_id)
        if version not in (None, asset.version):
            raise Refusal(409, "VersionMismatch", "The version is not that of the asset.")
        return asset

    def _show(self, asset: Asset) -> dict[str, Any]:
        sys = {"type": "Asset", "id": asset.id, "version": asset.version, "updatedAt": asset.updated_at.isoformat()}
        if asset.published_version:
            sys["publishedVersion"] = asset.published_version
        return {"sys": sys, "fields": asset.fields, "metadata": asset.metadata}

    def _add_upload(self, headers: Any, body: bytes) -> dict[str, Any]:
        if headers.get("Content-Type") != "application/octet-stream":
            raise Refusal(415, "UnsupportedMediaType", "Expected application/octet-stream.")
        upload_id = f"upload{next(self._numbers)}"
        self.uploads[upload_id] = (body, datetime.now(UTC))
        return {"sys": {"type": "Upload", "id": upload_id}}

    def _save(self, asset_id: str, version: int, headers: Any, content: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if "contentful.management" not in headers.get("Content-Type", ""):
            raise Refusal(415, "UnsupportedMediaType", "Expected application/vnd.contentful.management.v1+json.")
        if not re.fullmatch(r"[\w.-]{1,64}", asset_id):
            raise Refusal(422, "ValidationFailed", "The id is invalid.")
        if asset_id not in self.assets:
            self.assets[asset_id] = Asset(asset_id, content["fields"], content.get("metadata", {}))
            return 201, self._show(self.assets[asset_id])
        asset = self._find(asset_id, version)
        asset.fields, asset.metadata = content["fields"], content.get("metadata", {})
        asset.change()
        return 200, self._show(asset)

    def _process(self, asset: Asset, locale: str) -> None:
        if "uploadFrom" not in asset.fields["file"].get(locale, {}):
            errors = [{"name": "required", "path": ["fields", "file", locale, "uploadFrom"]}]
            raise Refusal(422, "ValidationFailed", "Validation error", errors=errors)
        if asset.looks_left is None:
            asset.looks_left = self.looks

    def _look_at(self, asset: Asset) -> dict[str, Any]:
        """Return an asset, whose processing goes on meanwhile."""
        if asset.looks_left is not None and not self.is_stuck:
            asset.looks_left -= 1
            if asset.looks_left < 0:
                self._end_processing(asset)
        return self._show(asset)

    def _end_processing(self, asset: Asset) -> None:
        [(locale, file)] = asset.fields["file"].items()
        asset.looks_left = None
        content, uploaded_at = self.uploads.get(
            file["uploadFrom"]["sys"]["id"], (b"", datetime.min.replace(tzinfo=UTC))
        )
        if datetime.now(UTC) - uploaded_at > UPLOAD_LIVES:
            return
        asset.content = content
        address = f"{self.url.removeprefix('http:')}/files/{asset.id}/{file['fileName']}"
        asset.fields["file"][locale] = {
            "fileName": file["fileName"],
            "contentType": file["contentType"],
            "url": address,
        }
        asset.change()

    def _publish(self, asset: Asset) -> dict[str, Any]:
        if not self.may_publish:
            raise Refusal(403, "AccessDenied", "Forbidden")
        if not all("url" in file for file in asset.fields["file"].values()):
            raise Refusal(422, "ValidationFailed", "Validation error", errors="Asset has unprocessed files")
        asset.published_version = asset.version
        asset.change()
        return self._show(asset)

    def _unpublish(self, asset: Asset) -> dict[str, Any]:
        if not asset.published_version:
            raise Refusal(400, "BadRequest", "Not published")
        asset.published_version = 0
        asset.change()
        return self._show(asset)

    def _delete(self, asset: Asset) -> None:
        if asset.published_version:
            raise Refusal(400, "BadRequest", "Cannot delete published")
        del self.assets[asset.id]


@contextmanager
def serving() -> Iterator[ContentfulServer]:
    with troubled_server.serving(ContentfulServer()) as server:
        yield server
