"""The destination "wordpress": files in the media library, and an article's image as the featured image of its entry.

An entry is a post, a page, or another type that the REST API shows. Files of products and concepts are only added to
the media library.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from core.plugin_config import Config, setting
from review.delivery.articles import ArticleDestination, Entry, FindBy, find_by_setting
from review.delivery.base import DeliveryError, Session
from review.delivery.wordpress.library import SiteDestination
from review.delivery.wordpress.site import SiteError


class WordPressConfig(Config):
    url: str = setting("Address of the site", needed="Give it.", example="https://blog.example.com")
    find_by: FindBy = find_by_setting()
    types: str = setting(
        "Types of entries", "As the REST API names them, with commas.", default="posts, pages", example="posts, news"
    )
    plain_links: bool = setting("Plain permalinks", "The site has no /wp-json/.", default=False)
    allow_private: bool = setting(
        "Allow private addresses", "If the operator allows them for this server.", default=False, is_advanced=True
    )


class WordPress(ArticleDestination, SiteDestination):
    kind = "wordpress"
    label = "WordPress"
    description = "Images in the media library of a WordPress site; images of articles also as featured images."
    config = WordPressConfig
    id_columns = ("post_id", "id", "key")

    def __init__(self, config: Mapping[str, Any], secret: str) -> None:
        super().__init__(config, secret)
        self.types = [name.strip() for name in self.given.types.split(",") if name.strip()]

    @property
    def find_by(self) -> FindBy:
        how: FindBy = self.given.find_by
        return how

    @property
    def entry_words(self) -> str:
        return " or ".join(self.types)

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

    def find_entries(self, how: str, value: str) -> list[Entry]:
        return [entry for type_ in self.types for entry in self._query(type_, how, value)]

    def featured(self, route: str) -> int | None:
        content = self.site.get(f"wp/v2/{route}")
        return int(content.get("featured_media") or 0) if content else None

    def set_featured(self, route: str, media_id: int) -> str:
        answer = self.site.call("POST", f"wp/v2/{route}", data={"featured_media": media_id})
        if int(answer.get("featured_media") or 0) != media_id:
            raise DeliveryError(f"The site did not change the featured image of {route}.", is_final=True)
        return ""

    def _query(self, type_: str, how: str, value: str) -> list[Entry]:
        """Return the entries of one type. Drafts count if the user may see them."""
        if how == "id":
            content = self.site.get(f"wp/v2/{type_}/{value}") if value.isdecimal() else None
            return [_read_entry(type_, content)] if content else []
        query = {"slug": value, "per_page": 100}
        try:
            contents = self.site.call("GET", f"wp/v2/{type_}", query=query | {"status": "any"})
        except SiteError as error:
            if error.status_code not in {400, 403}:
                raise
            contents = self.site.call("GET", f"wp/v2/{type_}", query=query)
        return [_read_entry(type_, content) for content in contents]


def _read_entry(type_: str, content: Mapping[str, Any]) -> Entry:
    title = str((content.get("title") or {}).get("rendered") or content["id"])
    featured = int(content.get("featured_media") or 0)
    return Entry(f"{type_}/{content['id']}", title, str(content.get("link") or ""), featured)
