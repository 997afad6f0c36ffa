"""The media library of a WordPress site, and the base of the destinations that use it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from review.delivery.base import DeliveryError, DeliveryFile, Journal, Package
from review.delivery.marks_advice import MarksAdvice
from review.delivery.media_library import Media, MediaDestination, MediaLibrary
from review.delivery.wordpress.site import MAX_QUERY, SCALED_ABOVE, Site

CREDENTIALS_HINT = "User name, colon, application password: “editor:abcd efgh ijkl mnop qrst uvwx”."


class Library(MediaLibrary):
    """The media library of a WordPress site."""

    def __init__(self, site: Site, mark: str = "") -> None:
        super().__init__(site, mark)
        self.site = site

    def texts(self, package: Package, file: DeliveryFile) -> Mapping[str, str]:
        texts = {"title": file.name.rpartition(".")[0], "alt_text": package.alt_text, "caption": package.caption}
        return {name: text for name, text in texts.items() if text}

    def upload(self, package: Package, file: DeliveryFile, texts: Mapping[str, str]) -> tuple[Media, bool]:
        is_short = len(json.dumps(texts)) < MAX_QUERY
        name = self.remote_name(package, file)
        return self.site.upload(name, file.media_type, file.read(), texts if is_short else {}), is_short

    def matches(self, asset_id: int, sha256: str, journal: Journal) -> list[Media]:
        return self.site.search_media(self.ending(asset_id, sha256))

    def complete(self, media: Media) -> Media:
        """Return the file with its sizes. A server that cannot make them still serves the file itself."""
        if media.is_processed:
            return media
        try:
            return self.site.make_sizes(media.id)
        except DeliveryError as error:
            if error.status_code is None:
                error.is_uncertain = False
                raise
            return media


class SiteDestination(MediaDestination):
    """The base of destinations at a WordPress site. mark: see MediaLibrary."""

    credentials_hint = CREDENTIALS_HINT
    marks_advice = MarksAdvice(
        "Of an image with more than 2560 px on a side, WordPress serves a copy named “-scaled” without the"
        " marks; all smaller sizes that it makes lose them, too. The original keeps them.",
        "Deliver output specs of at most 2560 px, switch the limit off with WordPress’s filter"
        " big_image_size_threshold, or have the theme use the original.",
    )
    mark = ""

    def __init__(self, config: Mapping[str, Any], secret: str) -> None:
        self.given = cast(Any, self.config.read(config))  # of the subclass
        self.secret = secret
        self.site = self.media_site = Site(
            self.given.url, secret, allow_private=self.given.allow_private, has_plain_links=self.given.plain_links
        )
        self.library = Library(self.site, self.mark)

    def validate(self) -> list[str]:
        user, _colon, password = self.secret.partition(":")
        if user.strip() and password.strip():
            return self.site.validate()
        login = f"secret: expected user name and application password. {CREDENTIALS_HINT}"
        return [*self.site.validate(), login]

    def find_missing_rights(self, rights: Mapping[str, Any]) -> list[str]:
        """Return what the user may not do with files, as sentences."""
        user, problems = self.site.user, []
        if not rights.get("upload_files"):
            problems.append(f"The user {user} may not upload files: give it the role Editor.")
        if not rights.get("delete_posts"):
            why = "so nothing could be recalled: give it the role Editor."
            problems.append(f"The user {user} may not delete files, {why}")
        return problems

    def warn(self, file: DeliveryFile) -> list[str]:
        """Return a sentence if WordPress will serve a smaller copy of the file."""
        if max(file.width, file.height) <= SCALED_ABOVE or file.media_type == "image/png":
            return []
        return [
            f"{file.name} is larger than {SCALED_ABOVE} px: WordPress serves a smaller copy (“-scaled”) without the "
            f"metadata that says how the image was made. Deliver at most {SCALED_ABOVE} px to keep it."
        ]
