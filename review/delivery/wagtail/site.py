"""The API v3 of a Wagtail site: its images, its pages, and its errors in words.

Written against Wagtail 8.0 (https://docs.wagtail.org/en/v8.0/advanced_topics/api/v3/).
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from core.fetching import Answer, redact_address
from review.delivery import http
from review.delivery.base import DeliveryError
from review.delivery.media_library import Media

PAGE_SIZE = 20  # the most that a site allows unless its settings say otherwise
MAX_IMAGES = 10_000
"""So many newer images are looked through for one whose upload is uncertain."""
NOBODY = 2_147_483_647  # the number of a page that no site has
LOGIN_HINT = "Create a token in the Wagtail administration (Settings → API tokens) and enter it as the secret."
RIGHTS_HINT = "Give a group of this user the right (Settings → Groups)."


class WagtailSite(http.JsonClient):
    """The API of one site. url: where API v3 is, such as "https://www.example.com/api/v3"."""

    product = "Wagtail’s API v3"

    def __init__(self, url: str, token: str, *, allow_private: bool = False) -> None:
        super().__init__(url, allow_private=allow_private, headers={"authorization": f"Bearer {token.strip()}"})

    def is_forbidden(self, method: str, route: str, **request: Any) -> bool:
        """Return whether the user may not send this, of something that does not exist and so cannot be changed."""
        return self.send(method, route, accept=(403, 404), **request).status == 403

    # -- images ------------------------------------------------------------------------------------------------------

    def upload(
        self, name: str, media_type: str, content: builtins.bytes, texts: Mapping[str, str], collection: int
    ) -> dict[str, Any]:
        """Add an image; return it as the API describes it. texts: "title", "description"."""
        fields = {**texts, **({"collection_id": str(collection)} if collection else {})}
        body, content_type = http.multipart(fields, "file", name, media_type, content)
        return self.call("POST", "images/", body=body, headers={"content-type": content_type})

    def find_upload_problems(self, collection: int) -> list[str]:
        """Return why the user cannot add an image, as sentences. An empty file is sent, which Wagtail refuses."""
        fields = {"title": "Proofline", **({"collection_id": str(collection)} if collection else {})}
        body, content_type = http.multipart(fields, "file", "empty.png", "image/png", b"")
        headers = {"content-type": content_type}
        answer = self.send("POST", "images/", body=body, headers=headers, accept=(403, 422))
        if answer.status == 403:
            return [f"The user of the token may not add images. {RIGHTS_HINT}"]
        if "collection" not in _places(answer):
            return []
        if collection:
            return [f"There is no collection {collection}, or the user of the token may not add images to it."]
        return ["The user of the token may add images to several collections: enter the number of one."]

    def media(self, media_id: int) -> Media | None:
        content = self.get(f"images/{media_id}/")
        return self.read_media(content) if content else None

    def read_media(self, content: Mapping[str, Any]) -> Media:
        url = urljoin(f"{self.base_url}/", str(content["meta"].get("download_url") or ""))
        return Media(int(content["id"]), url, url)

    def newest_image(self) -> int:
        """Return the highest number of an image, 0 without one."""
        items = self.call("GET", "images/", query={"order": "-id", "limit": 1})["items"]
        return int(items[0]["id"]) if items else 0

    def images_after(self, newest: int) -> Iterator[Media]:
        """Yield the images with higher numbers, newest first."""
        for offset in range(0, MAX_IMAGES, PAGE_SIZE):
            query = {"order": "-id", "limit": PAGE_SIZE, "offset": offset}
            items = self.call("GET", "images/", query=query)["items"]
            for content in items:
                if int(content["id"]) <= newest:
                    return
                yield self.read_media(content)
            if len(items) < PAGE_SIZE:
                return
        message = f"The site has more than {MAX_IMAGES:,} images that are newer than the upload; look for it by hand."
        raise DeliveryError(message, is_final=True, is_uncertain=True)

    def set_texts(self, media_id: int, texts: Mapping[str, str]) -> None:
        self.call("PATCH", f"images/{media_id}/", data=dict(texts))

    def delete_media(self, media_id: int) -> None:
        """Delete an image, with its renditions; one that is gone is no error."""
        self.send("DELETE", f"images/{media_id}/", accept=(404,))

    # -- pages -------------------------------------------------------------------------------------------------------

    def page(self, page_id: int, *, is_draft: bool = True) -> dict[str, Any] | None:
        """Return a page with its latest changes, or as it is published; None if the user may not edit such a page."""
        return self.get(f"pages/{page_id}/", version="draft" if is_draft else "live")

    def is_public(self, page: Mapping[str, Any]) -> bool:
        """Return whether visitors see the page."""
        where = urlsplit(str(page["meta"].get("html_url") or "")).netloc
        if not where:
            return False
        headers = {"authorization": ""}
        query = {"site": where}
        answer = self.send("GET", f"pages/{page['id']}/", query=query, headers=headers, accept=(400, 404))
        return answer.status == 200

    def find_pages(self, slug: str, page_type: str = "") -> list[int]:
        """Return the numbers of the pages with this slug that the user may edit. Raises DeliveryError."""
        query = {"slug": slug, "limit": PAGE_SIZE, **({"type": page_type} if page_type else {})}
        return [int(item["id"]) for item in self.call("GET", "pages/", query=query)["items"]]

    def has_pages(self, page_type: str = "") -> bool:
        query = {"limit": 1, **({"type": page_type} if page_type else {})}
        return bool(self.call("GET", "pages/", query=query)["items"])

    def writable_fields(self, page_type: str) -> frozenset[str]:
        """Return the fields of a page type that the API writes; none if there is no such type."""
        content = self.get(f"schema/{page_type}/") or {}
        return frozenset((content.get("patch") or {}).get("properties") or {})

    # -- errors ------------------------------------------------------------------------------------------------------

    def read_user(self) -> tuple[str, list[str]]:
        """Return the name of the token's user, and sentences that say why it cannot be had."""
        try:
            return str(self.call("GET", "whoami/")["user"]["username"]), []
        except DeliveryError as error:
            if error.status_code != 404:
                return "", [error.message]
            where = redact_address(self.base_url)
            return "", [
                f"There is no Wagtail API v3 at {where}. It needs Wagtail 8 or later, “wagtail.api.v3” among the "
                "installed apps, and an address, which usually ends in /api/v3."
            ]

    def _error(self, method: str, address: str, answer: Answer) -> DeliveryError:
        error = super()._error(method, address, answer)
        if problems := _read_problems(answer):
            error.message = f"{redact_address(address)} answered {answer.status}: {problems}"
        if answer.status == 401:
            error.message = f"{error.message} Wagtail does not know this token, or its user is not active. {LOGIN_HINT}"
        elif answer.status == 403:
            error.message = f"{error.message} {RIGHTS_HINT}"
        elif answer.status == 413:
            error.message = f"{error.message} The site takes no files of this size: raise the limit of its web server."
        error.message = error.message[:500]
        error.args = (error.message,)
        return error


def name_pattern(ending: str) -> re.Pattern[str]:
    """Return what matches the addresses of files whose names have this ending. Wagtail may have added seven letters."""
    return re.compile("-" + re.escape(ending) + r"(_[A-Za-z0-9]{7})?\.\w+$")


def has_name(media: Media, pattern: re.Pattern[str]) -> bool:
    return bool(pattern.search(unquote(urlsplit(media.url).path)))


def _list_problems(answer: Answer) -> list[tuple[str, str]]:
    """Return (field, sentence) of a refused form."""
    content = answer.json()
    errors = content.get("errors") if isinstance(content, dict) else None
    rows = [each for each in errors or [] if isinstance(each, dict)]
    return [(str((row.get("loc") or [""])[-1]), str(row.get("msg") or "")) for row in rows]


def _places(answer: Answer) -> set[str]:
    return {place for place, _words in _list_problems(answer)}


def _read_problems(answer: Answer) -> str:
    return " ".join(f"{place}: {words}" if place else words for place, words in _list_problems(answer))
