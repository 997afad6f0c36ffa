"""A WordPress site with WooCommerce on a real socket, as far as deliveries need it.

It behaves as WordPress 6.1 and wc/v3 do: application passwords, raw uploads with a hexadecimal MD5, numbered names,
smaller copies of large images, sizes, searches by file name, rights, and the errors with their codes. `troubles` make
it answer late, wrongly or not at all, before or after the work is done.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from PIL import Image

from tests.support import troubled_server
from tests.support.troubled_server import Reply, Trouble, TroubledServer

__all__ = ["Trouble", "WordPressServer", "draw", "serving"]

FOLDER = "/wp-content/uploads/2026/11/"
KINDS = ("posts", "pages", "products")
EDITOR = {f"edit_{which}{kind}" for kind in KINDS for which in ("", "others_", "published_")}


class Refusal(Exception):
    """An error answer."""

    def __init__(self, status: int, code: str, message: str = "Sorry, you are not allowed to do that.") -> None:
        super().__init__(code)
        self.status, self.content = status, {"code": code, "message": message, "data": {"status": status}}


@dataclass
class Media:
    id: int
    name: str
    content: bytes
    media_type: str
    title: str
    alt_text: str
    caption: str
    scaled: bytes = b""
    has_sizes: bool = True

    @property
    def shown_name(self) -> str:
        stem, _dot, extension = self.name.rpartition(".")
        return f"{stem}-scaled.{extension}" if self.scaled else self.name


class WordPressServer(TroubledServer):
    """The state of the site. password: of the user "editor", whose rights are `rights`.

    A further trouble is "no sizes": an upload ends in an error 500 before its sizes are made.
    """

    def __init__(self) -> None:
        super().__init__()
        self.password = "abcd efgh ijkl mnop qrst uvwx"
        self.rights = EDITOR | {"upload_files", "delete_posts"}
        self.media: dict[int, Media] = {}
        self.entries: dict[str, dict[int, dict[str, Any]]] = {"posts": {}, "pages": {}}
        self.products: dict[int, dict[str, Any]] = {}
        self.variations: dict[int, dict[str, Any]] = {}
        self.has_woocommerce = True
        self.has_pretty_links = True
        self.takes_avif = False  # from 6.5 on
        self.sources = 0
        """The number of images given by address, which a real shop would have fetched and stored once more."""
        self.checked_hashes = 0
        self._last_id = 100

    @property
    def secret(self) -> str:
        return f"editor:{self.password}"

    def new_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def add_media(self, name: str = "theirs.jpg", alt_text: str = "Theirs") -> int:
        content = draw(40, 30)
        media = Media(self.new_id(), self._free_name(name), content, "image/jpeg", name, alt_text, "")
        self.media[media.id] = media
        return media.id

    def add_entry(self, type_: str, slug: str, *, featured: int = 0, status: str = "publish", path: str = "") -> int:
        number = self.new_id()
        entry = {"slug": slug, "status": status, "featured_media": featured, "path": path or f"/{slug}/"}
        self.entries[type_][number] = entry
        return number

    def add_product(self, sku: str, images: list[int]) -> int:
        number = self.new_id()
        self.products[number] = {"sku": sku, "images": images}
        return number

    def add_variation(self, product: int, sku: str, image: int = 0) -> int:
        number = self.new_id()
        self.variations[number] = {"sku": sku, "parent": product, "image": image}
        return number

    def serve_file(self, path: str) -> bytes | None:
        for media in self.media.values():
            if path == FOLDER + media.name:
                return media.content
            if path == FOLDER + media.shown_name:
                return media.scaled
        return None

    # -- requests ----------------------------------------------------------------------------------------------------

    def is_open_to_all(self, path: str) -> bool:
        return path.startswith("/wp-content/") or (path != "/" and not self.has_pretty_links)

    def route_of(self, method: str, path: str, query: str, body: bytes) -> str:
        route = _read_query(query).get("rest_route", "") if path == "/" else path.removeprefix("/wp-json")
        return route.strip("/")

    def reply(self, method: str, target: str, headers: Any, body: bytes) -> Reply:
        parts = urlsplit(target)
        if self.is_open_to_all(parts.path):
            file = self.serve_file(unquote(parts.path))
            return Reply(404 if file is None else 200, file or b"nothing", {"Content-Type": "image/jpeg"})
        route = self.route_of(method, parts.path, parts.query, body)
        try:
            status, content = self.answer(method, route, _read_query(parts.query), headers, body)
        except Refusal as refusal:
            status, content = refusal.status, refusal.content
        return Reply(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    # -- the REST API ------------------------------------------------------------------------------------------------

    def answer(self, method: str, route: str, query: dict[str, str], headers: Any, body: bytes) -> tuple[int, Any]:
        self._log_in(headers)
        data = json.loads(body) if body and headers.get("Content-Type") == "application/json" else {}
        parts = route.split("/")
        match parts:
            case ["wp", "v2", "users", "me"]:
                return 200, {"name": "editor", "capabilities": dict.fromkeys(sorted(self.rights), True)}
            case ["wp", "v2", "media"] if method == "POST":
                return 201, self._show(self._upload(query, headers, body))
            case ["wp", "v2", "media"]:
                return 200, [self._show(media) for media in self._search(query)]
            case ["wp", "v2", "media", number, *rest]:
                return 200, self._change_media(method, self._find(self.media, number), rest, query, data)
            case ["wp", "v2", ("posts" | "pages") as type_]:
                return 200, self._query_entries(type_, query)
            case ["wp", "v2", ("posts" | "pages") as type_, number]:
                return 200, self._change_entry(
                    method, type_, self._find(self.entries[type_], number), int(number), data
                )
            case ["wc", "v3", "products", *rest] if self.has_woocommerce:
                return 200, self._shop(method, rest, query, data)
        raise Refusal(404, "rest_no_route", "No route was found matching the URL and request method.")

    def _log_in(self, headers: Any) -> None:
        kind, _blank, login = headers.get("Authorization", "").partition(" ")
        user, _colon, password = base64.b64decode(login).decode().partition(":") if kind == "Basic" else ("", "", "")
        if not user:
            raise Refusal(401, "rest_not_logged_in", "You are not currently logged in.")
        if user != "editor":
            raise Refusal(401, "invalid_username", "Unknown username. Check again or try your email address.")
        if password.replace(" ", "") != self.password.replace(" ", ""):
            raise Refusal(401, "incorrect_password", "The provided password is an invalid application password.")

    def _require(self, right: str, code: str) -> None:
        if right not in self.rights:
            raise Refusal(403, code)

    def _find(self, rows: dict[int, Any], number: str, code: str = "rest_post_invalid_id") -> Any:
        if int(number) not in rows:
            raise Refusal(404, code, "Invalid ID.")
        return rows[int(number)]

    def _upload(self, query: dict[str, str], headers: Any, body: bytes) -> Media:
        self._require("upload_files", "rest_cannot_create")
        if not body:
            raise Refusal(400, "rest_upload_no_data", "No data supplied.")
        given = re.search(r'filename="([^"]+)"', headers.get("Content-Disposition", ""))
        if given is None:
            raise Refusal(400, "rest_upload_no_content_disposition", "No Content-Disposition supplied.")
        if expected := headers.get("Content-MD5", ""):
            if expected != hashlib.md5(body, usedforsecurity=False).hexdigest():
                raise Refusal(412, "rest_upload_hash_mismatch", "Content hash did not match expected.")
            self.checked_hashes += 1
        media_type = headers.get("Content-Type", "")
        is_avif = body[4:12] == b"ftypavif" and self.takes_avif
        if not is_avif and not body.startswith((b"\xff\xd8\xff", b"\x89PNG", b"RIFF")):
            message = "Sorry, you are not allowed to upload this file type."
            raise Refusal(500, "rest_upload_sideload_error", message)
        name = self._free_name(given[1])
        texts = [query.get(key, "") for key in ("title", "alt_text", "caption")]
        media = Media(self.new_id(), name, body, media_type, texts[0] or name, texts[1], texts[2], has_sizes=False)
        self.media[media.id] = media
        if self.take_trouble("POST", "wp/v2/media", "no sizes"):
            raise Refusal(500, "internal_server_error", "There has been a critical error on this website.")
        self._make_sizes(media)
        return media

    def _free_name(self, name: str) -> str:
        stem, _dot, extension = name.rpartition(".")
        taken = {media.name for media in self.media.values()}
        names = [name, *(f"{stem}-{number}.{extension}" for number in range(1, 1000))]
        return next(each for each in names if each not in taken)

    def _make_sizes(self, media: Media) -> None:
        image = Image.open(io.BytesIO(media.content))
        if max(image.size) > 2560 and image.format != "PNG":
            image.thumbnail((2560, 2560))
            buffer = io.BytesIO()
            image.save(buffer, "JPEG")
            media.scaled = buffer.getvalue()
        media.has_sizes = True

    def _search(self, query: dict[str, str]) -> list[Media]:
        term = query.get("search", "")
        media = sorted(self.media.values(), key=lambda each: each.id)
        if term.startswith("-"):
            return [each for each in media if term[1:] not in each.name + each.title]
        return [each for each in media if term in each.name or term in each.title][: int(query.get("per_page", 10))]

    def _show(self, media: Media) -> dict[str, Any]:
        details: dict[str, Any] = {}
        if media.has_sizes:
            details = {"file": f"2026/11/{media.shown_name}", "sizes": {}}
            details |= {"original_image": media.name} if media.scaled else {}
        return {
            "id": media.id, "title": {"rendered": media.title}, "alt_text": media.alt_text, "media_details": details,
            "caption": {"rendered": media.caption}, "source_url": self.url + FOLDER + media.shown_name,
        }  # fmt: skip

    def _change_media(self, method: str, media: Media, rest: list[str], query: dict[str, str], data: Any) -> Any:
        if method == "DELETE":
            self._require("delete_posts", "rest_cannot_delete")
            if query.get("force") != "true":
                raise Refusal(501, "rest_trash_not_supported", "The post does not support trashing.")
            del self.media[media.id]
            for entry in [entry for rows in self.entries.values() for entry in rows.values()]:
                entry["featured_media"] = 0 if entry["featured_media"] == media.id else entry["featured_media"]
            return {"deleted": True, "previous": self._show(media)}
        if method == "POST" and rest == ["post-process"]:
            self._make_sizes(media)
        elif method == "POST":
            for name, text in data.items():
                setattr(media, name, text)
        return self._show(media)

    def _query_entries(self, type_: str, query: dict[str, str]) -> list[dict[str, Any]]:
        statuses = {"publish"}
        if query.get("status") == "any":
            if f"edit_{type_}" not in self.rights:
                raise Refusal(400, "rest_invalid_param", "Invalid parameter(s): status")
            statuses = {"publish", "draft", "future", "pending", "private"}
        rows = self.entries[type_].items()
        return [
            self._show_entry(number, entry)
            for number, entry in rows
            if entry["slug"] == query.get("slug") and entry["status"] in statuses
        ]

    def _show_entry(self, number: int, entry: dict[str, Any]) -> dict[str, Any]:
        title = {"rendered": entry["slug"].title()}
        return {"id": number, "title": title, "link": self.url + entry["path"], **entry}

    def _change_entry(self, method: str, type_: str, entry: dict[str, Any], number: int, data: Any) -> Any:
        if method == "POST":
            self._require(f"edit_others_{type_}", "rest_cannot_edit")
            if data["featured_media"] and data["featured_media"] not in self.media:
                raise Refusal(400, "rest_invalid_featured_media", "Invalid featured media ID.")
            entry["featured_media"] = data["featured_media"]
        return self._show_entry(number, entry)

    # -- WooCommerce -------------------------------------------------------------------------------------------------

    def _shop(self, method: str, rest: list[str], query: dict[str, str], data: Any) -> Any:
        self._require("edit_products", "woocommerce_rest_cannot_view")
        match rest:
            case []:
                skus = [*query.get("sku", "").split(","), query.get("sku", "")]
                variations = [{"id": id_, "sku": row["sku"], "type": "variation", "parent_id": row["parent"]}
                              for id_, row in self.variations.items()]  # fmt: skip
                rows = [self._show_product(id_) | {"type": "simple"} for id_ in self.products] + variations
                if words := query.get("search", "").casefold():
                    return [row for row in rows if words in row.get("name", "").casefold()]
                return [row for row in rows if row["sku"] in skus]
            case [number]:
                product = self._find(self.products, number, "woocommerce_rest_product_invalid_id")
                if method == "PUT":
                    product["images"] = [self._image_id(image) for image in data["images"]]
                return self._show_product(int(number))
            case [_product, "variations", number]:
                variation = self._find(self.variations, number, "woocommerce_rest_product_variation_invalid_id")
                if method == "PUT":
                    variation["image"] = self._image_id(data["image"], may_be_none=True)
                images = self._show_product(variation["parent"])["images"]
                own = [{"id": variation["image"]}] if variation["image"] in self.media else images[:1]
                return {"id": int(number), "sku": variation["sku"], "image": own[0] if own else None}
        raise Refusal(404, "rest_no_route")

    def _image_id(self, image: dict[str, Any], *, may_be_none: bool = False) -> int:
        if image.get("src"):
            self.sources += 1
            return self.add_media("fetched.jpg")
        if image["id"] not in self.media and not (may_be_none and image["id"] == 0):
            raise Refusal(400, "woocommerce_product_invalid_image_id", f"#{image['id']} is an invalid image ID.")
        return int(image["id"])

    def _address(self, media_id: int) -> str:
        return self.url + FOLDER + self.media[media_id].shown_name

    def _show_product(self, number: int) -> dict[str, Any]:
        product = self.products[number]
        images = [each for each in product["images"] if each in self.media]
        shown = [
            {"id": each, "alt": self.media[each].alt_text, "name": self.media[each].title, "src": self._address(each)}
            for each in images
        ]
        name = product.get("name") or f"Product {product['sku']}"
        return {"id": number, "name": name, "sku": product["sku"], "parent_id": 0, "images": shown}


def _read_query(query: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(query).items()}


def draw(width: int, height: int, seed: int = 1, kind: str = "JPEG") -> bytes:
    """Return an image file with a pattern that is different for each seed."""
    random = Random(seed)
    tiles = Image.new("RGB", (8, 6))
    tiles.putdata([(random.randrange(256), random.randrange(256), random.randrange(256)) for _ in range(48)])
    buffer = io.BytesIO()
    tiles.resize((width, height), Image.Resampling.BICUBIC).save(buffer, kind)
    return buffer.getvalue()


@contextmanager
def serving() -> Iterator[WordPressServer]:
    with troubled_server.serving(WordPressServer()) as site:
        yield site
