"""Files that a delivery uploads to a service which gives each an id: sent once, found again, described, deleted.

Keys in the journal: "file:<sha256>:<name at the service>" for an upload, "text:<sha256>:<name>:<digest>" for its texts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from review.delivery.base import DeliveryError, DeliveryFile, Destination, Journal, Package, Receipt, Session, Step
from review.delivery.names import remote_name

Made = Mapping[str, Any]
"""A file at the service: {"id", "url", "texts"}, the last one the digest of the texts that were sent with it."""


@dataclass(frozen=True)
class Upload:
    """An upload of this delivery. files: what is there of it; several if a request arrived after its repetition."""

    key: str
    files: Sequence[Made] = field(default_factory=list)

    @classmethod
    def of(cls, package: Package, file: DeliveryFile) -> Upload:
        return cls(f"file:{file.sha256}:{remote_name(package.asset_id, file.name, file.sha256)}")

    @property
    def sha256(self) -> str:
        return self.key.split(":")[1]

    @property
    def name(self) -> str:
        return self.key.split(":")[2]


class Uploads:
    """A subclass knows the service: how a file is sent, found by its name and hash, described, and deleted.

    settle_seconds: for so long `find` may not show what a request has made. Until then nothing is sent again.
    """

    settle_seconds = 0.0

    def send(self, package: Package, file: DeliveryFile, name: str) -> Made:
        """Upload a file. Raises DeliveryError; then it is uncertain, or nothing was made."""
        raise NotImplementedError

    def find(self, package: Package, upload: Upload) -> list[Made]:
        """Return the files that an upload has made, of which it is unknown whether it did, the oldest first.

        Raises DeliveryError.
        """
        raise NotImplementedError

    def find_uncertain(self, package: Package, upload: Upload) -> list[Made]:
        """Return what is to be deleted of an upload of which it is unknown whether it was made."""
        return self.find(package, upload)

    def remove(self, package: Package, upload: Upload, made: Made) -> None:
        """Delete a file; one that is gone is no error."""
        raise NotImplementedError

    def is_there(self, package: Package, upload: Upload, made: Made) -> bool:
        """Return whether a file that was uploaded earlier is still there; True if that cannot be asked."""
        return True

    def texts(self, package: Package, file: DeliveryFile) -> Mapping[str, str]:
        """Return the texts that `describe` can change later; none if it cannot."""
        return {}

    def describe(self, package: Package, file: DeliveryFile, made: Made) -> None:
        """Change the texts of a file that is there."""

    def put(self, package: Package, file: DeliveryFile, journal: Journal) -> Made:
        """Return the file at the service, uploaded if it is not there yet, with the package's texts."""
        upload = Upload.of(package, file)
        was_asked = False

        def look_up() -> Made | None:
            nonlocal was_asked
            was_asked = True
            made = self._keep_oldest(package, upload)
            if made is None:
                self._ensure_settled(upload, journal.steps(upload.key)[-1])
            return made

        def send() -> Made:
            made = self.send(package, file, upload.name)
            if not was_asked:
                return made
            try:  # the earlier request may have arrived after the look-up
                return self._keep_oldest(package, upload) or made
            except DeliveryError as error:
                error.is_uncertain = True  # the file itself was sent
                raise

        was_done = any(step.is_done for step in journal.steps(upload.key))
        made = journal.once(upload.key, send, look_up)
        if was_done and not self.is_there(package, upload, made):
            forget(upload, journal)
            made = journal.once(upload.key, send, look_up)
        texts = self.texts(package, file)
        if texts:
            prefix = upload.key.replace("file:", "text:", 1) + ":"
            describe_once(journal, prefix, texts, str(made["texts"]), lambda: self.describe(package, file, made))
        return made

    def list_ours(self, package: Package, journal: Journal, besides: Collection[str] = ()) -> list[Upload]:
        """Return the uploads of this delivery, without the keys in `besides`. What is uncertain is looked up."""
        uploads = []
        for step in journal.steps("file:"):
            if step.key not in besides:
                upload = Upload(step.key)
                found = [step.result] if step.is_done else self.find_uncertain(package, upload)
                if not found:
                    self._ensure_settled(upload, step)
                uploads.append(Upload(step.key, found))
        return uploads

    def _ensure_settled(self, upload: Upload, step: Step) -> None:
        seconds = self.settle_seconds - step.age_seconds
        if seconds > 0:
            message = (
                f"It is not known yet whether {upload.name} arrived: new files are found late. It is looked for again."
            )
            raise DeliveryError(message, is_uncertain=True, retry_after_seconds=seconds)

    def delete(self, package: Package, uploads: Sequence[Upload], journal: Journal) -> int:
        """Delete files that `list_ours` returned; return how many."""
        for upload in uploads:
            self._remove_all(package, upload, upload.files)
            forget(upload, journal)
        return sum(len(upload.files) for upload in uploads)

    def _remove_all(self, package: Package, upload: Upload, files: Sequence[Made]) -> None:
        for made in files:
            self.remove(package, upload, made)

    def _keep_oldest(self, package: Package, upload: Upload) -> Made | None:
        """Return the oldest file that an upload has made, and delete the others; None if there is none.

        All workers choose the same one, so that one which stood still deletes nothing that another has recorded.
        """
        found = self.find(package, upload)
        self._remove_all(package, upload, found[1:])
        return found[0] if found else None


