"""A CMS on a real socket that no plug-in knows, with three APIs for the files of its media library.

/api/upload behaves as Strapi 5 documents it (https://docs.strapi.io/cms/api/rest/upload), without its re-encoding;
/drive takes files by PUT under their names; /items takes JSON with the bytes in base64.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support import troubled_server
from tests.support.form_data import read_form
from tests.support.marked_images import without_marks
from tests.support.troubled_server import Reply, TroubledServer

STRAPI_ERRORS = {
    401: ("UnauthorizedError", "Missing or invalid credentials"), 403: ("ForbiddenError", "Forbidden"),
    404: ("NotFoundError", "Not Found"), 405: ("MethodNotAllowedError", "Method Not Allowed"),
    413: ("PayloadTooLargeError", "FileTooBig"),
}  # fmt: skip


class Refusal(Exception):
    def __init__(self, status: int, message: str = "") -> None:
        super().__init__(message)
        self.status, self.message = status, message


@dataclass
class Media:
    id: int
    name: str
    content: bytes
    alt_text: str = ""
    caption: str = ""
    title: str = ""
    media_type: str = ""

    @property
    def path(self) -> str:
        return f"/uploads/{self.id}_{self.name}"


class CmsServer(TroubledServer):
    """media: the files by id, so that duplicates and losses can be seen. rights: of the only user."""

    def __init__(self) -> None:
        super().__init__()
        self.secret = "robot:s3cret/tok=en+1"
        self.rights = {"create", "find", "delete"}
        self.media: dict[int, Media] = {}
        self.headers: list[dict[str, str]] = []
        self.targets: list[str] = []
        """The headers, and the paths with queries, of all requests."""
        self.bodies: list[bytes] = []
        self._last_id = 0

    def add_media(self, name: str = "theirs.jpg", content: bytes = b"theirs") -> int:
        self._last_id += 1
        self.media[self._last_id] = Media(self._last_id, name, content)
        return self._last_id

    def count(self, content: bytes) -> int:
        """Return how many files have these bytes, marks of origin aside."""
        return sum(without_marks(media.content) == content for media in self.media.values())

    def serve(self, path: str) -> bytes | None:
        return next((media.content for media in self.media.values() if media.path == path), None)

    # -- requests ----------------------------------------------------------------------------------------------------

    def is_open_to_all(self, path: str) -> bool:
        return path.startswith("/uploads/")

    def reply_too_large(self) -> Reply:
        return self._error(Refusal(413))

    def reply(self, method: str, target: str, headers: Any, body: bytes) -> Reply:
        parts = urlsplit(target)
        if self.is_open_to_all(parts.path):
            content = self.serve(unquote(parts.path))
            return Reply(404 if content is None else 200, content or b"Not Found", {"Content-Type": "image/jpeg"})
        self.headers.append(dict(headers))
        self.targets.append(target)
        self.bodies.append(body)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        try:
            self._log_in(headers)
            status, answer = self._answer(method, parts.path.strip("/").split("/"), query, headers, body)
        except Refusal as refusal:
            return self._error(refusal)
        if isinstance(answer, bytes):
            return Reply(status, answer)
        return Reply(status, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _error(self, refusal: Refusal) -> Reply:
        name, usual = STRAPI_ERRORS.get(refusal.status, ("ApplicationError", "Bad Request"))
        message = refusal.message or usual
        content = {"data": None, "error": {"status": refusal.status, "name": name, "message": message, "details": {}}}
        return Reply(refusal.status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _log_in(self, headers: Any) -> None:
        kind, _blank, login = headers.get("Authorization", "").partition(" ")
        if kind == "Basic":
            login = base64.b64decode(login).decode()
        if login != self.secret:
            raise Refusal(401, f"Missing or invalid credentials: {login}" if login else "")

    def _answer(self, method: str, parts: list[str], query: dict[str, str], headers: Any, body: bytes) -> Any:
        match method, parts:
            case "POST", ["api", "upload"]:
                return 201, [self._show(self._upload(headers, body))]
            case "GET", ["api", "upload", "files"]:
                self._require("find")
                name = query.get("filters[name][$eq]")
                return 200, [self._show(each) for each in self.media.values() if name in (None, each.name)]
            case "GET", ["api", "upload", "files", number]:
                return 200, self._show(self._find(number))
            case "DELETE", ["api", "upload", "files", number]:
                return 200, self._show(self._delete(number))
            case _, ["drive", name]:
                return self._drive(method, unquote(name), body)
            case _, ["items", *rest]:
                return self._items(method, rest, query, json.loads(body) if body else {})
        raise Refusal(404)

    def _require(self, right: str) -> None:
        if right not in self.rights:
            raise Refusal(403)

    def _find(self, number: str) -> Media:
        self._require("find")
        if not number.isdecimal() or int(number) not in self.media:
            raise Refusal(404)
        return self.media[int(number)]

    def _delete(self, number: str) -> Media:
        self._require("delete")
        return self.media.pop(self._find(number).id)

    def _upload(self, headers: Any, body: bytes) -> Media:
        self._require("create")
        fields = read_form(headers["Content-Type"], body)
        if "files" not in fields:
            raise Refusal(400, "Files are empty")
        name, content = fields["files"]
        info = json.loads(fields.get("fileInfo", ("", b"{}"))[1])
        media = self.media[self.add_media(info.get("name") or name, content)]
        media.alt_text, media.caption = info.get("alternativeText", ""), info.get("caption", "")
        return media

    def _show(self, media: Media) -> dict[str, Any]:
        return {
            "id": media.id, "documentId": f"d{media.id}", "name": media.name, "alternativeText": media.alt_text,
            "caption": media.caption, "url": media.path, "mime": "image/jpeg", "size": len(media.content) / 1000,
        }  # fmt: skip

    def _drive(self, method: str, name: str, body: bytes) -> tuple[int, Any]:
        there = next((media for media in self.media.values() if media.name == name), None)
        if method == "PUT":
            self._require("create")
            media = there or self.media[self.add_media(name)]
            media.content, media.media_type = body, self.headers[-1].get("Content-Type", "")
            return (204 if there else 201), b""
        if there is None:
            raise Refusal(404)
        return (200, there.content) if method == "GET" else (200, self._show(self._delete(str(there.id))))

    def _items(self, method: str, rest: list[str], query: dict[str, str], data: Any) -> tuple[int, Any]:
        if method == "POST":
            self._require("create")
            media = self.media[self.add_media(data["name"], base64.b64decode(data["data"]))]
            media.title, media.alt_text = data.get("title", ""), data.get("alt", "")
            return 200, {"item": {"key": media.id}, "width": data.get("width")}
        if not rest:
            found = [each for each in self.media.values() if each.name == query.get("name")]
            return 200, {"items": [{"key": each.id, "name": each.name} for each in found]}
        if method == "PATCH":
            media = self._find(rest[0])
            media.title, media.alt_text = data["title"], data["alt"]
            return 200, {}
        return 200, self._show(self._delete(rest[0]) if method == "DELETE" else self._find(rest[0]))


@contextmanager
def serving() -> Iterator[CmsServer]:
    with troubled_server.serving(CmsServer()) as cms:
        yield cms
