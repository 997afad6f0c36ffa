"""The destination "wagtail": files in the image library, and an article's image in a field of its page.

The API v3 of Wagtail 8 writes both. Files of products and concepts are only added to the image library.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from core.plugin_config import Config, setting
from review.delivery.articles import ArticleDestination, Entry, FindBy, find_by_setting
from review.delivery.base import DeliveryError, DeliveryFile, Journal, Package, Session
from review.delivery.marks_advice import MarksAdvice
from review.delivery.media_library import Media, MediaLibrary
from review.delivery.wagtail.site import LOGIN_HINT, NOBODY, RIGHTS_HINT, WagtailSite, has_name, name_pattern

LONGEST_TEXT = 255  # characters of Wagtail's title and description
CREDENTIALS_HINT = "API token of a user, which begins with “wagtail_”: Settings → API tokens in its administration."


class WagtailConfig(Config):
    url: str = setting("Address of API v3", needed="Give it.", example="https://www.example.com/api/v3")
    collection: int = setting(
        "Collection",
        "Its number, which is in the address of its page in Wagtail.",
        default=0,
        minimum=0,
        maximum=NOBODY,
        default_text="the only one to which the user may add images",
    )
    featured_field: str = setting(
        "Field of pages for an article’s image",
        "Empty: images are only added to the library.",
        default="",
        example="featured_image",
    )
    find_by: FindBy = find_by_setting()
    page_type: str = setting("Type of pages", "Of all types, if empty.", default="", example="blog.BlogPage")
    publishes: bool = setting(
        "Publish the pages", "Else the image waits in the draft of its page until an editor publishes it.", default=True
    )
    allow_private: bool = setting(
        "Allow private addresses", "If the operator allows them for this server.", default=False, is_advanced=True
    )


class Library(MediaLibrary):
    """The image library of a Wagtail site. A step "newest:<sha256>" notes the newest image before an upload."""

    longest_name = 70  # Wagtail shortens paths at 95 characters

    def __init__(self, site: WagtailSite, collection: int) -> None:
        super().__init__(site)
        self.site, self.collection = site, collection

    def texts(self, package: Package, file: DeliveryFile) -> Mapping[str, str]:
        texts = {"title": file.name.rpartition(".")[0], "description": package.alt_text}
        return {name: text[:LONGEST_TEXT] for name, text in texts.items() if text}

    def prepare(self, sha256: str, journal: Journal) -> None:
        """Note the newest image: one whose upload is uncertain can only be newer, as the API cannot search by name."""
        journal.once(f"newest:{sha256}", lambda: {"id": self.site.newest_image()}, lambda: None)

    def matches(self, asset_id: int, sha256: str, journal: Journal) -> list[Media]:
        noted = journal.steps(f"newest:{sha256}")
        pattern = name_pattern(self.ending(asset_id, sha256))
        newer = self.site.images_after(int(noted[-1].result.get("id", 0)) if noted else 0)
        return [media for media in newer if has_name(media, pattern)][::-1]

    def upload(self, package: Package, file: DeliveryFile, texts: Mapping[str, str]) -> tuple[Media, bool]:
        name = self.remote_name(package, file)
        content = self.site.upload(name, file.media_type, file.read(), texts, self.collection)
        media, where = self.site.read_media(content), int(content["collection"]["id"])
        if self.collection not in {0, where}:
            self.site.delete_media(media.id)
            message = f"The user of the token may add images to collection {where} only, not to {self.collection}."
            raise DeliveryError(f"{message} {RIGHTS_HINT}", is_final=True)
        return media, True


class Wagtail(ArticleDestination):
    kind = "wagtail"
    label = "Wagtail"
    description = "Images in the library of a Wagtail site; images of articles also in their pages."
    config = WagtailConfig
    credentials_hint = CREDENTIALS_HINT
    marks_advice = MarksAdvice(
        "The original keeps the marks; every rendition that Wagtail makes loses them, also the one called “original”.",
        "Serve the file of the original, not a rendition, where the marks are needed.",
    )
    id_columns = ("page_id", "id", "key")

    def __init__(self, config: Mapping[str, Any], secret: str) -> None:
        self.given = WagtailConfig.read(config)
        self.secret = secret
        self.site = self.media_site = WagtailSite(self.given.url, secret, allow_private=self.given.allow_private)
        self.library = Library(self.site, self.given.collection)
        self.writable_fields = cache(self.site.writable_fields)

    @property
    def find_by(self) -> FindBy | None:
        return self.given.find_by if self.given.featured_field else None

    @property
    def entry_words(self) -> str:
        return f"{self.given.page_type or 'any type'} that the user of the token may edit"

    def validate(self) -> list[str]:
        problems = self.site.validate()
        if not re.fullmatch(r"[!-~]+", self.secret.strip()):
            problems.append(f"secret: expected an API token. {LOGIN_HINT}")
        if self.given.featured_field and not self.given.featured_field.isidentifier():
            problems.append("featured_field: expected the name of a field, such as featured_image.")
        if self.given.page_type and not re.fullmatch(r"\w+\.\w+", self.given.page_type):
            problems.append("page_type: expected app and model, such as blog.BlogPage.")
        return problems

    def test_connection(self, session: Session) -> list[str]:
        user, problems = self.site.read_user()
        if problems:
            return problems
        problems = self.site.find_upload_problems(self.given.collection)
        if self.site.is_forbidden("DELETE", f"images/{NOBODY}/"):
            problems.append(f"The user {user} may not delete images, so nothing could be recalled. {RIGHTS_HINT}")
        return problems + (self._find_page_problems(user) if self.given.featured_field else [])

    def find_entries(self, how: str, value: str) -> list[Entry]:
        if how == "id":
            ids = [int(value)] if value.isdecimal() else []
        else:
            ids = self.site.find_pages(value, self.given.page_type)
        pages = [page for page_id in ids if (page := self.site.page(page_id)) is not None]
        of_type = [page for page in pages if self.given.page_type in ("", page["meta"]["type"])]
        return [self._read_entry(page) for page in of_type]

    def featured(self, route: str) -> int | None:
        page = self.site.page(_page_id(route))
        return self._image_of(page) if page else None

    def set_featured(self, route: str, media_id: int) -> str:
        page = self.site.page(_page_id(route))
        if page is None:
            raise DeliveryError(f"The site has no page {_page_id(route)} any more.", is_final=True)
        is_published = self.given.publishes and self.site.is_public(page) and not self._has_changes(page)
        changes: dict[str, Any] = {f"{self.given.featured_field}_id": media_id or None}
        if is_published:
            changes["meta"] = {"action": "publish"}
        answer = self.site.call("PATCH", f"pages/{page['id']}/", data=changes)
        if self._image_of(answer) != media_id:
            raise DeliveryError(f"The site did not change {self.given.featured_field} of {route}.", is_final=True)
        return "" if is_published else " in the draft of the page"

    def remark_on(self, entry: Entry) -> list[str]:
        page = self.site.page(_page_id(entry.route))
        if page is None:
            raise DeliveryError(f"The site has no page {_page_id(entry.route)} any more.", is_final=True)
        self._ensure_writable(str(page["meta"]["type"]))
        if not self.given.publishes:
            return [f"The image waits in the draft of “{entry.title}” until an editor publishes it."]
        if not self.site.is_public(page):
            return [f"“{entry.title}” is not public: the image waits in its draft."]
        if self._has_changes(page):
            message = f"“{entry.title}” has changes that nobody has published, and the image would publish them too."
            raise DeliveryError(f"{message} Publish or discard them, then deliver again.", is_final=True)
        return []

    def _find_page_problems(self, user: str) -> list[str]:
        page_type, problems = self.given.page_type, []
        if page_type and not self.writable_fields(page_type):
            return [f"The site has no page type {page_type}: write app and model, such as blog.BlogPage."]
        if page_type and f"{self.given.featured_field}_id" not in self.writable_fields(page_type):
            problems.append(self._describe_missing_field(page_type))
        if not self.site.has_pages(page_type):
            problems.append(
                f"The user {user} may edit no page{f' of type {page_type}' * bool(page_type)}. {RIGHTS_HINT}"
            )
        elif self.given.publishes and self.site.is_forbidden("POST", f"pages/{NOBODY}/actions/publish/"):
            problems.append(f"The user {user} may not publish pages. {RIGHTS_HINT} Or switch “Publish the pages” off.")
        return problems

    def _ensure_writable(self, page_type: str) -> None:
        if f"{self.given.featured_field}_id" not in self.writable_fields(page_type):
            raise DeliveryError(self._describe_missing_field(page_type), is_final=True)

    def _describe_missing_field(self, page_type: str) -> str:
        name = self.given.featured_field
        return (
            f"The API does not write an image “{name}” of {page_type}: mend the setting, or add "
            f'APIField("{name}", writable=True) to the model’s api_fields.'
        )

    def _read_entry(self, page: Mapping[str, Any]) -> Entry:
        link = str(page["meta"].get("html_url") or "")
        return Entry(f"pages/{page['id']}", str(page["title"]), link, self._image_of(page))

    def _image_of(self, page: Mapping[str, Any]) -> int:
        image = page.get(self.given.featured_field)
        return int(image["id"]) if isinstance(image, dict) else 0

    def _has_changes(self, draft: Mapping[str, Any]) -> bool:
        """Return whether the page has changes that are not published, as far as the API shows its fields."""
        live = self.site.page(int(draft["id"]), is_draft=False)
        return live is None or self._contents(live) != self._contents(draft)

    def _contents(self, page: Mapping[str, Any]) -> dict[str, Any]:
        """Return what editors write: without the image, which is replaced, and times."""
        meta = {name: page["meta"].get(name) for name in ("slug", "seo_title", "search_description", "show_in_menus")}
        return {**page, "meta": meta, self.given.featured_field: None}


def _page_id(route: str) -> int:
    return int(route.rpartition("/")[2])
