"""The destination "resourcespace": each file a resource of the DAM, with title, alternative text and keywords.

One of the keywords is a marker with the asset's number and the file's hash, by which a resource is found again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from core.plugin_config import Config, setting
from review.delivery import uploads
from review.delivery.base import DeliveryError, DeliveryFile, Journal, Package, Receipt, Session
from review.delivery.marks_advice import MarksAdvice
from review.delivery.names import plain_keyword
from review.delivery.resourcespace.api import ResourceSpaceApi
from review.delivery.uploads import Made, Upload, UploadingDestination, Uploads, marker_of

SEARCHED_STATES = (-2, -1, 0, 1, 2)


class ResourceSpaceConfig(Config):
    url: str = setting("Address of ResourceSpace", needed="Give it.", example="https://dam.example.com")
    resource_type: int = setting("Resource type", "Its number; 1 is Photo.", default=1, minimum=1)
    archive: int = setting(
        "State of new resources",
        "-2 pending submission, -1 pending review, 0 active, or a state of your own.",
        default=-2, minimum=-2, maximum=1000,
    )  # fmt: skip
    title_field: int = setting("Field of the title", "Its number; 0: none.", default=8, minimum=0)
    alt_field: int = setting(
        "Field of the alternative text", "18 is Caption; newer installations have 86, Alt Text. 0: none.",
        default=18, minimum=0,
    )  # fmt: skip
    keywords_field: int = setting(
        "Field of the keywords", "It must be indexed: files are found by a keyword in it.", default=1, minimum=1
    )
    purge: bool = setting(
        "Delete for good",
        "Else recalled and replaced files stay in ResourceSpace’s bin, which only administrators see.",
        default=False,
    )
    allow_private: bool = setting(
        "Allow private addresses", "If the operator allows them for this server.", default=False, is_advanced=True
    )


class Resources(Uploads):
    """The resources of one delivery. Each upload is a resource and, in a second step, its file ("bytes:…")."""

    def __init__(self, api: ResourceSpaceApi, given: ResourceSpaceConfig) -> None:
        self.api, self.given = api, given

    def put(self, package: Package, file: DeliveryFile, journal: Journal) -> Made:
        made = super().put(package, file, journal)
        upload, ref = Upload.of(package, file), int(made["id"])
        key = f"{upload.key.replace('file:', 'bytes:', 1)}:{ref}"
        send = partial(self._attach, ref, upload.name, file)
        journal.once(key, send, partial(self._find_bytes, ref, file.sha256))
        return made

    def send(self, package: Package, file: DeliveryFile, name: str) -> Made:
        fields = self._fields(package, Upload.of(package, file))
        answer = self.api.change(
            "create_resource", self.given.resource_type, self.given.archive, "", 1, 0, 0, json.dumps(fields)
        )
        if isinstance(answer, bool) or not isinstance(answer, int):
            message = (
                f"ResourceSpace created no resource of type {self.given.resource_type} in the state "
                f"{self.given.archive}: the connection test says what the user {self.api.user} may not do."
            )
            raise DeliveryError(message, is_final=True)
        return {**self._describe(answer), "texts": uploads.digest(self.texts(package, file))}

    def find(self, package: Package, upload: Upload) -> list[Made]:
        marker = marker_of(package, upload)
        states = ",".join(str(state) for state in dict.fromkeys((*SEARCHED_STATES, self.given.archive)))
        rows = self.api.ask("do_search", marker, "", "resourceid", states, 20, "asc")
        refs = [int(row["ref"]) for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
        found: list[Made] = [self._describe(ref) for ref in refs if self._has_marker(ref, marker)]
        if not found and not self.api.has_permission("s"):
            message = f"The user {self.api.user} may not search, so files cannot be looked up: give its group “s”."
            raise DeliveryError(message, is_final=True)
        return found

    def is_there(self, package: Package, upload: Upload, made: Made) -> bool:
        return self.api.resource(int(made["id"])) is not None

    def remove(self, package: Package, upload: Upload, made: Made) -> None:
        ref = int(made["id"])
        if self.api.resource(ref) is not None and self.api.change("delete_resource", ref) is not True:
            message = f"ResourceSpace did not delete resource {ref}: may the user {self.api.user} edit and delete it?"
            raise DeliveryError(message, is_final=True)
        if self.given.purge:
            self._purge(ref)

    def texts(self, package: Package, file: DeliveryFile) -> Mapping[str, str]:
        given = {self.given.title_field: package.title or package.sku, self.given.alt_field: package.alt_text}
        return {str(field): text for field, text in given.items() if field}

    def describe(self, package: Package, file: DeliveryFile, made: Made) -> None:
        for field, text in self.texts(package, file).items():
            if self.api.change("update_field", made["id"], field, text) is not True:
                message = (
                    f"ResourceSpace did not change field {field} of resource {made['id']}: may {self.api.user} edit it?"
                )
                raise DeliveryError(message, is_final=True)

    def warn(self, package: Package, made: Made, file: DeliveryFile) -> list[str]:
        """Return what ResourceSpace did not keep, or does not find, as sentences."""
        upload = Upload.of(package, file)
        kept = {str(row["ref"]): str(row.get("value") or "") for row in self._read_fields(int(made["id"]))}
        sent = {**self.texts(package, file), str(self.given.keywords_field): marker_of(package, upload)}
        lost = [field for field, text in sent.items() if text not in kept.get(field, "")]
        sentences = [
            f"Field {field} of resource {made['id']} does not have its text: has resource type "
            f"{self.given.resource_type} this field, and may {self.api.user} see and edit it?"
            for field in lost
        ]
        if not lost and not self.find(package, upload):
            sentences.append(
                f"ResourceSpace does not find its file by the marker in field {self.given.keywords_field}: index this "
                "field, else a delivery whose answer is lost may arrive twice."
            )
        return sentences

    def _purge(self, ref: int) -> None:
        """Delete a resource in the bin for good. Without “e3” the user does not see whether one is there."""
        is_binned = self.api.is_binned(ref)
        if (is_binned and self.api.change("delete_resource", ref) is not True) or not self.api.has_permission("e3"):
            message = (
                f"Resource {ref} may be in ResourceSpace’s bin, where the user {self.api.user} may not delete it: give "
                "its group “e3”, or switch “Delete for good” off."
            )
            raise DeliveryError(message, is_final=True)

    def _fields(self, package: Package, upload: Upload) -> dict[str, str]:
        words = (marker_of(package, upload), package.sku, package.brand, package.campaign)
        keywords = {str(self.given.keywords_field): ",".join(plain_keyword(word) for word in words)}
        texts = {str(self.given.title_field): package.title or package.sku, str(self.given.alt_field): package.alt_text}
        return {field: text for field, text in {**texts, **keywords}.items() if field != "0"}

    def _describe(self, ref: int) -> dict[str, str]:
        return {"id": str(ref), "url": f"{self.api.base_url}/?r={ref}", "texts": ""}

    def _read_fields(self, ref: int) -> Sequence[Mapping[str, Any]]:
        rows = self.api.ask("get_resource_field_data", ref)
        return [row for row in rows if isinstance(row, dict) and "ref" in row] if isinstance(rows, list) else []

    def _has_marker(self, ref: int, marker: str) -> bool:
        return any(marker in str(row.get("value") or "") for row in self._read_fields(ref))

    def _attach(self, ref: int, name: str, file: DeliveryFile) -> dict[str, Any]:
        self.api.upload(ref, name, file.media_type, file.read())
        return {}

    def _find_bytes(self, ref: int, sha256: str) -> dict[str, Any] | None:
        content = self.api.read_file(ref)
        return {} if content is not None and hashlib.sha256(content).hexdigest() == sha256 else None


class ResourceSpace(UploadingDestination):
    kind = "resourcespace"
    label = "ResourceSpace"
    description = "Resources with metadata and alternative text in a ResourceSpace DAM."
    config = ResourceSpaceConfig
    receiver_settings = ("url",)
    credentials_hint = "User name, colon, private key of that user, as the API test tool shows it: “proofline:3eab…”."
    marks_advice = MarksAdvice(
        "A delivery is compared with the original. ResourceSpace makes the previews and smaller sizes, and may"
        " save them without the marks.",
        "Publish the original where the marks are needed, and drop a smaller size on “Verify an image” to see"
        " what it has kept.",
    )
    uploads: Resources

    def __init__(self, config: Mapping[str, Any], secret: str) -> None:
        self.given = ResourceSpaceConfig.read(config)
        self.api = ResourceSpaceApi(self.given.url, secret, allow_private=self.given.allow_private)
        self.uploads = Resources(self.api, self.given)

    def validate(self) -> list[str]:
        problems = self.api.validate()
        if not self.api.user or not self.api.key:
            problems.append(f"secret: expected user name and private key. {self.credentials_hint}")
        return problems

    def test_connection(self, session: Session) -> list[str]:
        try:
            return list(self._find_missing_permissions())
        except DeliveryError as error:
            return [error.message]

    def plan_upload(self, name: str, file: DeliveryFile) -> str:
        where = f"type {self.given.resource_type}, state {self.given.archive}"
        return f"Create a resource ({where}) with {name} ({file.width} × {file.height} px)."

    def plan_removal(self, name: str) -> str:
        return f"Delete the earlier resource with {name}."

    def push(self, package: Package, session: Session) -> Receipt:
        receipt = super().push(package, session)
        made = zip(receipt.files, package.files, strict=True)
        warnings = [sentence for entry, file in made for sentence in self.uploads.warn(package, entry, file)]
        return Receipt(files=receipt.files, message=" ".join(warnings))

    def recall(self, package: Package, session: Session) -> Receipt:
        receipt = super().recall(package, session)
        where = "" if self.given.purge else " (they may be in ResourceSpace’s bin)"
        return Receipt(message=receipt.message + where)

    def read_delivered(self, file: Mapping[str, str]) -> bytes | None:
        return self.api.read_file(int(file["id"])) if file.get("id") else None

    def _find_missing_permissions(self) -> list[str]:
        has, given, user = self.api.has_permission, self.given, self.api.user
        known = {str(row["ref"]): str(row.get("name") or "") for row in self.api.ask("get_resource_types") or []}
        fields = [field for field in (given.title_field, given.alt_field, given.keywords_field) if field]
        hidden = [field for field in fields if has(f"f-{field}") or not (has("f*") or has(f"f{field}"))]
        fixed = [field for field in fields if has(f"F{field}") or (has("F*") and not has(f"F-{field}"))]
        listed = ", ".join(f"{ref} {name}" for ref, name in known.items())
        problems = {
            f"There is no resource type {given.resource_type}; there are {listed}.": str(given.resource_type)
            not in known,
            f"The user {user} may not search, so files could not be looked up: give its group “s”.": not has("s"),
            f"The user {user} may not create resources: give its group “c” or “d”.": not (has("c") or has("d")),
            f"The user {user} may not create resources of type {given.resource_type}: take “XU{given.resource_type}” "
            "from its group.": has(f"XU{given.resource_type}"),
            f"The user {user} may not use the state {given.archive}: give its group “e{given.archive}”.": not has(
                f"e{given.archive}"
            ),
            f"The user {user} may not delete, so nothing could be recalled: take “D” from its group.": has("D"),
            f"The user {user} may not delete for good: give its group “e3”.": given.purge and not has("e3"),
            f"The user {user} may not add keywords to field {given.keywords_field}: take “bdk{given.keywords_field}” "
            "from its group.": has(f"bdk{given.keywords_field}"),
        }
        sentences = [sentence for sentence, is_missing in problems.items() if is_missing]
        sentences += [f"The user {user} may not see field {field}: give its group “f{field}”." for field in hidden]
        return sentences + [f"The user {user} may not edit field {field}: take “F{field}” away." for field in fixed]
