"""A Strapi 5 on a real socket, as far as deliveries need it.

It answers as Strapi 5.54 did to the same requests: API tokens with permissions, the upload API and its filters, entries
of articles with draft and published version, unknown names that are refused, and the errors with their names.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from PIL import Image

from tests.support import troubled_server
from tests.support.cms_server import CmsServer, Media, Refusal
from tests.support.form_data import read_form

FILE_RIGHTS = {"find", "findOne", "upload", "destroy"}
ENTRY_RIGHTS = {"articles.find", "articles.findOne", "articles.update"}
MEDIA_FIELDS = ("cover", "gallery")
"""The first one takes one file, the second one several."""
Version = dict[str, Any]


class StrapiServer(CmsServer):
    """rights: of the API token. optimizes: whether "Size optimization" is on; Strapi itself has it on at first.

    entries: by document ID, each {"draft": version, "published": version or None}.
    """

    def __init__(self) -> None:
        super().__init__()
        self.secret = "4f7e0c2a" * 32
        self.rights = FILE_RIGHTS | ENTRY_RIGHTS
        self.optimizes = False
        self.entries: dict[str, dict[str, Version | None]] = {}
        self._versions = count(1)

    def add_entry(self, slug: str, *, cover: int = 0, is_published: bool = True, **fields: Any) -> str:
        """Add an article; return its document ID."""
        document_id = f"{len(self.entries) + 1:024d}"
        draft = {"title": slug.title(), "slug": slug, "cover": cover, "gallery": [], **fields}
        self.entries[document_id] = {"draft": self._stamp(draft), "published": None}
        if is_published:
            self.publish(document_id)
        return document_id

    def publish(self, document_id: str) -> None:
        versions = self.entries[document_id]
        versions["published"] = self._stamp(versions["draft"] or {})

    def cover(self, document_id: str, status: str = "published") -> int | None:
        """Return the number of an entry's image, 0 without one; None without this version."""
        version = self.entries[document_id][status]
        return None if version is None else int(version["cover"])

    def _stamp(self, fields: Version) -> Version:
        """Return a version of an entry, which has a number and a time of its own."""
        number = next(self._versions)
        return {**fields, "id": number, "updatedAt": f"2026-11-30T12:{number // 60 % 60:02d}:{number % 60:02d}.000Z"}

    # -- requests ----------------------------------------------------------------------------------------------------

    def _answer(self, method: str, parts: list[str], query: dict[str, str], headers: Any, body: bytes) -> Any:
        match method, parts:
            case "POST", ["api", "upload"]:
                self._require("upload")
                return self._take(query, headers, body)
            case "GET", ["api", "upload", "files"]:
                self._require("find")
                return 200, [self._show(each) for each in self.media.values() if _fits(each, query)]
            case "GET", ["api", "upload", "files", number]:
                self._require("findOne")
                return 200, self._show(self._find(number))
            case "DELETE", ["api", "upload", "files", number]:
                self._require("destroy")
                return 200, self._show(self._remove(self._find(number)))
            case _, ["api", "articles", *rest]:
                return self._change_entries(method, rest, query, json.loads(body) if body else {})
        raise Refusal(404)

    def _find(self, number: str) -> Media:
        if int(number) not in self.media:
            raise Refusal(404, "file.notFound")
        return self.media[int(number)]

    def _remove(self, media: Media) -> Media:
        for version in [version for versions in self.entries.values() for version in versions.values() if version]:
            version["cover"] = 0 if version["cover"] == media.id else version["cover"]
        return self.media.pop(media.id)

    def _take(self, query: dict[str, str], headers: Any, body: bytes) -> tuple[int, Any]:
        """Add a file, or change the texts of one that is there."""
        kind = headers.get("Content-Type", "")
        if not kind.startswith("multipart/form-data"):
            if "id" not in query:
                raise Refusal(400, "Files are empty")
            media = self._find(query["id"])
            self._describe(media, json.loads(body)["fileInfo"])
            return 200, self._show(media)
        fields = read_form(kind, body)
        name, content = fields["files"]
        info = json.loads(fields["fileInfo"][1])
        media = self.media[self.add_media(info.get("name") or name, self._optimize(content))]
        self._describe(media, info)
        return 201, [self._show(media)]

    def _describe(self, media: Media, info: dict[str, Any]) -> None:
        if unknown := set(info) - {"name", "alternativeText", "caption", "focalPoint"}:
            raise Refusal(400, f"fileInfo field has unspecified keys: {', '.join(unknown)}")
        media.alt_text = info.get("alternativeText", media.alt_text)
        media.caption = info.get("caption", media.caption)

    def _optimize(self, content: bytes) -> bytes:
        """Return the image in quality 80 and without metadata, unless it would be larger."""
        if not self.optimizes:
            return content
        buffer = io.BytesIO()
        Image.open(io.BytesIO(content)).save(buffer, "JPEG", quality=80)
        return min(buffer.getvalue(), content, key=len)

    def _show(self, media: Media) -> dict[str, Any]:
        return {**super()._show(media), "size": round(len(media.content) / 1000, 2)}

    # -- entries -----------------------------------------------------------------------------------------------------

    def _change_entries(self, method: str, rest: list[str], query: dict[str, str], data: Any) -> tuple[int, Any]:
        right = {"GET": "findOne" if rest else "find", "PUT": "update"}.get(method)
        if right is None:
            raise Refusal(405)
        self._require(f"articles.{right}")
        populate, status = query.get("populate", ""), query.get("status", "published")
        if populate not in {"", "*", *MEDIA_FIELDS}:
            raise Refusal(400, f"Invalid key {populate}")
        if not rest:
            slug, rows = query.get("filters[slug][$eq]"), self.entries.items()
            found = [id_ for id_, versions in rows if (version := versions[status]) and slug in (None, version["slug"])]
            return 200, {"data": [self._show_entry(id_, status, populate) for id_ in found], "meta": {}}
        if rest[0] not in self.entries or (self.entries[rest[0]][status] is None and method == "GET"):
            raise Refusal(404)
        if method == "PUT":
            self._change_entry(rest[0], status, data["data"])
        return 200, {"data": self._show_entry(rest[0], status, populate), "meta": {}}

    def _change_entry(self, document_id: str, status: str, data: dict[str, Any]) -> None:
        """Change the draft; with the status "published", which is the usual one, publish all of it."""
        if data.get("cover") and data["cover"] not in self.media:
            message = "1 relation(s) of type plugin::upload.file associated with this entity do not exist"
            raise Refusal(400, message)
        changes = {name: value or 0 if name == "cover" else value for name, value in data.items()}
        self.entries[document_id]["draft"] = self._stamp({**(self.entries[document_id]["draft"] or {}), **changes})
        if status == "published":
            self.publish(document_id)

    def _show_entry(self, document_id: str, status: str, populate: str) -> dict[str, Any]:
        version = dict(self.entries[document_id][status] or {})
        cover, gallery = version.pop("cover"), version.pop("gallery")
        files = {
            "cover": self._show(self.media[cover]) if cover else None,
            "gallery": [self._show(self.media[each]) for each in gallery],
        }
        shown = {name: value for name, value in files.items() if populate in {"*", name}}
        return {"documentId": document_id, "publishedAt": status == "published", **version, **shown}


def _fits(media: Media, query: dict[str, str]) -> bool:
    """Return whether a file fits all filters. Strapi refuses what it does not know."""
    for filter_, value in query.items():
        match = re.fullmatch(r"filters\[(id|name)\]\[\$(eq|contains)\]", filter_)
        if match is None:
            raise Refusal(400, f"Invalid key {filter_}")
        own = str(getattr(media, match[1]))
        if not (own == value if match[2] == "eq" else value in own):
            return False
    return True


@contextmanager
def serving() -> Iterator[StrapiServer]:
    with troubled_server.serving(StrapiServer()) as strapi:
        yield strapi