class UploadingDestination(Destination):
    """The base of destinations that only add files to a service. What was there before stays as it is."""

    uploads: Uploads

    def plan_upload(self, name: str, file: DeliveryFile) -> str:
        """Return the sentence of a dry run for one file, which is to have this name at the service."""
        return f"Upload {name} ({file.width} × {file.height} px)."

    def plan_removal(self, name: str) -> str:
        """Return the sentence of a dry run for one earlier file."""
        return f"Delete {name}."

    def plan(self, package: Package, session: Session) -> list[str]:
        ensure_files(package)
        new = {Upload.of(package, file).key for file in package.files}
        earlier = [Upload(step.key) for step in session.journal.steps("file:") if step.key not in new]
        sentences = [self.plan_upload(Upload.of(package, file).name, file) for file in package.files]
        return sentences + [self.plan_removal(upload.name) for upload in earlier]

    def push(self, package: Package, session: Session) -> Receipt:
        ensure_files(package)
        journal = session.journal
        made = [self.uploads.put(package, file, journal) for file in package.files]
        earlier = self.uploads.list_ours(
            package, journal, besides={Upload.of(package, file).key for file in package.files}
        )
        warning = self.replace(package, earlier, journal)
        entries = [
            {**entry, "id": str(each["id"]), "url": str(each["url"]), "stored_name": Upload.of(package, file).name}
            for entry, file, each in zip(package.delivered_files, package.files, made, strict=True)
        ]
        return Receipt(files=entries, message=warning)

    def recall(self, package: Package, session: Session) -> Receipt:
        ours = self.uploads.list_ours(package, session.journal)
        return Receipt(message=f"{self.uploads.delete(package, ours, session.journal)} files deleted")

    def replace(self, package: Package, earlier: Sequence[Upload], journal: Journal) -> str:
        """Delete earlier files after new ones are there; return a sentence if something is to be known."""
        self.uploads.delete(package, earlier, journal)
        return ""


def ensure_files(package: Package) -> None:
    if not package.files:
        raise DeliveryError("There is no file to deliver: the approved version has no renditions.", is_final=True)


def marker_of(package: Package, upload: Upload) -> str:
    """Return one word of letters and digits with the asset's number and the file's hash; no other upload has it."""
    of_name = hashlib.sha256(upload.name.encode()).hexdigest()[:6]
    return f"proofline{package.asset_id}x{upload.sha256[:16]}x{of_name}"


def digest(texts: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(dict(texts), sort_keys=True).encode()).hexdigest()[:12]


def describe_once(
    journal: Journal, prefix: str, texts: Mapping[str, str], sent: str, describe: Callable[[], None]
) -> None:
    """Send the texts of a file if the last ones that were sent differ. sent: the digest of those of its upload."""
    steps, key = journal.steps(prefix), prefix + digest(texts)
    if (steps[-1].is_done and steps[-1].key == key) if steps else sent == digest(texts):
        return

    def send() -> dict[str, Any]:
        describe()
        return {}

    journal.undo(key)
    journal.once(key, send, lambda: None)  # sending the same texts twice changes nothing
    for step in steps:
        if step.key != key:
            journal.undo(step.key)


def forget(upload: Upload, journal: Journal) -> None:
    """Record that all that was done to an upload is gone, and then that it is gone itself.

    No new upload must take over what is recorded of this one, so the upload comes last.
    """
    keys = [step.key for step in journal.steps() if step.key.split(":")[1:3] == [upload.sha256, upload.name]]
    for key in sorted(keys, key=lambda key: key.startswith("file:")):
        journal.undo(key)
