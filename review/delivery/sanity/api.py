"""The HTTP API of one Sanity dataset: its image assets, and its errors in words.

Written against its documentation (https://www.sanity.io/docs/http-reference), API version 2025-02-19. The id of an
image asset is made of the SHA-1 of its bytes, so a dataset has the same bytes once, whoever uploads them.
"""

from __future__ import annotations

import builtins
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.fetching import Answer, redact_text
from review.delivery import http
from review.delivery.base import DeliveryError

API_VERSION = "v2025-02-19"
SOURCE = "Proofline"
"""The name of the source of the assets that Proofline uploaded."""
MARKS = "proofline"
"""The field of an asset with a mark for each delivery that needs it."""
BY_ID = "_id == $id"
BY_HASH = '_type == "sanity.imageAsset" && sha1hash == $sha1'
BY_MARK = f'_type == "sanity.imageAsset" && ((source.name == "{SOURCE}" && source.id == $mark) || $mark in {MARKS})'
FIELDS = f'{{_id, _rev, url, source, {MARKS}, "usedBy": *[references(^._id)][0...5]._id}}'
EDITOR_HINT = "Create a token with the permission Editor (sanity.io/manage → API → Tokens), and enter it as the secret."


@dataclass(frozen=True)
class Image:
    """An image asset. marks: of the deliveries that need it. used_by: ids of documents, at most five.

    is_ours: Proofline uploaded it.
    """

    id: str
    revision: str
    url: str
    marks: Sequence[str]
    is_ours: bool
    used_by: Sequence[str]

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Image:
        source = content.get("source")
        return cls(
            str(content["_id"]),
            str(content.get("_rev") or ""),
            str(content.get("url") or ""),
            [str(mark) for mark in content.get(MARKS) or []],
            isinstance(source, dict) and source.get("name") == SOURCE,
            [str(each) for each in content.get("usedBy") or []],
        )


class SanityApi(http.JsonClient):
    """url: the address of the API; "" is the official one of the project."""

    product = "the API of Sanity"

    def __init__(self, url: str, project: str, dataset: str, token: str, *, allow_private: bool = False) -> None:
        headers = {"authorization": f"Bearer {token.strip()}"}
        super().__init__(url or f"https://{project}.api.sanity.io", allow_private=allow_private, headers=headers)
        self.dataset = dataset

    def find(self, condition: str, **values: str) -> list[Image]:
        """Return the assets that meet a condition in GROQ, the oldest first, drafts counted among their users.

        values: of the names in the condition. Raises DeliveryError.
        """
        query = {f"${name}": json.dumps(value) for name, value in values.items()}
        query |= {"query": f"*[{condition}] | order(_createdAt asc) {FIELDS}", "perspective": "raw"}
        rows = self.call("GET", f"data/query/{self.dataset}", query=query).get("result")
        return [Image.read(row) for row in rows or [] if isinstance(row, dict)]

    def image(self, image_id: str) -> Image | None:
        return next(iter(self.find(BY_ID, id=image_id)), None)

    def upload(self, name: str, media_type: str, content: builtins.bytes) -> Image:
        """Upload an image, with its name as the id of its source. Raises DeliveryError."""
        query = {"filename": name, "sourceName": SOURCE, "sourceId": name}
        headers = {"content-type": media_type}
        answer = self.call("POST", f"assets/images/{self.dataset}", query=query, body=content, headers=headers)
        document = answer.get("document")
        if not isinstance(document, dict) or not document.get("_id"):
            raise DeliveryError("Sanity did not say which document the image has.", is_uncertain=True)
        return Image.read(document)

    def change(self, image: Image, texts: Mapping[str, str], marks: Sequence[str], *, deletes: bool = False) -> bool:
        """Set texts and marks of an image, or delete it; return False if it has changed since it was read.

        Raises DeliveryError.
        """
        patch = {"id": image.id, "ifRevisionID": image.revision, "set": {**texts, MARKS: list(marks)}}
        mutations: list[dict[str, Any]] = [{"patch": patch}]
        if deletes:
            mutations.append({"delete": {"id": image.id}})
        try:
            self.mutate(mutations)
        except DeliveryError as error:
            if error.status_code == 409:
                return False
            raise
        return True

    def mutate(self, mutations: Sequence[Mapping[str, Any]], **query: str) -> None:
        """Make all of these changes, or none."""
        self.call("POST", f"data/mutate/{self.dataset}", query=query, data={"mutations": list(mutations)})

    def call(self, method: str, route: str, **request: Any) -> Any:
        return super().call(method, f"{API_VERSION}/{route}", **request)

    def _error(self, method: str, address: str, answer: Answer) -> DeliveryError:
        error = super()._error(method, address.partition("?")[0], answer)
        hints = {
            401: EDITOR_HINT,
            403: EDITOR_HINT,
            404: f"Are the project and the dataset “{self.dataset}” right?",
            413: "Sanity takes no images of this size.",
        }
        if answer.status in hints:
            error.message = redact_text(f"{error.message.rstrip('.')}. {hints[answer.status]}")
        return error
