"""The Content Management API of one Contentful environment: its assets, and its errors in words.

Written against its documentation (https://www.contentful.com/developers/docs/references/content-management-api/).
"""

from __future__ import annotations

import builtins
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote, urljoin

from core import fetching
from core.fetching import Answer, redact_address, redact_text
from review.delivery import http
from review.delivery.base import DeliveryError, Limiter

MEDIA_TYPE = "application/vnd.contentful.management.v1+json"
MOST_USERS = 5
"""So many entries are named that link to an asset."""
LOGIN_HINT = "Create a personal access token (Settings → CMA tokens) of a user who may create and publish assets."


@dataclass(frozen=True)
class Asset:
    """An asset. version: of the draft. published_version: 0 if it is not published. fields: {name: {locale: value}}."""

    id: str
    version: int
    published_version: int
    updated_at: datetime | None
    fields: Mapping[str, Any]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Asset:
        sys = content["sys"]
        return cls(
            str(sys["id"]),
            int(sys["version"]),
            int(sys.get("publishedVersion") or 0),
            _read_time(str(sys.get("updatedAt") or "")),
            content.get("fields") or {},
            content.get("metadata") or {},
        )

    @property
    def is_published(self) -> bool:
        """Return whether visitors have the newest version; publishing itself makes one more."""
        return self.published_version > 0 and self.version <= self.published_version + 1

    def file(self, locale: str) -> Mapping[str, Any]:
        """Return what is known of the file: "url" once it is processed, before that "uploadFrom"."""
        file: Mapping[str, Any] = (self.fields.get("file") or {}).get(locale) or {}
        return file


