"""The public address of a hot folder's files, and the purge of a cache (CDN) in front of it by an HTTP template."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Literal
from urllib.parse import quote

from pydantic import field_validator

from core import fetching
from core.plugin_config import Config, setting
from review.delivery import http
from review.delivery.base import DeliveryError

IS_ABSENT = frozenset({404, 410})
"""Answers to the methods PURGE and DELETE that say that the cache does not have the file."""
_PURGE_ADDRESS = re.compile(r"$|\{url\}|[A-Za-z]+://[^/?#{}]+([/?#]|$)")
"""Addresses whose host may get the secret: it is written out, or it is the one that serves the files."""
_HEADER = re.compile(r"([A-Za-z0-9-]+):([\x20-\x7e]+)")


class ServedConfig(Config):
    """The settings that hot folders of all kinds share."""

    public_url: str = setting(
        "Address at which the files are served", "Files are then verified there, and recalls proven.", default="",
        example="https://cdn.example.com/images",
    )  # fmt: skip
    purge_url: str = setting(
        "Address of the purge",
        "It is called for each file that was replaced or removed. {url} and {path} stand for the file.",
        default="",
        example="https://api.example.com/purge?url={url}",
        is_advanced=True,
    )
    purge_method: Literal["POST", "PUT", "GET", "DELETE", "PURGE"] = setting(
        "Method of the purge", default="POST", is_advanced=True
    )
    purge_header: str = setting(
        "Header of the purge",
        "{secret} stands for the secret.",
        default="",
        example="Authorization: Bearer {secret}",
        is_advanced=True,
    )
    purge_body: str = setting(
        "Body of the purge", "With {url} or {path}; JSON, if it begins with { or [.", default="",
        example='{"files": ["{url}"]}', is_advanced=True,
    )  # fmt: skip
    allow_private: bool = setting(
        "Allow private addresses",
        "Of files and purge, if the operator allows them for this server.",
        default=False,
        is_advanced=True,
    )

    @field_validator("purge_header")
    @classmethod
    def _ensure_header(cls, text: str) -> str:
        match = _HEADER.fullmatch(text)
        if text and not (match and match[2].strip()):
            raise ValueError("Give a name, a colon and a value, such as Authorization: Bearer {secret}.")
        return text


class Cdn:
    """The public server of a hot folder's files, and its cache. secret: of the purge."""

    def __init__(self, given: ServedConfig, secret: str) -> None:
        self.given, self.secret = given, secret
        self.base_url = given.public_url.rstrip("/")
        self.policy = http.policy(allow_private=given.allow_private)
        self.client = http.Client("", allow_private=given.allow_private)

    @property
    def is_purged(self) -> bool:
        return bool(self.given.purge_url)

    def validate(self) -> list[str]:
        given, problems = self.given, list[str]()
        purge = self._fill(given.purge_url, f"{self.base_url or 'https://example.com'}/x", "x")
        addresses = {"public_url": self.base_url, "purge_url": purge}
        for name, address in addresses.items():
            try:
                if address:
                    fetching.parse(address, self.policy)
            except fetching.Refused as refusal:
                problems.append(f"{name}: {refusal.message}")
        if not _PURGE_ADDRESS.match(given.purge_url):
            problems.append(
                "purge_url: begin it with a host without placeholders, such as https://api.example.com/purge, or with "
                "{url} for the address of the file itself."
            )
        if "{url}" in given.purge_url + given.purge_body and not self.base_url:
            problems.append("public_url: needed, because the purge names the {url} of each file.")
        if "{secret}" in given.purge_header and not self.secret:
            problems.append("secret: expected the secret for the header of the purge.")
        return problems

    def url(self, path: str) -> str:
        """Return the address of a file; empty if nobody said where the files are served."""
        return f"{self.base_url}/{quote(path)}" if self.base_url else ""

    def read(self, url: str) -> bytes | None:
        """Return what everybody gets at an address; None if nothing is there. Raises DeliveryError."""
        return http.read_served(url, self.policy)

    def purge(self, paths: Iterable[str]) -> None:
        """Ask the cache to forget the files; safe to repeat. Raises DeliveryError, which is not final."""
        if self.is_purged:
            for path in dict.fromkeys(paths):
                self._purge(path)

    def _purge(self, path: str) -> None:
        given, url = self.given, self.url(path)
        headers = {"content-type": "application/json"} if given.purge_body.lstrip().startswith(("{", "[")) else {}
        if match := _HEADER.fullmatch(given.purge_header):
            headers[match[1].lower()] = match[2].strip().replace("{secret}", self.secret)
        body = given.purge_body.replace("{url}", _escape(url)).replace("{path}", _escape(path)).encode()
        try:
            self.client.send(given.purge_method, self._fill(given.purge_url, url, path), body=body, headers=headers)
        except DeliveryError as error:
            if given.purge_method in {"PURGE", "DELETE"} and error.status_code in IS_ABSENT:
                return
            words = error.message.replace(self.secret, "…") if self.secret else error.message
            raise DeliveryError(
                f"The cache could not be told to forget {path}: {words}",
                status_code=error.status_code,
                retry_after_seconds=error.retry_after_seconds,
            ) from None

    def _fill(self, template: str, url: str, path: str) -> str:
        """Return the address of the purge; what is put in after its "?" is encoded."""
        front, question, query = template.partition("?")
        front = front.replace("{url}", url).replace("{path}", quote(path))
        return front + question + query.replace("{url}", quote(url, safe="")).replace("{path}", quote(path, safe=""))


def _escape(text: str) -> str:
    """Return a text as it may stand between the quotation marks of JSON."""
    return json.dumps(text)[1:-1]
