"""The REST API of Strapi 5: its media library, entries of one content type, and its errors in words.

Written against Strapi 5.54 (https://docs.strapi.io/cms/api/rest/upload).
"""

from __future__ import annotations

import builtins
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.fetching import Answer, redact_address
from review.delivery import http
from review.delivery.base import DeliveryError
from review.delivery.media_library import Media

FILES = "api/upload/files"
NOBODY = 2_147_483_647  # the number of a file that no site has
NO_ENTRY = "0" * 24  # the document ID of an entry that no site has
LOGIN_HINT = "Create an API token in Strapi (Settings → API Tokens) and enter it as the secret."
RIGHTS_HINT = "Give the API token this permission in Strapi (Settings → API Tokens)."
SIZE_HINT = (
    "Strapi takes no files of this size: raise sizeLimit of its upload plug-in, and the limit of its web server."
)


@dataclass(frozen=True)
class StoredFile(Media):
    """A file of the media library. kilobytes: its size as Strapi lists it, of 1,000 bytes."""

    kilobytes: float = 0.0


class StrapiSite(http.JsonClient):
    """The API of one Strapi. url: without "/api"."""

    product = "the address of Strapi"
    answers = (dict, list)

    def __init__(self, url: str, token: str, *, allow_private: bool = False) -> None:
        super().__init__(url, allow_private=allow_private, headers={"authorization": f"Bearer {token.strip()}"})

    # -- files -------------------------------------------------------------------------------------------------------

    def upload(self, name: str, media_type: str, content: builtins.bytes, texts: Mapping[str, str]) -> Media:
        """Add a file. texts: "alternativeText", "caption"."""
        fields = {"fileInfo": json.dumps({"name": name, **texts})}
        body, content_type = http.multipart(fields, "files", name, media_type, content)
        answer = self.call("POST", "api/upload", body=body, headers={"content-type": content_type})
        return self._read_file(answer[0] if isinstance(answer, list) else answer)

    def media(self, media_id: int) -> Media | None:
        content = self.get(f"{FILES}/{media_id}")
        return self._read_file(content) if content else None

    def search_files(self, ending: str) -> list[Media]:
        """Return the files whose names have this ending before their extensions, oldest first."""
        contents = self.call("GET", FILES, query={"filters[name][$contains]": f"-{ending}."})
        pattern = re.compile("-" + re.escape(ending) + r"\.\w+$")
        found = [self._read_file(content) for content in contents if pattern.search(str(content["name"]))]
        return sorted(found, key=lambda file: file.id)

    def set_texts(self, media_id: int, texts: Mapping[str, str]) -> None:
        self.call("POST", "api/upload", query={"id": media_id}, data={"fileInfo": dict(texts)})

    def delete_media(self, media_id: int) -> None:
        """Delete a file, with its smaller formats and its places in entries; one that is gone is no error."""
        self.send("DELETE", f"{FILES}/{media_id}", accept=(404,))

    def _read_file(self, content: Mapping[str, Any]) -> Media:
        """Return a file as the API describes it. Files on Strapi's own disk have addresses without a host."""
        url = str(content["url"])
        address = self.base_url + url if url.startswith("/") else url
        return StoredFile(int(content["id"]), address, address, kilobytes=float(content.get("size") or 0))

    # -- rights and errors -------------------------------------------------------------------------------------------

    def find_missing_rights(self) -> list[str]:
        """Return what the API token may not do with files, as sentences. Nothing that exists is asked for or sent.

        Raises DeliveryError if there is no Strapi at the address, or it does not know the token.
        """
        found = self._try("GET", FILES, query={"filters[id][$eq]": NOBODY})
        if found == 404:
            where = redact_address(self.base_url)
            raise DeliveryError(f"There is no Strapi 5 at {where}: enter its address without /api.", is_final=True)
        statuses = {
            "find": found,
            "findOne": self._try("GET", f"{FILES}/{NOBODY}"),
            "upload": self._try("POST", "api/upload", data={}),  # without a file, which Strapi refuses
            "destroy": self._try("DELETE", f"{FILES}/{NOBODY}"),
        }
        missing = [right for right, status in statuses.items() if status == 403]
        return [f"The API token lacks the permission “{right}” of Upload. {RIGHTS_HINT}" for right in missing]

    def find_entry_problems(self, entries: str, field: str) -> list[str]:
        """Return why entries of a content type cannot be found or changed, as sentences. Changes nothing."""
        query = {"populate": field, "status": "draft", "pagination[pageSize]": 1}
        found = self._try("GET", f"api/{entries}", query=query)
        if found == 404:
            return [f"Strapi has no content type with the plural API ID {entries}."]
        if found == 400:
            return [f"The entries of {entries} have no media field {field}."]
        statuses = {
            "find": found,
            "findOne": self._try("GET", f"api/{entries}/{NO_ENTRY}"),
            "update": self._try("PUT", f"api/{entries}/{NO_ENTRY}", data={"data": {}}),
        }
        return [
            f"The API token lacks the permission “{right}” of {entries}. {RIGHTS_HINT}"
            for right, status in statuses.items()
            if status == 403
        ]

    def _try(self, method: str, route: str, **request: Any) -> int:
        """Return the status of a request that changes nothing."""
        return self.send(method, route, accept=(400, 403, 404), **request).status

    def _error(self, method: str, address: str, answer: Answer) -> DeliveryError:
        error = super()._error(method, address, answer)
        hints = {401: LOGIN_HINT, 403: RIGHTS_HINT, 413: SIZE_HINT}
        if hint := hints.get(answer.status):
            error.message = f"{error.message.rstrip('.')}. {hint}"[:500]
            error.args = (error.message,)
        return error