class ContentfulApi(http.Client):
    """url, upload_url: the addresses of the API and of its uploads. limiter: if set, each request takes a point."""

    limiter: Limiter | None = None

    def __init__(
        self, url: str, upload_url: str, space: str, environment: str, token: str, *, allow_private: bool = False
    ) -> None:
        place = f"spaces/{quote(space, safe='')}/environments/{quote(environment, safe='')}"
        headers = {"authorization": f"Bearer {token.strip()}"}
        super().__init__(f"{url.rstrip('/')}/{place}", allow_private=allow_private, headers=headers)
        self.upload_address = f"{upload_url.rstrip('/')}/{place}/uploads"

    def validate(self) -> list[str]:
        problems = super().validate()
        try:
            fetching.parse(self.upload_address, self.policy)
        except fetching.Refused as refusal:
            problems.append(f"upload_url: {refusal.message}")
        return problems

    # -- assets ------------------------------------------------------------------------------------------------------

    def asset(self, asset_id: str) -> Asset | None:
        """Return an asset; None if the environment has none with this id. Raises DeliveryError."""
        answer = self._send("GET", f"assets/{asset_id}", accept=(404,))
        if answer.status == 404:
            if missing_kind(answer) not in {"", "Asset"}:
                raise self._error("GET", f"{self.base_url}/assets/{asset_id}", answer)
            return None
        return Asset.read(self._read(answer))

    def upload(self, content: builtins.bytes) -> str:
        """Upload bytes, which Contentful forgets after a day unless an asset takes them; return their id."""
        headers = {"content-type": "application/octet-stream"}
        try:
            answer = self._send("POST", self.upload_address, body=content, headers=headers)
            return str(self._read(answer)["sys"]["id"])
        except DeliveryError as error:
            error.is_uncertain = False
            raise

    def save(self, asset_id: str, content: Mapping[str, Any], version: int = 0) -> bool:
        """Create an asset, or change that with this version as a whole; return False if it has another version."""
        headers = {"content-type": MEDIA_TYPE}
        return self._change("PUT", f"assets/{asset_id}", version, body=json.dumps(content).encode(), headers=headers)

    def process(self, asset: Asset, locale: str) -> bool:
        """Have the upload of an asset made its file, which takes a while after the answer."""
        return self._change("PUT", f"assets/{asset.id}/files/{quote(locale)}/process", asset.version)

    def publish(self, asset: Asset) -> bool:
        return self._change("PUT", f"assets/{asset.id}/published", asset.version)

    def unpublish(self, asset: Asset) -> bool:
        return self._change("DELETE", f"assets/{asset.id}/published", asset.version)

    def delete(self, asset: Asset) -> bool:
        return self._change("DELETE", f"assets/{asset.id}", asset.version)

    def users(self, asset_id: str) -> list[str]:
        """Return the ids of entries that link to an asset, at most MOST_USERS."""
        query = {"links_to_asset": asset_id, "limit": MOST_USERS, "select": "sys.id"}
        answer = self._read(self._send("GET", "entries", query=query))
        return [str(entry["sys"]["id"]) for entry in answer.get("items") or []]

    def locales(self) -> list[str]:
        answer = self._read(self._send("GET", "locales", query={"limit": 1000}))
        return [str(locale["code"]) for locale in answer.get("items") or []]

    def read_file(self, file: Mapping[str, Any]) -> builtins.bytes | None:
        address = self.address(file)
        return self.read(address) if address else None

    def address(self, file: Mapping[str, Any]) -> str:
        """Return where a processed file is served; Contentful leaves the scheme out."""
        return urljoin(self.base_url, str(file["url"])) if file.get("url") else ""

    # -- requests ----------------------------------------------------------------------------------------------------

    def _change(self, method: str, path: str, version: int, **request: Any) -> bool:
        """Make a change; return False if the asset has another version meanwhile, or is gone."""
        headers = {**request.pop("headers", {}), **({"x-contentful-version": str(version)} if version else {})}
        answer = self._send(method, path, headers=headers, accept=(404, 409), **request)
        if answer.status == 404 and missing_kind(answer) not in {"", "Asset"}:
            raise self._error(method, f"{self.base_url}/{path}", answer)
        return answer.status < 400

    def _send(self, method: str, path: str, **request: Any) -> Answer:
        if self.limiter is not None:
            self.limiter.wait(1)
        return self.send(method, path, **request)

    def _read(self, answer: Answer) -> dict[str, Any]:
        content = answer.json()
        if not isinstance(content, dict) or not isinstance(content.get("sys"), dict):
            message = f"{redact_address(self.base_url)} answered something else than a resource: is it Contentful?"
            raise DeliveryError(message, status_code=answer.status)
        return content

    def _error(self, method: str, address: str, answer: Answer) -> DeliveryError:
        error = super()._error(method, address, answer)
        hints = {
            401: LOGIN_HINT,
            403: LOGIN_HINT,
            404: "Are space and environment right, and may the user of the token see them?",
            422: describe_details(answer),
        }
        if hint := hints.get(answer.status):
            error.message = redact_text(f"{error.message.rstrip('.')}. {hint}")[:500]
        reset = answer.headers.get("x-contentful-ratelimit-reset", "")
        if answer.status == 429 and reset.isdecimal():
            error.retry_after_seconds = max(float(reset), 1.0)
        return error


def missing_kind(answer: Answer) -> str:
    """Return what a 404 says is not there, such as "Asset" or "Environment"; empty if it does not say."""
    content = answer.json()
    details = content.get("details") if isinstance(content, dict) else None
    return str(details.get("type") or "") if isinstance(details, dict) else ""


def describe_details(answer: Answer) -> str:
    """Return the errors of a ValidationFailed as a sentence, such as "required: fields.file.en-US"."""
    content = answer.json()
    details = content.get("details") if isinstance(content, dict) else None
    errors = details.get("errors") if isinstance(details, dict) else details
    if isinstance(errors, str):
        return errors
    if not isinstance(errors, list):
        return ""
    words = [
        f"{each.get('name')}: {'.'.join(map(str, each.get('path') or []))}" for each in errors if isinstance(each, dict)
    ]
    return "; ".join(words) + "." if words else ""


def _read_time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
