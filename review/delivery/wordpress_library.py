"""The files of one delivery in the media library of a WordPress site: uploaded once, described, found again, deleted.

Keys in the journal: "file:<sha256>" for an upload, "text:<sha256>:<digest>" for its texts, and, by the destinations
that use this, "<what>:<sha256>:<where>" for the places that show it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, cast

from review.delivery import http
from review.delivery.base import DeliveryError, DeliveryFile, Destination, Journal, Package, Receipt
from review.delivery.wordpress_site import MAX_QUERY, SCALED_ABOVE, Media, Site

CREDENTIALS_HINT = "User name, colon, application password: “editor:abcd efgh ijkl mnop qrst uvwx”."


class Library:
    """mark: a letter that keeps names of two kinds of destinations at one site apart."""

    def __init__(self, site: Site, mark: str = "") -> None:
        self.site, self.mark = site, mark

    def put(self, package: Package, file: DeliveryFile, journal: Journal) -> Media:
        """Return the file in the library, uploaded if it is not there yet, with the package's texts."""
        texts = _texts(package, file)
        made = journal.once(
            f"file:{file.sha256}",
            partial(self._upload, package, file, texts),
            partial(self._find, package.asset_id, file.sha256),
        )
        media = self.site.media(int(made["id"]))
        if media is None:
            self._forget(file.sha256, journal)
            raise DeliveryError("The uploaded file is no longer in the media library; it is uploaded again.")
        self._describe(media.id, file.sha256, texts, str(made["texts"]), journal)
        return media if media.is_processed else self._make_sizes(media)

    def list_ours(self, package: Package, journal: Journal, besides: Collection[str] = ()) -> dict[str, list[int]]:
        """Return the ids of the delivered files by hash, without the hashes in `besides`.

        An upload of which it is unknown whether it was made is looked up.
        """
        ours: dict[str, list[int]] = {}
        for step in journal.steps("file:"):
            sha256 = step.key.partition(":")[2]
            if sha256 not in besides:
                media = [] if step.is_done else self._matches(package.asset_id, sha256)
                ours[sha256] = [int(step.result["id"])] if step.is_done else [each.id for each in media]
        for entry in package.previous:
            if entry.get("id") and entry["sha256"] not in besides:
                ours.setdefault(entry["sha256"], [int(entry["id"])])
        return ours

    def delete(self, ours: Mapping[str, Sequence[int]], journal: Journal) -> int:
        """Delete files that `list_ours` returned; return how many."""
        for sha256, ids in ours.items():
            for media_id in ids:
                self.site.delete_media(media_id)
            self._forget(sha256, journal)
        return sum(len(ids) for ids in ours.values())

    def remote_name(self, package: Package, file: DeliveryFile) -> str:
        """Return the file's name at the site, which no other asset and no other bytes have."""
        stem, _dot, extension = http.ascii_name(file.name, file.sha256, longest=80).rpartition(".")
        return f"{stem}-{self.mark}{package.asset_id}.{extension}"

    def _upload(self, package: Package, file: DeliveryFile, texts: Mapping[str, str]) -> dict[str, Any]:
        is_short = len(json.dumps(texts)) < MAX_QUERY
        name = self.remote_name(package, file)
        media = self.site.upload(name, file.media_type, file.read(), texts if is_short else {})
        is_numbered = not media.original_url.endswith(f"/{name}")  # by WordPress: there was one of this name
        if is_numbered and (kept := self._find(package.asset_id, file.sha256)):
            return kept
        return {"id": media.id, "name": name, "texts": _digest(texts) if is_short else ""}

    def _find(self, asset_id: int, sha256: str) -> dict[str, Any] | None:
        """Return the file of which it is unknown whether it was uploaded, by its name and its bytes.

        If there are several, two workers sent it. The oldest stays, so that all workers choose the same one, and none
        deletes what another has recorded. Bytes that nobody may read, or that an image optimiser of the site has
        written anew, are known by the name alone, which has the asset's number and the beginning of the hash.
        """
        matches = self._matches(asset_id, sha256)
        same = [media for media in matches if self.site.has_bytes(media, sha256)] or matches
        for media in same[1:]:
            self.site.delete_media(media.id)
        return {"id": same[0].id, "name": same[0].url.rpartition("/")[2], "texts": ""} if same else None

    def _matches(self, asset_id: int, sha256: str) -> list[Media]:
        return self.site.search_media(f"{sha256[:8]}-{self.mark}{asset_id}")

    def _describe(self, media_id: int, sha256: str, texts: Mapping[str, str], sent: str, journal: Journal) -> None:
        """Send title, alternative text and caption if the last ones that were sent differ."""
        steps, digest = journal.steps(f"text:{sha256}:"), _digest(texts)
        key = f"text:{sha256}:{digest}"
        if (steps[-1].is_done and steps[-1].key == key) if steps else sent == digest:
            return

        def send() -> dict[str, Any]:
            self.site.set_texts(media_id, texts)
            return {}

        journal.undo(key)
        journal.once(key, send, lambda: None)  # sending the same texts twice changes nothing
        for step in steps:
            if step.key != key:
                journal.undo(step.key)

    def _make_sizes(self, media: Media) -> Media:
        """Return the file with its sizes. A server that cannot make them still serves the file itself."""
        try:
            return self.site.make_sizes(media.id)
        except DeliveryError as error:
            if error.status_code is None:
                error.is_uncertain = False
                raise
            return media

    def _forget(self, sha256: str, journal: Journal) -> None:
        """Record that the file is gone, and before that its places: no new file must take over what they say."""
        keys = [step.key for step in journal.steps() if step.key.split(":")[1] == sha256]
        for key in sorted(keys, key=lambda key: key.startswith("file:")):
            journal.undo(key)


