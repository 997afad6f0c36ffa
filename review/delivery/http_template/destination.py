"""The destination "http": the requests of a template, filled in, sent, and read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import field_validator

from core.plugin_config import Config, setting
from review.delivery import http
from review.delivery.base import DeliveryError, Journal, Package, Receipt, Session
from review.delivery.http_template import mistakes
from review.delivery.http_template.requests import Sender
from review.delivery.http_template.service import TemplateUploads
from review.delivery.uploads import Upload, UploadingDestination, ensure_files

EXAMPLE = """\
upload:
  method: POST
  url: /files
  headers:
    Authorization: "Bearer {secret}"
  multipart:
    title: "{title}"
    file: "{file}"
  answer:
    id: /data/id
"""
NOT_EXACT = (
    "Without “find”, an upload whose answer is lost is sent again without a look whether it arrived: the file may be "
    "there twice."
)


class HttpTemplateConfig(Config):
    url: str = setting("Address of the service", needed="Give it.", example="https://cms.example.com")
    template: str = setting(
        "Requests, as YAML",
        f"“upload” is needed; find, update, delete, read and test if the service has them. {NOT_EXACT} "
        "Without “delete” nothing can be recalled. The page “HTTP templates” of the documentation has an example.",
        needed="Describe at least the upload.",
        example=EXAMPLE,
        rows=18,
    )
    allow_private: bool = setting(
        "Allow private addresses", "If the operator allows them for this server.", default=False, is_advanced=True
    )

    @field_validator("template")
    @classmethod
    def _ensure_readable(cls, text: str) -> str:
        mistakes.read(text)
        return text


class HttpTemplate(UploadingDestination):
    kind = "http"
    label = "HTTP template"
    description = "Any other service with an HTTP API: you write its requests as YAML."
    config = HttpTemplateConfig
    receiver_settings = ("url", "template")
    uploads: TemplateUploads
    credentials_hint = (
        "What {secret} stands for, such as an API token; for {secret.basic} a user name, a colon and a password."
    )

    def __init__(self, config: Mapping[str, Any], secret: str) -> None:
        given = HttpTemplateConfig.read(config)
        self.template = mistakes.read(given.template)
        self.secret = secret
        self.client = http.Client(given.url, allow_private=given.allow_private)
        self.sender = Sender(self.client, self.template, secret)
        self.uploads = TemplateUploads(self.template, self.sender)

    def validate(self) -> list[str]:
        problems = self.client.validate() or self.sender.find_wrong_addresses()
        if self.template.uses_secret and not self.secret:
            problems.append("secret: the template has {secret}: enter it.")
        if not self.secret.isprintable() or not self.secret.isascii():
            problems.append("secret: expected one line of plain ASCII.")
        return problems

    def test_connection(self, session: Session) -> list[str]:
        if self.template.test is None:
            return ["The template has no “test”, so the connection cannot be tested without a delivery."]
        try:
            self.sender.send("test", {})
        except DeliveryError as error:
            return [error.message]
        return []

    def plan(self, package: Package, session: Session) -> list[str]:
        ensure_files(package)
        new = {Upload.of(package, file).key for file in package.files}
        earlier = [Upload(step.key) for step in session.journal.steps("file:") if step.key not in new]
        sentences = []
        for file in package.files:
            values = self.uploads.values_to_send(package, file)
            where = self.sender.describe("upload", values)
            sentences.append(f"Send {Upload.of(package, file).name} ({file.width} × {file.height} px) with {where}.")
        if not self.template.is_exact:
            sentences.append(NOT_EXACT)
        if self.template.delete:
            return sentences + [f"Delete the earlier file {upload.name}." for upload in earlier]
        sentences.append("These files could not be recalled from here: the template has no “delete”.")
        return sentences + [
            f"The earlier file {upload.name} stays: the template has no “delete”." for upload in earlier
        ]

    def recall(self, package: Package, session: Session) -> Receipt:
        ours = self.uploads.list_ours(package, session.journal)
        if ours and not self.template.delete:
            names = ", ".join(upload.name for upload in ours)
            message = f"The template has no “delete”. Add it, or delete there by hand: {names}."
            raise DeliveryError(message, is_final=True)
        count = self.uploads.delete(package, [each for each in ours if not self._is_unknown(each)], session.journal)
        if unknown := [each.name for each in ours if self._is_unknown(each)]:
            message = f"It is unknown whether {', '.join(unknown)} arrived. Add “find” to the template, and retry."
            raise DeliveryError(message, is_final=True)
        return Receipt(message=f"{count} files deleted")

    def replace(self, package: Package, earlier: Sequence[Upload], journal: Journal) -> str:
        if self.template.delete:
            super().replace(package, [each for each in earlier if not self._is_unknown(each)], journal)
            staying = [each.name for each in earlier if self._is_unknown(each)]
            return f"It is unknown whether earlier files arrived: {', '.join(staying)}." if staying else ""
        names = ", ".join(each.name for each in earlier)
        return f"The template has no “delete”, so earlier files stay: {names}." if earlier else ""

    def _is_unknown(self, upload: Upload) -> bool:
        return not upload.files and self.template.find is None

    def read_delivered(self, file: Mapping[str, str]) -> bytes | None:
        if self.template.read:
            values = {"id": file.get("id"), "url": file.get("url"), "file.sha256": file["sha256"]}
            return self.uploads.read(values | {"file.name": file.get("stored_name")})
        if file.get("url"):
            return self.client.read(file["url"])
        if not file.get("id"):
            return None  # it never arrived
        raise NotImplementedError
