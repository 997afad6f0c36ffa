"""The API of a ResourceSpace: signed requests, its answers and errors in words.

Written against its documentation (https://www.resourcespace.com/knowledge-base/api/) and the source of release 10.
"""

from __future__ import annotations

import builtins
import hashlib
from typing import Any
from urllib.parse import urlencode

from core.fetching import Answer, redact_text
from review.delivery import http
from review.delivery.base import DeliveryError

IN_BIN = 3
"""The archive state of deleted resources, unless the installation has none."""
KEY_HINT = "Enter the user name, a colon and the private key of that user (API test tool, at the top of the page)."
OFF_HINT = "The API may be off: an administrator sets $enable_remote_apis = true, and gives the user access."


class ResourceSpaceApi(http.Client):
    """secret: "user name:private key"."""

    def __init__(self, url: str, secret: str, *, allow_private: bool = False) -> None:
        user, _colon, key = secret.partition(":")
        super().__init__(url, allow_private=allow_private)
        self.user, self.key = user.strip(), key.strip()

    def ask(self, function: str, *parameters: str | int) -> Any:
        """Return what a function that changes nothing answers. Raises DeliveryError."""
        query, sign = self._sign(function, parameters)
        return self._read(function, self.send("GET", f"api/?{query}&sign={sign}"))

    def change(self, function: str, *parameters: str | int) -> Any:
        """Return what a function answers that changes something: False if it was refused. Raises DeliveryError."""
        query, sign = self._sign(function, parameters)
        body = urlencode({"user": self.user, "query": query, "sign": sign}).encode()
        headers = {"content-type": "application/x-www-form-urlencoded"}
        return self._read(function, self.send("POST", "api/", body=body, headers=headers))

    def upload(self, ref: int, name: str, media_type: str, content: builtins.bytes) -> None:
        """Make a file the file of a resource, in place of the one that it has. Raises DeliveryError."""
        query, sign = self._sign("upload_multipart", (ref, 1, 0))  # its metadata does not overwrite the fields
        fields = {"user": self.user, "query": query, "sign": sign}
        body, content_type = http.multipart(fields, "file", name, media_type, content)
        answer = self.send("POST", "api/", body=body, headers={"content-type": content_type})
        if answer.status != 204:
            self._read("upload_multipart", answer)
            words = http.describe_problem(answer) or f"it answered {answer.status}"
            raise DeliveryError(f"ResourceSpace did not take the file: {words}.", is_final=True)

    def resource(self, ref: int) -> dict[str, Any] | None:
        """Return a resource with its columns; None if there is none that the user may see, or if it is in the bin."""
        content = self.ask("get_resource_data", ref)
        return content if isinstance(content, dict) and int(content.get("archive") or 0) != IN_BIN else None

    def is_binned(self, ref: int) -> bool:
        content = self.ask("get_resource_data", ref)
        return isinstance(content, dict) and int(content.get("archive") or 0) == IN_BIN

    def read_file(self, ref: int) -> builtins.bytes | None:
        """Return the original file of a resource; None if the resource or its file is gone. Raises DeliveryError."""
        resource = self.resource(ref)
        extension = str((resource or {}).get("file_extension") or "")
        if not extension:
            return None
        address = self.ask("get_resource_path", ref, "", "", "", extension)
        if not isinstance(address, str) or not address:
            raise DeliveryError(f"The user {self.user} may not download resource {ref}: give its group access to it.")
        return self.read(address)

    def has_permission(self, name: str) -> bool:
        return self.ask("checkperm", name) is True

    def _sign(self, function: str, parameters: tuple[str | int, ...]) -> tuple[str, str]:
        given = {f"param{number}": value for number, value in enumerate(parameters, start=1)}
        query = urlencode({"user": self.user, "function": function, **given})
        return query, hashlib.sha256((self.key + query).encode()).hexdigest()

    def _read(self, function: str, answer: Answer) -> Any:
        if not answer.body.strip():
            raise DeliveryError(f"This ResourceSpace has no function {function}: update it.", is_final=True)
        content = answer.json()
        if content is None and answer.body.strip() != b"null":
            message = "The address answered something else than JSON: is it the address of a ResourceSpace?"
            raise DeliveryError(message, is_final=True, is_uncertain=function in CHANGES, status_code=answer.status)
        return content

    def _error(self, method: str, address: str, answer: Answer) -> DeliveryError:
        error = super()._error(method, address, answer)
        words = answer.body[:100].decode(errors="replace").strip()
        hints = {
            401: f"{words or 'Not logged in'}. {KEY_HINT}", 403: OFF_HINT,
            413: "Raise upload_max_filesize and post_max_size of PHP, and the limit of the web server.",
        }  # fmt: skip
        if answer.status in hints:
            error.message = redact_text(f"{error.message.rstrip('.')}. {hints[answer.status]}")
        return error


CHANGES = frozenset({"create_resource", "update_field", "delete_resource", "upload_multipart"})
