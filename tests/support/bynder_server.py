"""A Bynder portal on a real socket, as far as deliveries need it.

It behaves as the reference of the API and the code of the SDKs say: uploads in chunks with a hash each, files that are
converted before they can be saved (303 until then), assets that neither their address nor the search shows at once,
rights of the user's profile, temporary addresses of downloads, and a limit of requests.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.support import troubled_server
from tests.support.marked_images import without_marks
from tests.support.troubled_server import Reply, TroubledServer

CHUNK_BYTES = 5 * 1024 * 1024
ROLES = {"MEDIAUPLOAD", "MEDIAREMOVE", "MEDIAEDIT", "MEDIAHIGHRES"}
BRAND = "9F2A1C3E-0000-4000-8000-1234567890AB"


class Refusal(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


@dataclass
class Import:
    """A file that is uploaded. converted_at: None until it is finalised."""

    chunks: dict[int, bytes] = field(default_factory=dict)
    content: bytes = b""
    converted_at: float | None = None


@dataclass
class Asset:
    id: str
    name: str
    content: bytes
    description: str = ""
    tags: list[str] = field(default_factory=list)
    shown_at: float = 0.0
    is_waiting: bool = False

    @property
    def is_shown(self) -> bool:
        return not self.is_waiting and time.monotonic() >= self.shown_at


class BynderServer(TroubledServer):
    """roles: of the token's user. assets: by id, with those that are not shown yet.

    conversion_seconds, processing_seconds: after which a file can be saved, and after which an asset is shown.
    calls: that are left before the limit.
    """

    def __init__(self) -> None:
        super().__init__()
        self.secret = "4f1c9b7e-permanent-token"
        self.roles = set(ROLES)
        self.brands = [{"id": BRAND, "name": "Example", "subBrands": []}]
        self.conversion_seconds = self.processing_seconds = 0.0
        self.calls = 1_000_000
        self.imports: dict[str, Import] = {}
        self.assets: dict[str, Asset] = {}
        self.downloads: dict[str, str] = {}

    @property
    def media(self) -> dict[int, Asset]:
        return dict(enumerate(self.assets.values()))

    def count(self, content: bytes) -> int:
        return sum(without_marks(asset.content) == content for asset in self.assets.values())

    def add_asset(self, name: str = "Theirs", content: bytes = b"theirs") -> Asset:
        asset = Asset(str(uuid.uuid4()).upper(), name, content)
        self.assets[asset.id] = asset
        return asset

    # -- requests ----------------------------------------------------------------------------------------------------

    def is_open_to_all(self, path: str) -> bool:
        return path.startswith("/s3/")

    def route_of(self, method: str, path: str, query: str, body: bytes) -> str:
        """Return the path without ids: "upload/prepare", "upload/chunk", "media/save", "media"…"""
        words = [part for part in path.strip("/").split("/") if not any(char.isdigit() for char in part)]
        return "/".join(word for word in words if word not in {"api", "file_cmds"})

    def reply_too_large(self) -> Reply:
        return Reply(413, b"<html>413 Request Entity Too Large</html>")

    def reply(self, method: str, target: str, headers: Any, body: bytes) -> Reply:
        parts = urlsplit(target)
        if self.is_open_to_all(parts.path):
            asset = self.assets.get(self.downloads.get(parts.path.rpartition("/")[2], ""))
            return Reply(200, asset.content, {"Content-Type": "image/jpeg"}) if asset else Reply(403, b"<Error/>")
        try:
            self._log_in(headers)
            path = parts.path.strip("/").split("/")
            if path[:3] == ["v7", "file_cmds", "upload"] and method == "POST":
                return self._receive(path[3:], headers, body)
            return self._answer(method, path, dict(parse_qsl(parts.query)), dict(parse_qsl(body.decode())))
        except Refusal as refusal:
            return _json(refusal.status, {"message": refusal.message, "statuscode": refusal.status})

    def _log_in(self, headers: Any) -> None:
        self.calls -= 1
        if self.calls < 0:
            raise Refusal(429, "Too many requests")
        if headers.get("Authorization") != f"Bearer {self.secret}":
            raise Refusal(401, "Invalid or expired token.")

    def _require(self, role: str) -> None:
        if role not in self.roles:
            raise Refusal(403, "Access denied")

    # -- uploads -----------------------------------------------------------------------------------------------------

    def _receive(self, path: list[str], headers: Any, body: bytes) -> Reply:
        self._require("MEDIAUPLOAD")
        if path == ["prepare"]:
            file_id = str(uuid.uuid4())
            self.imports[file_id] = Import()
            return _json(200, {"file_id": file_id})
        upload = self.imports.get(path[0])
        match path[1:]:
            case ["chunk", number] if upload:
                if headers.get("Content-SHA256") != hashlib.sha256(body).hexdigest() or len(body) > CHUNK_BYTES:
                    raise Refusal(400, "The chunk is too large, or its hash is wrong")
                upload.chunks[int(number)] = body
                return Reply(201)
            case ["finalise_api"] if upload:
                self._finalise(upload, dict(parse_qsl(body.decode())))
                return Reply(201, b"", {"X-API-Correlation-ID": str(uuid.uuid4())})
        raise Refusal(404, "Upload doesn't exist")

    def _finalise(self, upload: Import, given: dict[str, str]) -> None:
        content = b"".join(upload.chunks.get(number, b"") for number in range(int(given["chunksCount"])))
        is_whole = len(content) == int(given["fileSize"]) and hashlib.sha256(content).hexdigest() == given["sha256"]
        if not is_whole or given["intent"] != "upload_main_uploader_asset" or not given["fileName"]:
            raise Refusal(400, "The file is incomplete")
        upload.content, upload.converted_at = content, time.monotonic() + self.conversion_seconds

    def _save(self, file_id: str, given: dict[str, str]) -> Reply:
        self._require("MEDIAUPLOAD")
        upload = self.imports.get(file_id)
        if upload is None or upload.converted_at is None:
            raise Refusal(404, "Import ID not found")
        if given.get("brandId") not in {brand["id"] for brand in self.brands}:
            raise Refusal(400, "No brandid provided")
        if time.monotonic() < upload.converted_at:
            return _json(303, {"message": "Import not converted yet, please poll", "statuscode": "303"})
        asset = self.add_asset(given.get("name", ""), upload.content)
        asset.description = given.get("description", "")
        asset.tags = [tag.strip() for tag in given.get("tags", "").split(",") if tag.strip()]
        asset.shown_at = time.monotonic() + self.processing_seconds
        return _json(201, {"mediaid": asset.id, "batchId": str(uuid.uuid4()), "success": True, "mediaitems": []})

    # -- assets ------------------------------------------------------------------------------------------------------

    def _answer(self, method: str, path: list[str], query: dict[str, str], given: dict[str, str]) -> Reply:
        match method, path:
            case "POST", ["api", "v4", "media", "save", file_id]:
                return self._save(file_id, given)
            case "GET", ["api", "v4", "brands"]:
                return _json(200, self.brands)
            case "GET", ["api", "v4", "currentUser"]:
                return _json(200, {"id": "u1", "username": "proofline", "profileId": "p1"})
            case "GET", ["api", "v4", "profiles", "p1"]:
                return _json(200, {"id": "p1", "name": "Integration", "roles": sorted(self.roles)})
            case "GET", ["api", "v4", "media"]:
                return _json(200, self._search(query))
            case _, ["api", "v4", "media", asset_id, *rest]:
                return self._answer_of_asset(method, self._find(asset_id), rest, given)
        raise Refusal(404, "Not Found")

    def _find(self, asset_id: str) -> Asset:
        if asset_id not in self.assets or not self.assets[asset_id].is_shown:
            raise Refusal(404, "Media not found")
        return self.assets[asset_id]

    def _answer_of_asset(self, method: str, asset: Asset, rest: list[str], given: dict[str, str]) -> Reply:
        if method == "GET" and rest == ["download"]:
            self._require("MEDIAHIGHRES")
            key = secrets.token_hex(8)
            self.downloads[key] = asset.id
            return _json(200, {"s3_file": f"{self.url}/s3/{key}"})
        if method == "DELETE":
            self._require("MEDIAREMOVE")
            del self.assets[asset.id]
            return Reply(204)
        if method == "POST":
            self._require("MEDIAEDIT")
            asset.name, asset.description = given.get("name", asset.name), given.get("description", "")
            return _json(202, {"message": "Accepted", "statuscode": 202})
        return _json(200, _show(asset))

    def _search(self, query: dict[str, str]) -> list[dict[str, Any]]:
        word = query.get("keyword", "").lower()
        shown = [asset for asset in self.assets.values() if asset.is_shown]
        return [_show(asset) for asset in shown if word in f"{asset.name} {' '.join(asset.tags)}".lower()]


def _show(asset: Asset) -> dict[str, Any]:
    return {
        "id": asset.id, "name": asset.name, "description": asset.description, "tags": asset.tags, "type": "image",
        "fileSize": len(asset.content), "isPublic": False,
    }  # fmt: skip


def _json(status: int, content: Any) -> Reply:
    return Reply(status, json.dumps(content).encode(), {"Content-Type": "application/json"})


@contextmanager
def serving() -> Iterator[BynderServer]:
    with troubled_server.serving(BynderServer()) as portal:
        yield portal
