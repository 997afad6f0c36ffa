"""The files of a delivery at a service that a template describes."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin

from core.fetching import Answer
from review.delivery import uploads
from review.delivery.base import DeliveryError, DeliveryFile, Package
from review.delivery.http_template.placeholders import Text, values_of_asset, values_of_file
from review.delivery.http_template.requests import Content, Sender
from review.delivery.http_template.template import FindAnswer, Template, UploadAnswer, resolve
from review.delivery.uploads import Made, Upload, Uploads


class TemplateUploads(Uploads):
    def __init__(self, template: Template, sender: Sender) -> None:
        self.template, self.sender = template, sender

    # -- values ------------------------------------------------------------------------------------------------------

    def values_to_send(self, package: Package, file: DeliveryFile) -> dict[str, Any]:
        """Return what placeholders of an upload stand for, without those that need the bytes."""
        return values_of_asset(package) | values_of_file(file) | _naming(Upload.of(package, file))

    def _values(self, package: Package, upload: Upload, made: Made | None = None) -> dict[str, Any]:
        of_answer = {"id": made["id"], "url": made["url"]} if made else {}
        return values_of_asset(package) | _naming(upload) | of_answer

    # -- changes -----------------------------------------------------------------------------------------------------

    def send(self, package: Package, file: DeliveryFile, name: str) -> Made:
        data = file.read()
        values = self.values_to_send(package, file)
        if "file.md5" in self.template.upload.placeholder_names:
            values["file.md5"] = hashlib.md5(data, usedforsecurity=False).hexdigest()
        if "file.base64" in self.template.upload.placeholder_names:
            values["file.base64"] = base64.b64encode(data).decode()
        answer = self.sender.send("upload", values, Content(name, file.media_type, data))
        made = self._read(self._document(answer), self.template.upload.answer, values)
        if made is None:
            place = self.template.upload.answer.id or self.template.upload.answer.url
            message = f"The answer to “upload” ({answer.status}) has nothing at {place}. Mend “upload → answer”."
            raise DeliveryError(message, is_final=True, is_uncertain=True, status_code=answer.status)
        return {**made, "texts": uploads.digest(self.texts(package, file))}

    def remove(self, package: Package, upload: Upload, made: Made) -> None:
        self.sender.send("delete", self._values(package, upload, made))

    def texts(self, package: Package, file: DeliveryFile) -> Mapping[str, str]:
        if self.template.update is None:
            return {}
        return {"title": package.title, "alt_text": package.alt_text, "caption": package.caption}

    def describe(self, package: Package, file: DeliveryFile, made: Made) -> None:
        self.sender.send("update", self._values(package, Upload.of(package, file), made))

    # -- look-ups ----------------------------------------------------------------------------------------------------

    def find(self, package: Package, upload: Upload) -> list[Made]:
        """Return the files that match, the oldest first if ids are numbers; none if the template has no “find”."""
        if self.template.find is None:
            return []
        values, rules = self._values(package, upload), self.template.find.answer
        items = resolve(self._document(self.sender.send("find", values)), rules.items)
        items = items if isinstance(items, list) else [items]
        found = [self._read(item, rules, values) for item in items if _matches(item, rules, values)]
        if None in found:
            message = f"The answer to “find” has no {rules.id or rules.url} for a file. Mend “find → answer”."
            raise DeliveryError(message, is_final=True)
        files: list[Made] = [{**made, "texts": ""} for made in found if made is not None]
        if all(made["id"].isdecimal() for made in files):
            files.sort(key=lambda made: (len(made["id"]), made["id"]))  # as numbers, however many digits they have
        return files

    def find_uncertain(self, package: Package, upload: Upload) -> list[Made]:
        if self.template.find is None and self.template.is_exact and not self.template.upload.answer.id:
            return [self._described(upload.name, "", self._values(package, upload))]
        return self.find(package, upload)

    def is_there(self, package: Package, upload: Upload, made: Made) -> bool:
        if self.template.read is not None:
            return self.read({"id": made["id"], "url": made["url"], **_naming(upload)}) is not None
        if self.template.find is not None:
            return made["id"] in {each["id"] for each in self.find(package, upload)}
        return True

    def read(self, values: Mapping[str, Any]) -> bytes | None:
        """Return what the service answers to “read”; None if there is no such file. Raises DeliveryError."""
        if not values.get("id"):
            return None
        answer = self.sender.send("read", values)
        return None if self.sender.is_gone("read", answer) else answer.body

    # -- answers -----------------------------------------------------------------------------------------------------

    def _document(self, answer: Answer) -> Any:
        return answer.json() if answer.body else None

    def _read(self, document: Any, rules: UploadAnswer | FindAnswer, values: Mapping[str, Any]) -> Made | None:
        """Return the id and address in an answer; None if it does not have what the template says."""
        made_id = resolve(document, rules.id) if rules.id else values["file.name"]
        url = resolve(document, rules.url) if rules.url else ""
        if isinstance(made_id, bool) or not isinstance(made_id, str | int) or made_id == "":
            return None
        if not isinstance(url, str) or (rules.url and not url):
            return None
        return self._described(str(made_id), url, values)

    def _described(self, made_id: str, url: str, values: Mapping[str, Any]) -> dict[str, str]:
        address = self.template.upload.answer.address
        if address:
            url = Text(address).fill_path({**values, "id": made_id}, "upload → answer → address").lstrip("/")
        whole = urljoin(f"{self.sender.client.base_url}/", url) if url else ""
        is_secret = self.sender.hide(whole) != whole  # receipts are shown
        return {"id": made_id, "url": "" if is_secret else whole}


def _naming(upload: Upload) -> dict[str, str]:
    return {"file.name": upload.name, "file.sha256": upload.sha256}


def _matches(item: Any, rules: FindAnswer, values: Mapping[str, Any]) -> bool:
    return item is not None and all(
        str(resolve(item, pointer)) == Text(text).fill(values) for pointer, text in rules.match.items()
    )
