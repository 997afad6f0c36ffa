"""The API of a Sanity project with one dataset on a real socket, as far as deliveries need it.

It behaves as documented (https://www.sanity.io/docs/http-reference): ids of image assets are made of the SHA-1 of their
bytes, an upload of the same bytes answers the document that is there, transactions are made as a whole or not at all,
`ifRevisionID` is checked, and a document that others reference is not deleted. Of GROQ it knows the conditions that
deliveries use.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from itertools import count
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from PIL import Image

from tests.support import troubled_server
from tests.support.marked_images import without_marks
from tests.support.troubled_server import Reply, TroubledServer

PROJECT, DATASET = "abc12def", "production"
SELECTION = ' | order(_createdAt asc) {_id, _rev, url, source, proofline, "usedBy": *[references(^._id)][0...5]._id}'
CONDITIONS: dict[str, Callable[[dict[str, Any], dict[str, str]], bool]] = {
    "_id == $id": lambda each, given: each["_id"] == given["id"],
    '_type == "sanity.imageAsset" && sha1hash == $sha1': lambda each, given: each.get("sha1hash") == given["sha1"],
    '_type == "sanity.imageAsset" && ((source.name == "Proofline" && source.id == $mark) || $mark in proofline)': (
        lambda each, given: (
            each.get("source") == {"name": "Proofline", "id": given["mark"]}
            or given["mark"] in (each.get("proofline") or [])
        )
    ),
}


class Refusal(Exception):
    def __init__(self, status: int, message: str, **content: Any) -> None:
        super().__init__(message)
        self.status, self.content = status, content or {"statusCode": status, "message": message}


def mutation_error(status: int, kind: str, description: str) -> Refusal:
    item = {"index": 0, "error": {"type": kind, "description": description}}
    return Refusal(status, description, error={"type": "mutationError", "description": description, "items": [item]})


@dataclass
class Asset:
    id: str
    name: str
    content: bytes
    document: Mapping[str, Any]


class SanityServer(TroubledServer):
    """documents: all of the dataset, drafts included, by id. rights: of the token. files: the bytes by their SHA-1.

    sees_references: False while a query does not see a reference that has just been made.
    """

    def __init__(self) -> None:
        super().__init__()
        self.secret = "skE4token0fAnEditor"
        self.rights = {"read", "create", "update"}
        self.sees_references = True
        self.documents: dict[str, dict[str, Any]] = {}
        self.files: dict[str, bytes] = {}
        self._numbers = count(1)

    @property
    def assets(self) -> list[Asset]:
        return [
            Asset(each["_id"], each["originalFilename"], self.files[each["sha1hash"]], each)
            for each in self.documents.values()
            if each["_type"] == "sanity.imageAsset"
        ]

    @property
    def media(self) -> dict[int, Asset]:
        return dict(enumerate(self.assets))

    def count(self, content: bytes) -> int:
        """Return how many assets have these bytes."""
        return sum(without_marks(asset.content) == content for asset in self.assets)

    def add_asset(self, name: str, content: bytes, **fields: Any) -> dict[str, Any]:
        """Add an image as somebody else does, or Proofline; return its document."""
        sha1 = hashlib.sha1(content, usedforsecurity=False).hexdigest()
        try:
            with Image.open(io.BytesIO(content)) as image:
                size = f"{image.width}x{image.height}"
        except OSError:
            size = "1x1"
        document_id = f"image-{sha1}-{size}-jpg"
        path = f"images/{PROJECT}/{DATASET}/{sha1}-{size}.jpg"
        there = self.documents.get(document_id)
        if there is None:
            self.files[sha1] = content
            there = {
                "_id": document_id, "_type": "sanity.imageAsset", "sha1hash": sha1, "assetId": sha1, "path": path,
                "url": f"{self.url}/{path}", "originalFilename": name, "size": len(content), **fields,
            }  # fmt: skip
            self._store(there)
        return there

    def add_article(self, image_id: str, article_id: str = "article-1") -> None:
        """Add a document with the image."""
        picture = {"_type": "image", "asset": {"_type": "reference", "_ref": image_id}}
        self._store({"_id": article_id, "_type": "article", "picture": picture})

    def _store(self, document: dict[str, Any]) -> None:
        number = next(self._numbers)
        document |= {"_rev": f"rev{number}", "_createdAt": document.get("_createdAt", f"2026-11-30T{number:08d}")}
        self.documents[document["_id"]] = document

    # -- requests ----------------------------------------------------------------------------------------------------

    def is_open_to_all(self, path: str) -> bool:
        return path.startswith("/images/")

    def reply_too_large(self) -> Reply:
        return self._refuse(Refusal(413, "Payload Too Large"))

    def reply(self, method: str, target: str, headers: Any, body: bytes) -> Reply:
        parts = urlsplit(target)
        if self.is_open_to_all(parts.path):
            return self._serve_image(parts.path)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        try:
            if headers.get("Authorization") != f"Bearer {self.secret}":
                raise Refusal(401, f"Unauthorized - Session not found: {headers.get('Authorization')}")
            answer = self._answer(method, parts.path, query, headers, body)
        except Refusal as refusal:
            return self._refuse(refusal)
        return Reply(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _refuse(self, refusal: Refusal) -> Reply:
        content = json.dumps(refusal.content).encode()
        return Reply(refusal.status, content, {"Content-Type": "application/json"})

    def _serve_image(self, path: str) -> Reply:
        sha1 = path.rpartition("/")[2].partition("-")[0]
        is_there = any(each.get("sha1hash") == sha1 for each in self.documents.values())
        return Reply(200 if is_there else 404, self.files[sha1] if is_there else b"Not Found")

    def _answer(self, method: str, path: str, query: dict[str, str], headers: Any, body: bytes) -> Any:
        route = re.fullmatch(r"/v20\d\d-\d\d-\d\d/(data/query|data/mutate|assets/images)/([\w-]+)", path)
        if route is None:
            raise Refusal(404, "Not Found")
        if route[2] != DATASET:
            raise Refusal(404, f'Dataset "{route[2]}" not found for project ID "{PROJECT}"')
        match method, route[1]:
            case "GET", "data/query":
                return {"query": query["query"], "ms": 1, "result": self._query(query)}
            case "POST", "data/mutate":
                return {"transactionId": "t", "results": self._mutate(json.loads(body)["mutations"], query)}
            case "POST", "assets/images":
                return {"document": self._upload(query, headers, body)}
        raise Refusal(405, "Method Not Allowed")

    def _require(self, right: str) -> None:
        if right not in self.rights:
            message = f'Insufficient permissions; permission "{right}" required'
            raise mutation_error(403, "insufficientPermissionsError", message)

    def _query(self, query: dict[str, str]) -> list[dict[str, Any]]:
        condition, is_closed, selection = query["query"].removeprefix("*[").rpartition(f"]{SELECTION}")
        if not is_closed or selection or condition not in CONDITIONS:
            raise Refusal(400, "expected ']' following array body", error={"type": "queryParseError"})
        if "read" not in self.rights:
            return []
        given = {name[1:]: json.loads(value) for name, value in query.items() if name.startswith("$")}
        found = [each for each in self.documents.values() if CONDITIONS[condition](each, given)]
        found.sort(key=lambda each: each["_createdAt"])
        names = ("_id", "_rev", "url", "source", "proofline")
        has_drafts = query.get("perspective") == "raw"
        return [
            {
                **{name: each.get(name) for name in names},
                "usedBy": self._users(each["_id"], has_drafts)[:5] if self.sees_references else [],
            }
            for each in found
        ]

    def _users(self, document_id: str, has_drafts: bool = True) -> list[str]:
        """Return the ids of the documents that reference one."""
        return [
            each["_id"]
            for each in self.documents.values()
            if f'"_ref": "{document_id}"' in json.dumps(each) and (has_drafts or not each["_id"].startswith("drafts."))
        ]

    def _upload(self, query: dict[str, str], headers: Any, body: bytes) -> dict[str, Any]:
        self._require("create")
        if not headers.get("Content-Type", "").startswith("image/") or not body.startswith(b"\xff\xd8"):
            raise Refusal(400, "Invalid image, could not read metadata")
        source = {"name": query["sourceName"], "id": query["sourceId"]} if "sourceName" in query else None
        return self.add_asset(query.get("filename", ""), body, **({"source": source} if source else {}))

    def _mutate(self, mutations: list[dict[str, Any]], query: dict[str, str]) -> list[dict[str, str]]:
        """Make all changes or none."""
        before = deepcopy(self.documents)
        try:
            results = [self._change(*next(iter(each.items()))) for each in mutations]
        except Refusal:
            self.documents = before
            raise
        if query.get("dryRun") == "true":
            self.documents = before
        return results

    def _change(self, kind: str, given: dict[str, Any]) -> dict[str, str]:
        self._require("create" if kind == "createIfNotExists" else "update")
        document_id = given.get("_id") or given["id"]
        there = self.documents.get(document_id)
        if kind == "createIfNotExists":
            if there is None:
                self._store(dict(given))
        elif kind == "patch":
            self._patch(there, given)
        elif there is not None:
            users = self._users(document_id)
            if users:
                message = f'Document "{document_id}" cannot be deleted as there are references to it from "{users[0]}"'
                raise mutation_error(409, "documentHasExistingReferencesError", message)
            del self.documents[document_id]
        return {"id": document_id, "operation": kind}

    def _patch(self, there: dict[str, Any] | None, given: dict[str, Any]) -> None:
        if there is None:
            raise mutation_error(
                409, "documentNotFoundError", f'The document with the ID "{given["id"]}" was not found'
            )
        if given.get("ifRevisionID", there["_rev"]) != there["_rev"]:
            message = f"the document has another revision than {given['ifRevisionID']}"
            raise mutation_error(409, "documentRevisionIDDoesNotMatchError", message)
        there |= given["set"]
        self._store(there)


@contextmanager
def serving() -> Iterator[SanityServer]:
    with troubled_server.serving(SanityServer()) as server:
        yield server
