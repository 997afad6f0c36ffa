"""The files of one delivery in the media library of a site: uploaded once, described, found again, deleted.

Keys in the journal: "file:<sha256>" for an upload, "text:<sha256>:<digest>" for its texts, and, by the destinations
that use this, "<what>:<sha256>:<where>" for the places that show it.
"""

from __future__ import annotations

import builtins
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from review.delivery import names
from review.delivery.base import DeliveryError, DeliveryFile, Destination, Journal, Package, Receipt
from review.delivery.uploads import Made, describe_once, digest


@dataclass(frozen=True)
class Media:
    """A file of the media library. url: what pages show. original_url: the uploaded bytes. is_processed: has sizes."""

    id: int
    url: str
    original_url: str
    is_processed: bool = True

    @property
    def is_scaled(self) -> bool:
        return self.url != self.original_url


class MediaSite(Protocol):
    """The requests to a site that a media library needs. They raise DeliveryError."""

    def media(self, media_id: int) -> Media | None: ...

    def read(self, address: str) -> builtins.bytes | None: ...

    def set_texts(self, media_id: int, texts: Mapping[str, str]) -> None: ...

    def delete_media(self, media_id: int) -> None: ...


class MediaLibrary:
    """The library of one site; each kind of site says how it uploads and finds. longest_name: of a file, in characters.

    mark: a letter that keeps names of two kinds of destinations at one site apart.
    """

    longest_name = 100

    def __init__(self, site: MediaSite, mark: str = "") -> None:
        self.media_site, self.mark = site, mark

    # -- what each kind of site says ---------------------------------------------------------------------------------

    def texts(self, package: Package, file: DeliveryFile) -> Mapping[str, str]:
        """Return the texts of a file by their names at the site."""
        raise NotImplementedError

    def upload(self, package: Package, file: DeliveryFile, texts: Mapping[str, str]) -> tuple[Media, bool]:
        """Upload a file; return it and whether the texts were sent with it."""
        raise NotImplementedError

    def matches(self, asset_id: int, sha256: str, journal: Journal) -> list[Media]:
        """Return the files that have the name of these bytes of this asset, oldest first."""
        raise NotImplementedError

    def prepare(self, sha256: str, journal: Journal) -> None:
        """Note what `matches` needs; called before an upload."""

    def complete(self, media: Media) -> Media:
        """Return the file after what an interrupted upload left out is made."""
        return media

    # -- what is the same for all ------------------------------------------------------------------------------------

    def put(self, package: Package, file: DeliveryFile, journal: Journal) -> Media:
        """Return the file in the library, uploaded if it is not there yet, with the package's texts."""
        texts = self.texts(package, file)
        self.prepare(file.sha256, journal)
        made = journal.once(
            f"file:{file.sha256}",
            partial(self._upload, package, file, texts, journal),
            partial(self._find, package.asset_id, file.sha256, journal),
        )
        media = self.media_site.media(int(made["id"]))
        if media is None:
            self._forget(file.sha256, journal)
            raise DeliveryError("The uploaded file is no longer in the media library; it is uploaded again.")
        self._describe(media.id, file.sha256, texts, str(made["texts"]), journal)
        return self.complete(media)

    def list_ours(self, package: Package, journal: Journal, besides: Collection[str] = ()) -> dict[str, list[int]]:
        """Return the ids of the delivered files by hash, without the hashes in `besides`.

        An upload of which it is unknown whether it was made is looked up.
        """
        ours: dict[str, list[int]] = {}
        for step in journal.steps("file:"):
            sha256 = step.key.partition(":")[2]
            if sha256 not in besides:
                media = [] if step.is_done else self.matches(package.asset_id, sha256, journal)
                ours[sha256] = [int(step.result["id"])] if step.is_done else [each.id for each in media]
        for entry in package.previous:
            if entry.get("id") and entry["sha256"] not in besides:
                ours.setdefault(entry["sha256"], [int(entry["id"])])
        return ours

    def delete(self, ours: Mapping[str, Sequence[int]], journal: Journal) -> int:
        """Delete files that `list_ours` returned; return how many."""
        for sha256, ids in ours.items():
            for media_id in ids:
                self.media_site.delete_media(media_id)
            self._forget(sha256, journal)
        self._forget_unsent(journal)
        return sum(len(ids) for ids in ours.values())

    def remote_name(self, package: Package, file: DeliveryFile) -> str:
        """Return the file's name at the site, which no other asset and no other bytes have."""
        return names.remote_name(package.asset_id, file.name, file.sha256, mark=self.mark, longest=self.longest_name)

    def ending(self, asset_id: int, sha256: str) -> str:
        """Return the end of each name that `remote_name` gives these bytes, without its extension."""
        return names.ending(asset_id, sha256, mark=self.mark)

    def has_bytes(self, media: Media, sha256: str) -> bool | None:
        """Return whether the uploaded file has this hash; None if the site lets nobody read it."""
        try:
            content = self.media_site.read(media.original_url)
        except DeliveryError as error:
            if error.status_code in {401, 403}:
                return None
            raise
        return content is not None and hashlib.sha256(content).hexdigest() == sha256

    def _upload(self, package: Package, file: DeliveryFile, texts: Mapping[str, str], journal: Journal) -> Made:
        media, has_texts = self.upload(package, file, texts)
        name = self.remote_name(package, file)
        has_other_name = not media.original_url.endswith(f"/{name}")  # the site may have had one of this name
        if has_other_name and (kept := self._find(package.asset_id, file.sha256, journal)) and kept["id"] != media.id:
            return kept
        return {"id": media.id, "name": name, "texts": digest(texts) if has_texts else ""}

    def _find(self, asset_id: int, sha256: str, journal: Journal) -> Made | None:
        """Return the file of which it is unknown whether it was uploaded, by its name and its bytes.

        If there are several, two workers sent it. The oldest stays, so that all workers choose the same one, and none
        deletes what another has recorded. Bytes that nobody may read, or that an image optimiser of the site has
        written anew, are known by the name alone, which has the asset's number and the beginning of the hash.
        """
        matches = self.matches(asset_id, sha256, journal)
        alike = [media for media in matches if self.has_bytes(media, sha256)] if len(matches) > 1 else []
        same = alike or matches
        for media in same[1:]:
            self.media_site.delete_media(media.id)
        return {"id": same[0].id, "name": same[0].url.rpartition("/")[2], "texts": ""} if same else None

    def _describe(self, media_id: int, sha256: str, texts: Mapping[str, str], sent: str, journal: Journal) -> None:
        describe_once(journal, f"text:{sha256}:", texts, sent, lambda: self.media_site.set_texts(media_id, texts))

    def _forget_unsent(self, journal: Journal) -> None:
        """Undo the notes that `prepare` made before uploads that were never sent."""
        uploaded = {step.key.split(":")[1] for step in journal.steps("file:")}
        for step in journal.steps():
            if step.key.split(":")[1] not in uploaded:
                journal.undo(step.key)

    def _forget(self, sha256: str, journal: Journal) -> None:
        """Record that the file is gone, and before that its places: no new file must take over what they say."""
        keys = [step.key for step in journal.steps() if step.key.split(":")[1] == sha256]
        for key in sorted(keys, key=lambda key: key.startswith("file:")):
            journal.undo(key)


