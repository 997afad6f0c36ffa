"""A ResourceSpace on a real socket, as far as deliveries need it.

It behaves as release 10 does (https://www.resourcespace.com/knowledge-base/api/): signed queries by GET or as a posted
"query", `false` for what a user may not do, an empty answer for a function that is not there, a bin, temporary keys for
downloads, searches by whole words in indexed fields, and JSend errors of upload_multipart.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

from tests.support import troubled_server
from tests.support.form_data import read_form
from tests.support.marked_images import without_marks
from tests.support.troubled_server import Reply, TroubledServer

IN_BIN = 3
INDEXED = {1, 8, 18}
FIELDS = {1: "keywords", 8: "title", 18: "caption", 25: "notes"}
CONTRIBUTOR = {"s", "c", "d", "e-2", "e-1", "e0", "f*"}


class Refusal(Exception):
    def __init__(self, status: int, body: str) -> None:
        super().__init__(body)
        self.status, self.body = status, body


def fail(status: int, message: str) -> Refusal:
    """Return an error as ResourceSpace's newer functions answer it (JSend)."""
    return Refusal(status, json.dumps({"status": "fail", "data": {"message": message}}))


@dataclass
class Resource:
    ref: int
    type: int
    archive: int
    fields: dict[int, str] = field(default_factory=dict)
    content: bytes = b""
    extension: str = ""


