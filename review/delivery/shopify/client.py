"""Calls to a Shopify shop: tokens, costs, throttling, errors."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from review.delivery import http
from review.delivery.base import DeliveryError, Limiter
from review.delivery.shopify.operations import API_VERSION, COSTS

TOKEN_MARGIN_SECONDS = 300
"""A token is renewed so long before it expires."""
MAX_THROTTLED = 5
_tokens: dict[tuple[str, str, str], tuple[str, float]] = {}
_guard = threading.Lock()


class ShopClient:
    """The Admin GraphQL API of one shop.

    secret: an access token ("shpat_…"), or, with a `client_id`, the client secret of an app of the Dev Dashboard, for
    which the shop gives tokens that live 24 hours (client credentials grant).
    """

    def __init__(self, url: str, client_id: str, secret: str, *, allow_private: bool = False) -> None:
        self.http = http.Client(url, allow_private=allow_private)
        self.storage = http.Client("", allow_private=allow_private)  # uploads must not carry the shop's token
        self.client_id, self.secret = client_id, secret

    def run(self, operation: str, limiter: Limiter, *, result: str = "", **variables: Any) -> Any:
        """Send one operation and return its data, or the part named `result` without user errors.

        Raises DeliveryError: with is_uncertain if a mutation may have been made.
        """
        is_mutation = operation.lstrip().startswith("mutation")
        for _attempt in range(MAX_THROTTLED):
            limiter.wait(COSTS[operation])
            answer = self._post(operation, variables, is_mutation=is_mutation)
            cost = (answer.get("extensions") or {}).get("cost") or {}
            status = cost.get("throttleStatus") or {}
            if status:
                limiter.report(
                    available=float(status["currentlyAvailable"]),
                    maximum=float(status["maximumAvailable"]),
                    per_second=float(status["restoreRate"]),
                )
            if actual := cost.get("requestedQueryCost"):
                COSTS[operation] = max(COSTS[operation], int(actual))
            if not _is_throttled(answer):
                return _read(answer, result)
            if not status:
                time.sleep(1)
        raise DeliveryError("The shop’s rate limit is used up by others.", retry_after_seconds=30)

    def upload(self, target: Mapping[str, Any], name: str, media_type: str, content: bytes) -> None:
        """Send the file's bytes to a staged upload target (POST). It is in no shop yet, so it may be repeated."""
        fields = {parameter["name"]: parameter["value"] for parameter in target["parameters"]}
        body, content_type = http.multipart(fields, "file", name, media_type, content)
        try:
            self.storage.send("POST", target["url"], body=body, headers={"content-type": content_type})
        except DeliveryError as error:
            error.is_uncertain = False
            raise

    def _post(self, operation: str, variables: Mapping[str, Any], *, is_mutation: bool) -> dict[str, Any]:
        path = f"admin/api/{API_VERSION}/graphql.json"
        data = {"query": operation, "variables": variables}
        try:
            answer = self.http.send("POST", path, data=data, headers=self._login(), accept=(401, 429))
            if answer.status == 401 and self.client_id:  # it may have been taken back before its time
                self._forget_token()
                answer = self.http.send("POST", path, data=data, headers=self._login(), accept=(401, 429))
        except DeliveryError as error:
            error.is_uncertain = error.is_uncertain and is_mutation
            raise
        if answer.status == 401:
            raise DeliveryError("The shop refuses the access token; enter a new one.", is_final=True, status_code=401)
        content = answer.json()
        if answer.status == 429 and not isinstance(content, dict):
            return {"errors": [{"extensions": {"code": "THROTTLED"}}]}
        if not isinstance(content, dict):
            raise DeliveryError("The shop’s answer is no JSON.", is_uncertain=is_mutation, status_code=answer.status)
        return content

    def _login(self) -> dict[str, str]:
        return {"x-shopify-access-token": self._token() if self.client_id else self.secret}

    def _key(self) -> tuple[str, str, str]:
        return (self.http.base_url, self.client_id, self.secret)

    def _token(self) -> str:
        """Return a token of the client credentials grant, renewed before it expires."""
        with _guard:
            token, expires_at = _tokens.get(self._key(), ("", 0.0))
            if time.time() < expires_at:
                return token
            body = urlencode(
                {"grant_type": "client_credentials", "client_id": self.client_id, "client_secret": self.secret}
            ).encode()
            headers = {"content-type": "application/x-www-form-urlencoded"}
            try:
                answer = self.http.send("POST", "admin/oauth/access_token", body=body, headers=headers).json() or {}
            except DeliveryError as error:
                error.is_uncertain = False
                if error.status_code in {400, 401, 403}:
                    error.message = f"The shop gives this app no token: {error.message}"
                raise
            token, lives = str(answer.get("access_token") or ""), float(answer.get("expires_in") or 86_399)
            if not token:
                raise DeliveryError("The shop’s answer has no access token; check client id and secret.", is_final=True)
            _tokens[self._key()] = (token, time.time() + max(0.0, lives - TOKEN_MARGIN_SECONDS))
            return token

    def _forget_token(self) -> None:
        with _guard:
            _tokens.pop(self._key(), None)


def _is_throttled(answer: Mapping[str, Any]) -> bool:
    errors = answer.get("errors")
    if not isinstance(errors, list):
        return False
    return any((error.get("extensions") or {}).get("code") == "THROTTLED" for error in errors)


def _read(answer: Mapping[str, Any], result: str) -> Any:
    """Return the data of an answer. Raises DeliveryError with the shop's words for errors and user errors."""
    errors = answer.get("errors")
    if errors:
        first = errors[0] if isinstance(errors, list) else {"message": str(errors)}
        raise DeliveryError(str(first.get("message", "The shop refused this.")), is_final=True)
    data = answer.get("data") or {}
    if not result:
        return data
    part = data.get(result) or {}
    mistakes = part.get("userErrors") or part.get("mediaUserErrors") or []
    if mistakes:
        raise ShopRefusal(mistakes)
    return part


class ShopRefusal(DeliveryError):
    """The shop's user errors. codes: theirs, such as "NON_READY_STATE"."""

    def __init__(self, mistakes: list[Mapping[str, Any]]) -> None:
        super().__init__(" ".join(str(mistake.get("message", "")) for mistake in mistakes), is_final=True)
        self.codes = {str(mistake.get("code") or "") for mistake in mistakes}
