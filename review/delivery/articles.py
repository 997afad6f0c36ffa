"""The base of destinations that show an article's image as the featured image of its entry at a site.

An entry is a post or a page that people wrote there. Files of products and concepts are only added to the library.
Keys in the journal: "featured:<sha256>:<route>", besides those of media_library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

from core.plugin_config import setting
from review.delivery.base import DeliveryError, Journal, Package, Receipt, Session
from review.delivery.media_library import MediaDestination, describe_deleted, flatten
from review.delivery.uploads import ensure_files

FindBy = Literal["slug", "url", "id"]


def find_by_setting() -> Any:
    return setting("Find an article’s entry by", "The column of its row in the feed.", default="slug")


@dataclass(frozen=True)
class Entry:
    """An entry. route: its place in the site's API, such as "posts/12". featured: the id of an image, or 0."""

    route: str
    title: str
    link: str
    featured: int


class ArticleDestination(MediaDestination):
    """id_columns: the columns of a feed that may have an entry's id."""

    id_columns: tuple[str, ...] = ("id", "key")

    # -- what each kind of site says ---------------------------------------------------------------------------------

    @property
    def find_by(self) -> FindBy | None:
        """Return how the entry of an article is found; None if its image is only added to the library."""
        raise NotImplementedError

    @property
    def entry_words(self) -> str:
        """Return what an entry is called at the site, such as "posts or pages"."""
        raise NotImplementedError

    def find_entries(self, how: str, value: str) -> list[Entry]:
        """Return the entries with this slug or id. how: "slug" or "id"."""
        raise NotImplementedError

    def featured(self, route: str) -> int | None:
        """Return the featured image of an entry, 0 without one; None if the entry is gone."""
        raise NotImplementedError

    def set_featured(self, route: str, media_id: int) -> str:
        """Make an image the featured image of an entry; 0 takes it away. Raises DeliveryError.

        Returns words on it if visitors do not see the change yet, such as " in its draft".
        """
        raise NotImplementedError

    def remark_on(self, entry: Entry) -> list[str]:
        """Return what people should know of an entry that is about to be changed. Raises DeliveryError if it cannot."""
        return []

    # -- what is the same for all ------------------------------------------------------------------------------------

    def plan(self, package: Package, session: Session) -> list[str]:
        ensure_files(package)
        entry = self._locate(package)
        sentences = self.plan_uploads(package)
        if entry:
            instead = f", in place of image {entry.featured}" if entry.featured else ""
            sentences.append(f"Make the first of them the featured image of “{entry.title}” ({entry.route}){instead}.")
            sentences += self.remark_on(entry)
        new = {file.sha256 for file in package.files}
        old = [step for step in session.journal.steps("file:") if step.key.partition(":")[2] not in new]
        return sentences + [f"Delete the earlier file {step.result.get('name', step.key)}." for step in old]

    def push(self, package: Package, session: Session) -> Receipt:
        ensure_files(package)
        journal, entry = session.journal, self._locate(package)
        remarks = self.remark_on(entry) if entry else []
        journal.keep({"entry": entry.route, "featured": entry.featured} if entry else {})
        media = [self.library.put(package, file, journal) for file in package.files]
        if entry:
            self._feature(entry.route, media[0].id, package.files[0].sha256, journal)
        earlier = self.library.list_ours(package, journal, besides={file.sha256 for file in package.files})
        self.library.delete(earlier, journal)
        return self.write_receipt(package, media, remarks)

    def recall(self, package: Package, session: Session) -> Receipt:
        journal = session.journal
        ours = self.library.list_ours(package, journal)
        ids = flatten(ours)
        routes = {step.key.split(":", 2)[2] for step in journal.steps("featured:")}
        for route in sorted(routes):
            if self.featured(route) in ids:
                self.set_featured(route, 0)
        return Receipt(message=describe_deleted(self.library.delete(ours, journal)))

    def restore(self, package: Package, session: Session) -> Receipt:
        before = session.journal.before or {}
        route, earlier = str(before.get("entry") or ""), int(before.get("featured") or 0)
        words = self._put_back(package, route, earlier, session.journal) if route and earlier else ""
        receipt = self.recall(package, session)
        return Receipt(message=f"{receipt.message}{words}")

    def _locate(self, package: Package) -> Entry | None:
        """Return the entry of an article; None for products and concepts. Raises DeliveryError if there is none."""
        subject, how = package.subject, self.find_by
        if subject.get("kind") != "article" or how is None:
            return None
        names = {"slug": ("slug", "handle", "key"), "url": ("url", "link"), "id": self.id_columns}[how]
        value = next((str(subject[name]).strip() for name in names if subject.get(name)), "")
        if not value:
            raise DeliveryError(f"{package.sku} has no {how} in its feed.", is_final=True)
        entries = self._find_by_url(value) if how == "url" else self.find_entries(how, value)
        if len(entries) > 1:
            routes = ", ".join(entry.route for entry in entries)
            raise DeliveryError(f"{len(entries)} entries have the {how} {value}: {routes}. Use the url.", is_final=True)
        if not entries:
            message = f"The site has no entry of {self.entry_words} with the {how} {value}."
            raise DeliveryError(f"{message} Create it there, or mend the feed.", is_final=True)
        return entries[0]

    def _find_by_url(self, address: str) -> list[Entry]:
        """Return the entries that have this address, whatever its scheme and host: "/?p=12" or "/2026/spring/"."""
        parts = urlsplit(address)
        for name in ("p", "page_id"):
            if number := parse_qs(parts.query).get(name):
                return self.find_entries("id", number[0])
        path = unquote(parts.path).strip("/")
        slug = path.rpartition("/")[2]
        entries = self.find_entries("slug", slug) if slug else []
        return [entry for entry in entries if unquote(urlsplit(entry.link).path).strip("/") == path]

    def _feature(self, route: str, media_id: int, sha256: str, journal: Journal) -> None:
        def send() -> dict[str, Any]:
            self.set_featured(route, media_id)
            return {"media": media_id}

        def look_up() -> Mapping[str, Any] | None:
            return {"media": media_id} if self.featured(route) == media_id else None

        key = f"featured:{sha256}:{route}"
        made = journal.once(key, send, look_up)
        if made["media"] != media_id or not self.featured(route):  # a recall was cut off after it took the place away
            journal.undo(key)
            journal.once(key, send, look_up)

    def _put_back(self, package: Package, route: str, earlier: int, journal: Journal) -> str:
        """Make the earlier image the featured one again, unless somebody has chosen another; return words on it."""
        ours = self.library.list_ours(package, journal)
        shown = self.featured(route)
        if shown == earlier:
            return "; the earlier featured image is back"
        if shown != 0 and shown not in flatten(ours):
            return "; the entry is gone" if shown is None else "; somebody has chosen another featured image"
        if self.media_site.media(earlier) is None:
            return "; the earlier featured image was deleted at the site"
        return f"; the earlier featured image is back{self.set_featured(route, earlier)}"
