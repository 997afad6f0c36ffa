"""The API of a Bynder portal: uploads in chunks, assets, and errors in words.

Written against its reference (https://bynder.docs.apiary.io/) and the code of its SDKs.
"""

from __future__ import annotations

import builtins
import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

from core.fetching import Answer, redact_text
from review.delivery import http
from review.delivery.base import DeliveryError

CHUNK_BYTES: Final = 5 * 1024 * 1024
CONVERSION_SECONDS: Final = 60.0
"""So long a request waits until Bynder has converted a file that was sent."""
POLL_SECONDS = 2.0
NOT_CONVERTED: Final = 303
FORM: Final = {"content-type": "application/x-www-form-urlencoded"}
LOGIN_HINT = "Create a permanent token in Bynder (Settings → Advanced settings → Portal settings → Permanent tokens)."
ROLE_HINT = "Give the profile of the token’s user this right (Settings → Users and permissions → Permission profiles)."


class BynderApi(http.Client):
    """The API of one portal. url: its address."""

    def __init__(self, url: str, token: str, *, allow_private: bool = False) -> None:
        headers = {"authorization": f"Bearer {token.strip()}"}
        super().__init__(url, allow_private=allow_private, headers=headers)

    def get(self, path: str, **query: Any) -> Any:
        """Return what the API answers; None if the thing is not there. Raises DeliveryError."""
        answer = self.send("GET", f"api/v4/{path}", query=query, accept=(404,))
        return None if answer.status == 404 else _read(answer, is_change=False)

    def asset(self, media_id: str) -> dict[str, Any] | None:
        content = self.get(f"media/{quote(media_id, safe='')}/")
        return content if isinstance(content, dict) else None

    def find_assets(self, word: str) -> Sequence[Mapping[str, Any]]:
        """Return the assets with a word among their tags, oldest first, as far as the search shows them already."""
        rows = self.get("media/", keyword=word, orderBy="dateCreated asc", limit=50)
        assets = [row for row in rows if isinstance(row, dict) and "id" in row] if isinstance(rows, list) else []
        return [row for row in assets if word in [str(tag).lower() for tag in row.get("tags") or []]]

    def upload(self, name: str, content: builtins.bytes) -> str:
        """Send the bytes of a file in chunks; return the id under which they can be saved.

        Raises DeliveryError, never as uncertain: until it is saved, a file is no asset.
        """
        try:
            return self._upload(name, content)
        except DeliveryError as error:
            error.is_uncertain = False
            raise

    def save(self, file_id: str, fields: Mapping[str, str]) -> str:
        """Make an uploaded file an asset, as soon as it is converted; return the asset's id. Raises DeliveryError."""
        until = time.monotonic() + CONVERSION_SECONDS
        while True:
            answer = self._post(f"api/v4/media/save/{quote(file_id, safe='')}/", fields, accept=(NOT_CONVERTED,))
            if answer.status != NOT_CONVERTED:
                break
            if time.monotonic() > until:
                message = f"Bynder had not converted the file after {CONVERSION_SECONDS:.0f} seconds."
                raise DeliveryError(message, retry_after_seconds=CONVERSION_SECONDS)
            time.sleep(POLL_SECONDS)
        content = _read(answer, is_change=True)
        media_id = content.get("mediaid") if isinstance(content, dict) else None
        if not isinstance(media_id, str) or not media_id:
            raise DeliveryError("Bynder answered without the id of the asset (mediaid).", is_uncertain=True)
        return media_id

    def change(self, media_id: str, fields: Mapping[str, str]) -> None:
        self._post(f"api/v4/media/{quote(media_id, safe='')}/", fields)

    def delete(self, media_id: str) -> bool:
        """Delete an asset; return whether it was there. Raises DeliveryError."""
        answer = self.send("DELETE", f"api/v4/media/{quote(media_id, safe='')}/", accept=(404,))
        return answer.status != 404

    def read_original(self, media_id: str) -> builtins.bytes | None:
        """Return the original file of an asset; None if it is gone. Raises DeliveryError."""
        content = self.get(f"media/{quote(media_id, safe='')}/download/")
        address = content.get("s3_file") if isinstance(content, dict) else None
        return self.read(str(address)) if address else None

    def _upload(self, name: str, content: builtins.bytes) -> str:
        prepared = _read(self.send("POST", "v7/file_cmds/upload/prepare", data={}), is_change=True)
        file_id = prepared.get("file_id") if isinstance(prepared, dict) else None
        if not isinstance(file_id, str) or not file_id:
            raise DeliveryError("Bynder prepared no upload: it answered without file_id.")
        route = f"v7/file_cmds/upload/{quote(file_id, safe='')}"
        chunks = [content[start : start + CHUNK_BYTES] for start in range(0, len(content), CHUNK_BYTES)]
        for number, chunk in enumerate(chunks):
            headers = {"content-sha256": hashlib.sha256(chunk).hexdigest(), "content-type": "application/octet-stream"}
            self.send("POST", f"{route}/chunk/{number}", body=chunk, headers=headers)
        fields = {
            "fileName": name, "fileSize": str(len(content)), "chunksCount": str(len(chunks)),
            "sha256": hashlib.sha256(content).hexdigest(), "intent": "upload_main_uploader_asset",
        }  # fmt: skip
        self._post(f"{route}/finalise_api", fields)
        return file_id

    def _post(self, path: str, fields: Mapping[str, str], accept: tuple[int, ...] = ()) -> Answer:
        return self.send("POST", path, body=urlencode(fields).encode(), headers=FORM, accept=accept)

    def _error(self, method: str, address: str, answer: Answer) -> DeliveryError:
        error = super()._error(method, address, answer)
        hint = {401: LOGIN_HINT, 403: ROLE_HINT}.get(answer.status)
        if hint:
            error.message = redact_text(f"{error.message.rstrip('.')}. {hint}")
        return error


def _read(answer: Answer, *, is_change: bool) -> Any:
    content = answer.json()
    if not isinstance(content, dict | list):
        message = "The address answered something else than JSON: is it the address of a Bynder portal?"
        raise DeliveryError(message, is_uncertain=is_change, status_code=answer.status)
    return content