class ResourceSpaceServer(TroubledServer):
    """permissions: of the user "proofline". resources: by number, those in the bin included."""

    def __init__(self) -> None:
        super().__init__()
        self.key = "3eabfbcbea3404b1b5c2f884ec8e86bf"
        self.permissions = set(CONTRIBUTOR)
        self.is_on = True
        self.has_bin = True
        self.blocks_duplicates = False
        self.functions = {name.removeprefix("api_") for name in dir(self) if name.startswith("api_")}
        self.indexed = set(INDEXED)
        self.resources: dict[int, Resource] = {}
        self.download_keys: dict[str, int] = {}
        self._last_ref = 100

    @property
    def secret(self) -> str:
        return f"proofline:{self.key}"

    @property
    def media(self) -> dict[int, Resource]:
        """Return the resources that people see, with a file or without."""
        return {ref: each for ref, each in self.resources.items() if each.archive != IN_BIN}

    def count(self, content: bytes) -> int:
        """Return how many resources that people see have these bytes, marks of origin aside."""
        return sum(without_marks(each.content) == content for each in self.media.values())

    def add_resource(self, title: str = "Theirs", content: bytes = b"theirs") -> int:
        self._last_ref += 1
        self.resources[self._last_ref] = Resource(self._last_ref, 1, 0, {8: title}, content, "jpg")
        return self._last_ref

    # -- requests ----------------------------------------------------------------------------------------------------

    def is_open_to_all(self, path: str) -> bool:
        return path == "/pages/download.php"

    def route_of(self, method: str, path: str, query: str, body: bytes) -> str:
        match = re.search(rb"function(?:=|%3D)(\w+)", query.encode() + b" " + body)
        return match[1].decode() if match else path.strip("/")

    def reply_too_large(self) -> Reply:
        return self._refuse(fail(413, "Files of more than 2M cannot be uploaded."))

    def reply(self, method: str, target: str, headers: Any, body: bytes) -> Reply:
        parts = urlsplit(target)
        if self.is_open_to_all(parts.path):
            return self._download(dict(parse_qsl(parts.query)))
        if parts.path != "/api/":
            return Reply(404, b"<html>Not found</html>")
        try:
            given, query, file = self._read_request(method, parts.query, headers, body)
            self._log_in(given, query)
            return self._call(method, dict(parse_qsl(query, keep_blank_values=True)), file)
        except Refusal as refusal:
            return self._refuse(refusal)

    def _refuse(self, refusal: Refusal) -> Reply:
        return Reply(refusal.status, refusal.body.encode(), {"Content-Type": "application/json"})

    def _read_request(self, method: str, query: str, headers: Any, body: bytes) -> tuple[dict[str, str], str, Any]:
        """Return what was given, the signed query, and the file."""
        kind, file = headers.get("Content-Type", ""), None
        given = {name: values[-1] for name, values in parse_qs(query).items()}
        if kind.startswith("multipart/form-data"):
            fields = read_form(kind, body)
            file = fields.pop("file", None)
            given |= {name: value.decode() for name, (_name, value) in fields.items()}
        elif method == "POST":
            given |= dict(parse_qsl(body.decode()))
        signed = given.get("query") or query
        return given, re.sub(r"&?sign=[0-9a-f]+", "", signed), file

    def _log_in(self, given: dict[str, str], query: str) -> None:
        if not self.is_on:
            raise Refusal(403, "API not enabled.")
        expected = hashlib.sha256((self.key + query).encode()).hexdigest()
        if given.get("user") != "proofline" or given.get("sign") != expected:
            raise Refusal(401, "Invalid signature")

    def _call(self, method: str, params: dict[str, str], file: Any) -> Reply:
        function = params.get("function", "")
        if function not in self.functions:
            return Reply(200, b"", {"Content-Type": "application/json"})
        given = [params.get(f"param{number}", "") for number in range(1, 9)]
        if function == "upload_multipart":
            return self.api_upload_multipart(method, int(given[0]), file)
        call: Callable[[list[str]], Any] = getattr(self, f"api_{function}")
        return Reply(200, json.dumps(call(given)).encode(), {"Content-Type": "application/json"})

    # -- functions ---------------------------------------------------------------------------------------------------

    def api_checkperm(self, given: list[str]) -> bool:
        return given[0] in self.permissions

    def api_get_resource_types(self, _given: list[str]) -> list[dict[str, Any]]:
        return [{"ref": "1", "name": "Photo"}, {"ref": "2", "name": "Document"}]

    def api_create_resource(self, given: list[str]) -> int | bool:
        type_, archive = given[0], int(given[1] or 999)
        if not self.permissions & {"c", "d"} or f"XU{type_}" in self.permissions:
            return False
        if f"e{archive}" not in self.permissions:
            return False
        self._last_ref += 1
        resource = self.resources[self._last_ref] = Resource(self._last_ref, int(type_), archive)
        for number, value in json.loads(given[6] or "{}").items():
            self._update(resource, int(number), value)
        return resource.ref

    def api_update_field(self, given: list[str]) -> bool:
        resource = self._find(given[0])
        return resource is not None and self._may_edit(resource) and self._update(resource, int(given[1]), given[2])

    def api_delete_resource(self, given: list[str]) -> bool:
        resource = self._find(given[0])
        if resource is None or "D" in self.permissions or not self._may_edit(resource):
            return False
        if self.has_bin and resource.archive != IN_BIN:
            resource.archive = IN_BIN
        else:
            del self.resources[resource.ref]
        return True

    def api_get_resource_data(self, given: list[str]) -> Any:
        resource = self._find(given[0])
        if resource is None or (resource.archive == IN_BIN and "e3" not in self.permissions):
            return False
        row = {"ref": str(resource.ref), "resource_type": str(resource.type), "archive": str(resource.archive)}
        return row | {"file_extension": resource.extension or None, "has_image": "0"}

    def api_get_resource_field_data(self, given: list[str]) -> Any:
        resource = self._find(given[0])
        if resource is None:
            return False
        return [{"ref": str(ref), "name": FIELDS[ref], "value": value} for ref, value in resource.fields.items()]

    def api_get_resource_path(self, given: list[str]) -> str:
        resource = self._find(given[0])
        if resource is None or "g" in self.permissions:  # "g": only restricted access
            return ""
        key = secrets.token_hex(8)
        self.download_keys[key] = resource.ref
        query = f"ref={resource.ref}&size=&ext={given[4]}&page=1&alternative=-1&noattach=true&access_key={key}"
        return f"{self.url}/pages/download.php?{query}"

    def api_do_search(self, given: list[str]) -> list[dict[str, str]]:
        if "s" not in self.permissions:
            return []
        states = {int(state) for state in (given[3] or "0").split(",")}
        words = _words(given[0])
        return [
            {"ref": str(each.ref), "resource_type": str(each.type), "archive": str(each.archive)}
            for each in self.resources.values()
            if each.archive in states and words <= self._keywords(each)
        ]

    def api_upload_multipart(self, method: str, ref: int, file: tuple[str, bytes] | None) -> Reply:
        if method != "POST":
            raise fail(405, "Method not allowed")
        if file is None:
            raise fail(400, "Missing key: file")
        same = [each.ref for each in self.resources.values() if each.content == file[1]]
        if self.blocks_duplicates and same:
            raise fail(400, f"This file is already in the system: {', '.join(map(str, same))}")
        resource = self.resources.get(ref)
        if resource is None or not self._may_edit(resource):
            raise fail(500, "An error occurred while uploading the file.")
        resource.content, resource.extension = file[1], file[0].rpartition(".")[2]
        return Reply(204)

    # -- state -------------------------------------------------------------------------------------------------------

    def _find(self, ref: str) -> Resource | None:
        return self.resources.get(int(ref)) if ref.isdecimal() else None

    def _may_edit(self, resource: Resource) -> bool:
        return f"e{resource.archive}" in self.permissions

    def _update(self, resource: Resource, number: int, value: str) -> bool:
        if number not in FIELDS or f"F{number}" in self.permissions:
            return False
        resource.fields[number] = value
        return True

    def _keywords(self, resource: Resource) -> set[str]:
        texts = [text for number, text in resource.fields.items() if number in self.indexed]
        return {word for text in texts for word in _words(text)}

    def _download(self, query: dict[str, str]) -> Reply:
        resource = self.resources.get(self.download_keys.get(query.get("access_key", ""), 0))
        if resource is None or not resource.content:
            return Reply(404 if resource is None else 403, b"nothing")
        return Reply(200, resource.content, {"Content-Type": "image/jpeg"})


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", text.lower()))


@contextmanager
def serving() -> Iterator[ResourceSpaceServer]:
    with troubled_server.serving(ResourceSpaceServer()) as dam:
        yield dam
