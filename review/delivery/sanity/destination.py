"""The destination "sanity": each file an image asset of a dataset, with title and alternative text.

Two deliveries of the same bytes share one asset. Each puts a mark of its own on it, the file's name there; the asset is
deleted with the last mark, and only if Proofline uploaded it and no document uses it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence

from core.plugin_config import Config, setting
from review.delivery.base import DeliveryError, DeliveryFile, Journal, Package, Receipt, Session
from review.delivery.marks_advice import MarksAdvice
from review.delivery.sanity.api import BY_HASH, BY_MARK, EDITOR_HINT, Image, SanityApi
from review.delivery.uploads import Made, Upload, UploadingDestination, Uploads

TRIES = 5
"""So many times a change is tried while others change the same asset."""


class SanityConfig(Config):
    project: str = setting("Project ID", needed="Give it.", example="abc12def")
    dataset: str = setting("Dataset", default="production")
    url: str = setting(
        "Address of the API", "Only for a proxy; else leave it empty.", default="",
        default_text="the official one of the project", example="https://sanity.example.com", is_advanced=True,
    )  # fmt: skip
    allow_private: bool = setting(
        "Allow private addresses", "If the operator allows them for this server.", default=False, is_advanced=True
    )


class InUse(DeliveryError):
    """An asset that is not deleted, because documents use it."""

    def __init__(self, name: str, image: Image) -> None:
        documents = ", ".join(image.used_by)
        super().__init__(
            f"{name} ({image.id}) is used by {documents}, so it was not deleted. Take it out there, then try again.",
            is_final=True,
        )


class Assets(Uploads):
    """The image assets of one delivery."""

    def __init__(self, api: SanityApi) -> None:
        self.api = api

    def send(self, package: Package, file: DeliveryFile, name: str) -> Made:
        content = file.read()
        sha1 = hashlib.sha1(content, usedforsecurity=False).hexdigest()
        there = self.api.find(BY_HASH, sha1=sha1)  # an upload could change the texts of what others have uploaded
        return _describe(there[0] if there else self.api.upload(name, file.media_type, content))

    def find(self, package: Package, upload: Upload) -> list[Made]:
        return [_describe(image) for image in self.api.find(BY_MARK, mark=upload.name)]

    def is_there(self, package: Package, upload: Upload, made: Made) -> bool:
        image = self.api.image(str(made["id"]))
        return image is not None and upload.name in image.marks

    def texts(self, package: Package, file: DeliveryFile) -> Mapping[str, str]:
        return {"title": package.title or package.sku, "altText": package.alt_text}

    def describe(self, package: Package, file: DeliveryFile, made: Made) -> None:
        """Put the mark of the delivery on an asset; and the texts, unless others need the asset, too."""
        mark = Upload.of(package, file).name
        for _ in range(TRIES):
            image = self.api.image(str(made["id"]))
            if image is None:
                raise DeliveryError(f"{mark} was deleted in Sanity meanwhile; it is uploaded again.")
            texts = self.texts(package, file) if has_own_texts(image, mark) else {}
            if self.api.change(image, texts, sorted({*image.marks, mark})):
                return
        raise _busy(mark)

    def remove(self, package: Package, upload: Upload, made: Made) -> None:
        """Take the mark off an asset, and delete it if it was the last one. Raises InUse."""
        for _ in range(TRIES):
            image = self.api.image(str(made["id"]))
            if image is None:
                return
            marks = [mark for mark in image.marks if mark != upload.name]
            deletes = image.is_ours and not marks
            if deletes and image.used_by:
                raise InUse(upload.name, image)
            if not deletes and upload.name not in image.marks:
                return
            if self.api.change(image, {}, marks, deletes=deletes):
                return
        raise _busy(upload.name)

    def warn(self, package: Package, file: DeliveryFile, image_id: str) -> list[str]:
        """Return what people should know of a delivered file, as sentences."""
        mark, image = Upload.of(package, file).name, self.api.image(image_id)
        if image is None or has_own_texts(image, mark):
            return []
        return [
            f"{file.name} has the bytes of {image.id}, which others have in the dataset, too: its texts stay, and "
            "a recall leaves it there."
        ]


class Sanity(UploadingDestination):
    kind = "sanity"
    label = "Sanity"
    description = "Image assets with title and alternative text in a dataset of Sanity."
    config = SanityConfig
    receiver_settings = ("url", "project")
    credentials_hint = "An API token of the project with the permission Editor: “skE4…”."
    marks_advice = MarksAdvice(
        "An address with parameters of the image pipeline, such as ?w=400, serves an image that is made anew."
        " Content Credentials fit the original only.",
        "Use the address of the asset without parameters where the marks are needed.",
    )
    uploads: Assets

    def __init__(self, config: Mapping[str, object], secret: str) -> None:
        self.given, self.secret = SanityConfig.read(config), secret
        self.api = SanityApi(
            self.given.url, self.given.project, self.given.dataset, secret, allow_private=self.given.allow_private
        )
        self.uploads = Assets(self.api)

    def validate(self) -> list[str]:
        problems = []
        if not re.fullmatch(r"[a-z0-9-]+", self.given.project):
            problems.append("project: expected the ID of a project, such as abc12def.")
        elif self.api.validate():
            problems += self.api.validate()
        if not re.fullmatch(r"~?[a-z0-9][a-z0-9_-]{0,63}", self.given.dataset):
            problems.append("dataset: expected the name of a dataset, such as production.")
        if not re.fullmatch(r"[!-~]+", self.secret.strip()):
            problems.append(f"secret: expected an API token. {EDITOR_HINT}")
        return problems

    def test_connection(self, session: Session) -> list[str]:
        nobody = {"_id": "proofline-connection-test", "_type": "proofline.connectionTest"}
        try:
            self.api.image(nobody["_id"])
            self.api.mutate([{"createIfNotExists": nobody}, {"delete": {"id": nobody["_id"]}}], dryRun="true")
        except DeliveryError as error:
            return [error.message]
        return []

    def plan_upload(self, name: str, file: DeliveryFile) -> str:
        return f"Upload {name} ({file.width} × {file.height} px) to {self.given.dataset}."

    def plan_removal(self, name: str) -> str:
        return f"Delete {name}, unless a document uses it."

    def push(self, package: Package, session: Session) -> Receipt:
        receipt = super().push(package, session)
        made = zip(receipt.files, package.files, strict=True)
        warnings = [sentence for entry, file in made for sentence in self.uploads.warn(package, file, entry["id"])]
        return Receipt(files=receipt.files, message=" ".join([*warnings, *filter(None, [receipt.message])]))

    def replace(self, package: Package, earlier: Sequence[Upload], journal: Journal) -> str:
        """Delete earlier files; one that documents use stays, and a recall tries it again."""
        sentences = []
        for upload in earlier:
            try:
                self.uploads.delete(package, [upload], journal)
            except InUse as error:
                sentences.append(error.message)
        return " ".join(sentences)

    def recall(self, package: Package, session: Session) -> Receipt:
        super().recall(package, session)
        return Receipt(message="What nothing else needs was deleted; Sanity’s CDN may serve copies for a while.")

    def read_delivered(self, file: Mapping[str, str]) -> bytes | None:
        """Return the file of an asset that has the mark of this delivery."""
        image = self.api.image(file["id"]) if file.get("id") else None
        is_ours = image is not None and file.get("stored_name") in image.marks
        return self.api.read(file["url"]) if is_ours else None


def has_own_texts(image: Image, mark: str) -> bool:
    """Return whether an asset has the texts of the delivery with this mark: nobody else needs it."""
    return image.is_ours and set(image.marks) <= {mark}


def _describe(image: Image) -> Made:
    return {"id": image.id, "url": image.url, "texts": ""}


def _busy(name: str) -> DeliveryError:
    return DeliveryError(f"Others change {name} in Sanity all the time; it is tried again later.")
