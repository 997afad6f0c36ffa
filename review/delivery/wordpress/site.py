"""The REST API of a WordPress site: its login, its media library, and its errors in words.

The destinations "wordpress" and "woocommerce" share it. Written against WordPress 6.1
(https://developer.wordpress.org/rest-api/reference/media/).
"""

from __future__ import annotations

import base64
import builtins
import hashlib
import re
from collections.abc import Mapping
from typing import Any

from core.fetching import Answer, redact_address
from review.delivery import http
from review.delivery.base import DeliveryError
from review.delivery.media_library import Media

AVIF = "image/avif"
AVIF_HINT = "AVIF needs WordPress 6.5, with support for it in PHP’s GD or Imagick."
SCALED_ABOVE = 2560
"""WordPress serves a smaller copy of an image that is wider or higher; of PNG it does not."""
MAX_QUERY = 4000  # characters; longer texts are sent after the upload, because servers limit addresses
NOT_THERE = frozenset(
    {
        "rest_post_invalid_id",
        "woocommerce_rest_product_invalid_id",
        "woocommerce_rest_product_variation_invalid_id",
    }
)
REFUSED = frozenset({"rest_upload_sideload_error", "rest_upload_unknown_error", "rest_upload_file_error"})
"""Answered with 500 although nothing was made."""
TOO_LARGE = frozenset({"rest_upload_no_data", "rest_upload_file_too_big", "rest_upload_limited_space"})
LOGIN_HINT = (
    "Enter the user name, a colon and an application password (Users → Profile → Application Passwords). If they are "
    "right, the server may hold back the Authorization header."
)


class SiteError(DeliveryError):
    """An error answer of the site. code: the site's own, such as "rest_cannot_create"."""

    code = ""


def read_media(content: Mapping[str, Any]) -> Media:
    """Return a file as the REST API describes it."""
    url, details = str(content["source_url"]), content.get("media_details") or {}
    original = details.get("original_image")
    original_url = f"{url.rpartition('/')[0]}/{original}" if original else url
    return Media(int(content["id"]), url, original_url, bool(details.get("file")))


class Site(http.JsonClient):
    """The REST API of one site. secret: "user name:application password"."""

    product = "a WordPress site"
    answers = (dict, list)

    def __init__(self, url: str, secret: str, *, allow_private: bool = False, has_plain_links: bool = False) -> None:
        user, _colon, password = secret.partition(":")
        login = base64.b64encode(f"{user.strip()}:{password.strip()}".encode()).decode()
        super().__init__(url, allow_private=allow_private, headers={"authorization": f"Basic {login}"})
        self.user, self.has_plain_links = user.strip(), has_plain_links

    def call(self, method: str, route: str, **request: Any) -> Any:
        path = f"?rest_route=/{route}" if self.has_plain_links else f"wp-json/{route}"
        return super().call(method, path, **request)

    def is_missing(self, error: DeliveryError) -> bool:
        return isinstance(error, SiteError) and error.code in NOT_THERE

    # -- media -------------------------------------------------------------------------------------------------------

    def upload(self, name: str, media_type: str, content: builtins.bytes, texts: Mapping[str, str]) -> Media:
        """Add a file to the media library. texts: "title", "alt_text", "caption". WordPress checks the MD5 (in hex)."""
        headers = {
            "content-type": media_type,
            "content-disposition": f'attachment; filename="{name}"',
            "content-md5": hashlib.md5(content, usedforsecurity=False).hexdigest(),
        }
        try:
            return read_media(self.call("POST", "wp/v2/media", query=texts, body=content, headers=headers))
        except SiteError as error:
            if error.code in REFUSED and media_type == AVIF:
                error.message += f" {AVIF_HINT}"
            raise

    def media(self, media_id: int) -> Media | None:
        content = self.get(f"wp/v2/media/{media_id}")
        return read_media(content) if content else None

    def search_media(self, ending: str) -> list[Media]:
        """Return the files whose names have this ending, oldest first. WordPress may have added a number or "-scaled".

        ending: not with a hyphen in front, which would exclude what has it.
        """
        query = {"search": ending, "per_page": 100, "orderby": "id", "order": "asc"}
        pattern = re.compile("-" + re.escape(ending) + r"(-\d+)?(-scaled|-rotated)?\.\w+$")
        media = [read_media(content) for content in self.call("GET", "wp/v2/media", query=query)]
        return [each for each in media if pattern.search(each.url)]

    def set_texts(self, media_id: int, texts: Mapping[str, str]) -> None:
        self.call("POST", f"wp/v2/media/{media_id}", data=dict(texts))

    def make_sizes(self, media_id: int) -> Media:
        """Have WordPress make the sizes that an interrupted upload left out; those that are there stay."""
        route = f"wp/v2/media/{media_id}/post-process"
        return read_media(self.call("POST", route, data={"action": "create-image-subsizes"}))

    def delete_media(self, media_id: int) -> None:
        """Delete a file, with its sizes and its places as a featured image; one that is gone is no error."""
        try:
            self.call("DELETE", f"wp/v2/media/{media_id}", query={"force": "true"})
        except SiteError as error:
            if error.code not in NOT_THERE:
                raise

    # -- errors ------------------------------------------------------------------------------------------------------

    def read_rights(self) -> tuple[Mapping[str, Any], list[str]]:
        """Return the rights of the user, and sentences that say why they cannot be had."""
        try:
            return self.call("GET", "wp/v2/users/me", query={"context": "edit"}).get("capabilities") or {}, []
        except DeliveryError as error:
            if error.status_code != 404:
                return {}, [error.message]
            where, switch = redact_address(self.base_url), "off" if self.has_plain_links else "on"
            hint = f"If the address is right, switch “Plain permalinks” {switch}."
            return {}, [f"There is no WordPress REST API at {where}. {hint}"]

    def _error(self, method: str, address: str, answer: Answer) -> DeliveryError:
        general = super()._error(method, address, answer)
        content = answer.json()
        code = str(content.get("code") or "") if isinstance(content, dict) else ""
        words, is_final, is_uncertain = general.message, general.is_final, general.is_uncertain
        if code in REFUSED:
            is_final, is_uncertain = True, False
        elif answer.status == 401:
            words = f"{words} {LOGIN_HINT}"
        elif answer.status == 403:
            words = f"{words} Give the user {self.user} a role that may do this, such as Editor."
        elif code == "rest_upload_hash_mismatch":
            words, is_final = "The file arrived damaged: its MD5 differs. It is sent again.", False
        elif answer.status == 413 or code in TOO_LARGE:
            words = (
                f"{words} The site takes no files of this size: raise the limits of PHP (post_max_size) and web server."
            )
        error = SiteError(
            words[:500],
            is_final=is_final,
            is_uncertain=is_uncertain,
            status_code=answer.status,
            retry_after_seconds=general.retry_after_seconds,
        )
        error.code = code
        return error