class MediaDestination(Destination):
    """The base of destinations that add files to a media library."""

    receiver_settings = ("url",)
    library: MediaLibrary
    media_site: MediaSite

    def warn(self, file: DeliveryFile) -> list[str]:
        """Return what people should know of a file at this site, as sentences."""
        return []

    def plan_uploads(self, package: Package) -> list[str]:
        """Return a sentence for each upload, and its warnings."""
        sentences = []
        for file in package.files:
            sentences.append(f"Add {self.library.remote_name(package, file)} to the media library.")
            sentences += self.warn(file)
        return sentences

    def write_receipt(self, package: Package, media: Sequence[Media], remarks: Sequence[str] = ()) -> Receipt:
        entries = [_describe_entry(file, each) for file, each in zip(package.files, media, strict=True)]
        warnings = [sentence for file in package.files for sentence in self.warn(file)]
        return Receipt(files=entries, message=" ".join([*warnings, *remarks]))

    def read_delivered(self, file: Mapping[str, str]) -> bytes | None:
        return self.media_site.read(file["url"]) if file.get("url") else None


def _describe_entry(file: DeliveryFile, media: Media) -> dict[str, str]:
    """Return a file as the receipt lists it."""
    entry = {"spec": file.spec, "name": file.name, "sha256": file.sha256, "id": str(media.id), "url": media.url}
    return entry | ({"original_url": media.original_url} if media.is_scaled else {})


def flatten(ours: Mapping[str, Sequence[int]]) -> set[int]:
    """Return the ids of `MediaLibrary.list_ours`."""
    return {media_id for ids in ours.values() for media_id in ids}


def describe_deleted(count: int) -> str:
    return "1 file deleted" if count == 1 else f"{count} files deleted"