class SiteDestination(Destination):
    """The base of destinations at a WordPress site. mark: see Library."""

    receiver_settings = ("url",)
    credentials_hint = CREDENTIALS_HINT
    mark = ""

    def __init__(self, config: Mapping[str, Any], secret: str) -> None:
        self.given = cast(Any, self.config.read(config))  # of the subclass
        self.secret = secret
        self.site = Site(
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

    def plan_uploads(self, package: Package) -> list[str]:
        """Return a sentence for each upload, and its warnings."""
        sentences = []
        for file in package.files:
            sentences.append(f"Add {self.library.remote_name(package, file)} to the media library.")
            sentences += warn_of_scaling(file)
        return sentences

    def write_receipt(self, package: Package, media: Sequence[Media]) -> Receipt:
        entries = [describe_entry(file, each) for file, each in zip(package.files, media, strict=True)]
        warnings = [sentence for file in package.files for sentence in warn_of_scaling(file)]
        return Receipt(files=entries, message=" ".join(warnings))

    def read_delivered(self, file: Mapping[str, str]) -> bytes | None:
        return self.site.read(file["url"]) if file.get("url") else None


def describe_entry(file: DeliveryFile, media: Media) -> dict[str, str]:
    """Return a file as the receipt lists it."""
    entry = {"spec": file.spec, "name": file.name, "sha256": file.sha256, "id": str(media.id), "url": media.url}
    return entry | ({"original_url": media.original_url} if media.is_scaled else {})


def warn_of_scaling(file: DeliveryFile) -> list[str]:
    """Return a sentence if WordPress will serve a smaller copy of the file."""
    if max(file.width, file.height) <= SCALED_ABOVE or file.media_type == "image/png":
        return []
    return [
        f"{file.name} is larger than {SCALED_ABOVE} px: WordPress serves a smaller copy (“-scaled”) without the "
        f"metadata that says how the image was made. Deliver at most {SCALED_ABOVE} px to keep it."
    ]


def ensure_files(package: Package) -> None:
    if not package.files:
        raise DeliveryError("There is no file to deliver: the approved version has no renditions.", is_final=True)


def _texts(package: Package, file: DeliveryFile) -> dict[str, str]:
    texts = {"title": file.name.rpartition(".")[0], "alt_text": package.alt_text, "caption": package.caption}
    return {name: text for name, text in texts.items() if text}


def _digest(texts: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()[:12]
