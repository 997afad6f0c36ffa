"""The destination "strapi": files in the media library, and an article's image in a media field of its entry.

Files of products and concepts are only added to the media library.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from core.plugin_config import Config, setting
from review.delivery.articles import ArticleDestination, Entry, find_by_setting
from review.delivery.base import DeliveryError, DeliveryFile, Journal, Package, Receipt, Session
from review.delivery.marks_advice import MarksAdvice
from review.delivery.media_library import Media, MediaLibrary
from review.delivery.strapi.site import LOGIN_HINT, StoredFile, StrapiSite

OF_VERSIONS = frozenset({"id", "createdAt", "updatedAt", "publishedAt"})
CREDENTIALS_HINT = "API token of Strapi (Settings → API Tokens)."


class StrapiConfig(Config):
    url: str = setting("Address of Strapi", "Without /api.", needed="Give it.", example="https://cms.example.com")
    entries: str = setting(
        "Entries for an article’s image",
        "The plural API ID of their content type. Empty: images are only added to the media library.",
        default="",
        example="articles",
    )
    featured_field: str = setting("Media field of the entries", "It must take one file.", default="cover")
    find_by: Literal["slug", "id"] = find_by_setting()
    publishes: bool = setting(
        "Publish the entries",
        "Else the image waits in the draft of its entry until an editor publishes it.",
        default=True,
    )
    allow_private: bool = setting(
        "Allow private addresses", "If the operator allows them for this server.", default=False, is_advanced=True
    )


class Library(MediaLibrary):
    """The media library of Strapi. It may have several files of one name, so each upload is looked up."""

    def __init__(self, site: StrapiSite) -> None:
        super().__init__(site)
        self.site = site

    def texts(self, package: Package, file: DeliveryFile) -> Mapping[str, str]:
        return {"alternativeText": package.alt_text, "caption": package.caption}

    def upload(self, package: Package, file: DeliveryFile, texts: Mapping[str, str]) -> tuple[Media, bool]:
        return self.site.upload(self.remote_name(package, file), file.media_type, file.read(), texts), True

    def matches(self, asset_id: int, sha256: str, journal: Journal) -> list[Media]:
        return self.site.search_files(self.ending(asset_id, sha256))


class Strapi(ArticleDestination):
    kind = "strapi"
    label = "Strapi"
    description = "Images in the media library of Strapi 5; images of articles also in their entries."
    config = StrapiConfig
    credentials_hint = CREDENTIALS_HINT
    marks_advice = MarksAdvice(
        "With “Size optimization” on, which it is unless somebody changes it, Strapi saves images again"
        " without the marks. Its smaller formats never have them.",
        "Switch “Size optimization” and “Auto orientation” off under Settings → Media Library, and serve the"
        " file itself instead of a smaller format.",
    )
    id_columns = ("document_id", "id", "key")

    def __init__(self, config: Mapping[str, Any], secret: str) -> None:
        self.given = StrapiConfig.read(config)
        self.secret = secret
        self.site = self.media_site = StrapiSite(self.given.url, secret, allow_private=self.given.allow_private)
        self.library = Library(self.site)

    @property
    def find_by(self) -> Literal["slug", "id"] | None:
        return self.given.find_by if self.given.entries else None

    @property
    def entry_words(self) -> str:
        return self.given.entries

    def validate(self) -> list[str]:
        problems = self.site.validate()
        if not re.fullmatch(r"[!-~]+", self.secret.strip()):
            problems.append(f"secret: expected an API token. {LOGIN_HINT}")
        if self.given.entries and not re.fullmatch(r"[a-z0-9-]+", self.given.entries):
            problems.append("entries: expected a plural API ID, such as articles.")
        if not re.fullmatch(r"\w+", self.given.featured_field):
            problems.append("featured_field: expected the name of a field, such as cover.")
        return problems

    def test_connection(self, session: Session) -> list[str]:
        try:
            return self.site.find_missing_rights() + self._find_entry_problems()
        except DeliveryError as error:
            return [error.message]

    def write_receipt(self, package: Package, media: Sequence[Media], remarks: Sequence[str] = ()) -> Receipt:
        """Add a sentence for each file that Strapi has written anew, which its size shows."""
        changed = [
            f"Strapi wrote {file.name} anew ({file.bytes / 1000:.2f} kB became {stored.kilobytes:.2f} kB), without the "
            "metadata that says how the image was made: switch off “Size optimization” (Settings → Media Library)."
            for file, stored in zip(package.files, media, strict=True)
            if isinstance(stored, StoredFile) and abs(stored.kilobytes - file.bytes / 1000) > 0.011
        ]
        return super().write_receipt(package, media, [*remarks, *changed])

    # -- entries -----------------------------------------------------------------------------------------------------

    def find_entries(self, how: str, value: str) -> list[Entry]:
        if how == "id":
            found = [self._read(f"{self.given.entries}/{value}")] if value.isalnum() else []
        else:
            query = {"filters[slug][$eq]": value, "status": "draft", "populate": self.given.featured_field}
            found = self.site.call("GET", f"api/{self.given.entries}", query=query)["data"]
        return [self._read_entry(content) for content in found if content]

    def featured(self, route: str) -> int | None:
        content = self._read(route)
        return self._image_of(content) if content else None

    def set_featured(self, route: str, media_id: int) -> str:
        is_published = not self._why_in_draft(route)
        query = {"status": "published" if is_published else "draft", "populate": self.given.featured_field}
        data = {"data": {self.given.featured_field: media_id or None}}
        answer = self.site.call("PUT", f"api/{route}", query=query, data=data)
        if self._image_of(answer["data"]) != media_id:
            raise DeliveryError(f"Strapi did not change {self.given.featured_field} of {route}.", is_final=True)
        return "" if is_published else " in the draft of the entry"

    def remark_on(self, entry: Entry) -> list[str]:
        match self._why_in_draft(entry.route):
            case "setting":
                return [f"The image waits in the draft of “{entry.title}” until an editor publishes it."]
            case "unpublished":
                return [f"“{entry.title}” is not published: the image waits in its draft."]
            case "changes":
                message = (
                    f"“{entry.title}” has changes that nobody has published, and the image would publish them too."
                )
                raise DeliveryError(f"{message} Publish or discard them, then deliver again.", is_final=True)
        return []

    def _why_in_draft(self, route: str) -> Literal["", "setting", "unpublished", "changes"]:
        """Return why a change of the entry must not be published, if so."""
        if not self.given.publishes:
            return "setting"
        live = self._read(route, "published", "*")
        if live is None:
            return "unpublished"
        return "" if self._contents(live) == self._contents(self._read(route, "draft", "*")) else "changes"

    def _find_entry_problems(self) -> list[str]:
        entries, field = self.given.entries, self.given.featured_field
        return self.site.find_entry_problems(entries, field) if entries else []

    def _read(self, route: str, status: str = "draft", populate: str = "") -> Any:
        """Return an entry; None if there is none."""
        answer = self.site.get(f"api/{route}", status=status, populate=populate or self.given.featured_field)
        return answer["data"] if answer else None

    def _read_entry(self, content: Mapping[str, Any]) -> Entry:
        title = str(content.get("title") or content.get("name") or content.get("slug") or content["documentId"])
        return Entry(f"{self.given.entries}/{content['documentId']}", title, "", self._image_of(content))

    def _image_of(self, content: Mapping[str, Any]) -> int:
        image = content.get(self.given.featured_field)
        if isinstance(image, list):
            message = f"The field {self.given.featured_field} takes several files: choose a field that takes one."
            raise DeliveryError(message, is_final=True)
        return int(image["id"]) if image else 0

    def _contents(self, content: Any) -> Any:
        """Return what editors write: without the image, which is replaced."""
        return without(content, OF_VERSIONS | {self.given.featured_field})


def without(content: Any, names: frozenset[str]) -> Any:
    """Return JSON without the members of these names, at any depth."""
    if isinstance(content, dict):
        return {name: without(value, names) for name, value in content.items() if name not in names}
    return [without(value, names) for value in content] if isinstance(content, list) else content
