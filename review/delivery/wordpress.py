"""The destination "wordpress": files in the media library, and an article's image as the featured image of its entry.

An entry is a post, a page, or another type that the REST API shows. Files of products and concepts are only added to
the media library.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

from core.plugin_config import Config, setting
from review.delivery.base import DeliveryError, Journal, Package, Receipt, Session
from review.delivery.wordpress_library import SiteDestination, ensure_files
from review.delivery.wordpress_site import SiteError


class WordPressConfig(Config):
    url: str = setting("Address of the site", needed="Give it.", example="https://blog.example.com")
    find_by: Literal["slug", "url", "id"] = setting(
        "Find an article’s entry by", "The column of its row in the feed.", default="slug"
    )
    types: str = setting(
        "Types of entries", "As the REST API names them, with commas.", default="posts, pages", example="posts, news"
    )
    plain_links: bool = setting("Plain permalinks", "The site has no /wp-json/.", default=False)
    allow_private: bool = setting(
        "Private addresses, too", "If the operator allows them for this server.", default=False
    )


@dataclass(frozen=True)
class Entry:
    """A post, page or other entry. route: its place in the REST API, such as "posts/12". featured: an id or 0."""

    route: str
    title: str
    link: str
    featured: int

    @classmethod
    def read(cls, type_: str, content: Mapping[str, Any]) -> Entry:
        title = str((content.get("title") or {}).get("rendered") or content["id"])
        featured = int(content.get("featured_media") or 0)
        return cls(f"{type_}/{content['id']}", title, str(content.get("link") or ""), featured)


class WordPress(SiteDestination):
    kind = "wordpress"
    label = "WordPress"
    config = WordPressConfig

    def __init__(self, config: Mapping[str, Any], secret: str) -> None:
        super().__init__(config, secret)
        self.types = [name.strip() for name in self.given.types.split(",") if name.strip()]

    def validate(self) -> list[str]:
        problems = super().validate()
        if not self.types or not all(re.fullmatch(r"[a-z0-9_-]+", name) for name in self.types):
            problems.append("types: expected names such as posts, pages.")
        return problems

    def test_connection(self, session: Session) -> list[str]:
        rights, problems = self.site.read_rights()
        if problems:
            return problems
        problems = self.find_missing_rights(rights)
        for name in ("posts", "pages"):
            needed = (f"edit_{name}", f"edit_others_{name}", f"edit_published_{name}")
            if name in self.types and not all(rights.get(right) for right in needed):
                problems.append(f"The user {self.site.user} may not edit all {name}: give it the role Editor.")
        return problems

    def plan(self, package: Package, session: Session) -> list[str]:
        ensure_files(package)
        entry = self._locate(package)
        sentences = self.plan_uploads(package)
        if entry:
            instead = f", in place of image {entry.featured}" if entry.featured else ""
            sentences.append(f"Make the first of them the featured image of “{entry.title}” ({entry.route}){instead}.")
        new = {file.sha256 for file in package.files}
        old = [step for step in session.journal.steps("file:") if step.key.partition(":")[2] not in new]
        return sentences + [f"Delete the earlier file {step.result.get('name', step.key)}." for step in old]

    def push(self, package: Package, session: Session) -> Receipt:
        ensure_files(package)
        journal, entry = session.journal, self._locate(package)
        journal.keep({"entry": entry.route, "featured": entry.featured} if entry else {})
        media = [self.library.put(package, file, journal) for file in package.files]
        if entry:
            self._feature(entry.route, media[0].id, package.files[0].sha256, journal)
        earlier = self.library.list_ours(package, journal, besides={file.sha256 for file in package.files})
        self.library.delete(earlier, journal)
        return self.write_receipt(package, media)

    def recall(self, package: Package, session: Session) -> Receipt:
        journal = session.journal
        ours = self.library.list_ours(package, journal)
        ids = {media_id for each in ours.values() for media_id in each}
        routes = {step.key.split(":", 2)[2] for step in journal.steps("featured:")}
        for route in sorted(routes):
            if self._featured(route) in ids:
                self._set_featured(route, 0)
        return Receipt(message=f"{self.library.delete(ours, journal)} files deleted")

    def restore(self, package: Package, session: Session) -> Receipt:
        before = session.journal.before or {}
        route, earlier = str(before.get("entry") or ""), int(before.get("featured") or 0)
        words = self._put_back(package, route, earlier, session.journal) if route and earlier else ""
        receipt = self.recall(package, session)
        return Receipt(message=f"{receipt.message}{words}")

    # -- entries -----------------------------------------------------------------------------------------------------

    def _locate(self, package: Package) -> Entry | None:
        """Return the entry of an article; None for products and concepts. Raises DeliveryError if there is none."""
        subject, how = package.subject, self.given.find_by
        if subject.get("kind") != "article":
            return None
        names = {"slug": ("slug", "handle", "key"), "url": ("url", "link"), "id": ("post_id", "id", "key")}[how]
        value = next((str(subject[name]).strip() for name in names if subject.get(name)), "")
        if not value:
            raise DeliveryError(f"{package.sku} has no {how} in its feed.", is_final=True)
        entries = self._find_by_url(value) if how == "url" else self._find(how, value)
        if len(entries) > 1:
            routes = ", ".join(entry.route for entry in entries)
            raise DeliveryError(f"{len(entries)} entries have the {how} {value}: {routes}. Use the url.", is_final=True)
        if not entries:
            types = " or ".join(self.types)
            message = f"The site has no entry of {types} with the {how} {value}. Create it there, or mend the feed."
            raise DeliveryError(message, is_final=True)
        return entries[0]

    def _find(self, how: str, value: str) -> list[Entry]:
        return [entry for type_ in self.types for entry in self._query(type_, how, value)]

    def _query(self, type_: str, how: str, value: str) -> list[Entry]:
        """Return the entries of one type. Drafts count if the user may see them."""
        if how == "id":
            content = self.site.get(f"wp/v2/{type_}/{value}") if value.isdecimal() else None
            return [Entry.read(type_, content)] if content else []
        query = {"slug": value, "per_page": 100}
        try:
            contents = self.site.call("GET", f"wp/v2/{type_}", query=query | {"status": "any"})
        except SiteError as error:
            if error.status_code not in {400, 403}:
                raise
            contents = self.site.call("GET", f"wp/v2/{type_}", query=query)
        return [Entry.read(type_, content) for content in contents]

    def _find_by_url(self, address: str) -> list[Entry]:
        """Return the entries that have this address, whatever its scheme and host: "/?p=12" or "/2026/spring/"."""
        parts = urlsplit(address)
        for name in ("p", "page_id"):
            if number := parse_qs(parts.query).get(name):
                return self._find("id", number[0])
        path = unquote(parts.path).strip("/")
        slug = path.rpartition("/")[2]
        entries = self._find("slug", slug) if slug else []
        return [entry for entry in entries if unquote(urlsplit(entry.link).path).strip("/") == path]

    def _featured(self, route: str) -> int | None:
        """Return the featured image of an entry, 0 without one; None if the entry is gone."""
        content = self.site.get(f"wp/v2/{route}")
        return int(content.get("featured_media") or 0) if content else None

    def _set_featured(self, route: str, media_id: int) -> None:
        answer = self.site.call("POST", f"wp/v2/{route}", data={"featured_media": media_id})
        if int(answer.get("featured_media") or 0) != media_id:
            raise DeliveryError(f"The site did not change the featured image of {route}.", is_final=True)

    def _feature(self, route: str, media_id: int, sha256: str, journal: Journal) -> None:
        def send() -> dict[str, Any]:
            self._set_featured(route, media_id)
            return {"media": media_id}

        def look_up() -> dict[str, Any] | None:
            return {"media": media_id} if self._featured(route) == media_id else None

        key = f"featured:{sha256}:{route}"
        made = journal.once(key, send, look_up)
        if made["media"] != media_id or not self._featured(route):  # a recall was cut off after it took the place away
            journal.undo(key)
            journal.once(key, send, look_up)

    def _put_back(self, package: Package, route: str, earlier: int, journal: Journal) -> str:
        """Make the earlier image the featured one again, unless somebody has chosen another; return words on it."""
        ours = self.library.list_ours(package, journal)
        shown = self._featured(route)
        if shown == earlier:
            return "; the earlier featured image is back"
        if shown != 0 and not _contains(ours.values(), shown):
            return "; the entry is gone" if shown is None else "; somebody has chosen another featured image"
        if self.site.media(earlier) is None:
            return "; the earlier featured image was deleted at the site"
        self._set_featured(route, earlier)
        return "; the earlier featured image is back"


def _contains(groups: Collection[Collection[int]], media_id: int | None) -> bool:
    return any(media_id in group for group in groups)
