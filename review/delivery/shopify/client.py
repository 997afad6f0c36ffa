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
MAX_COST = 1000
"""Points of one operation, the most that Shopify allows."""
TOKEN_HEADER = "x-shopify-access-token"  # noqa: S105 - the header's name
TROUBLE = frozenset({"INTERNAL_SERVER_ERROR", "TIMEOUT"})
"""Errors after which it is unknown whether a change was made."""
PASSING = frozenset({
    "NON_READY_STATE", "NON_READY_MEDIA", "FILE_LOCKED", "MEDIA_CANNOT_BE_MODIFIED", "MEDIA_DOES_NOT_EXIST_ON_PRODUCT",
    "PRODUCT_VARIANT_ALREADY_HAS_MEDIA", "MEDIA_IS_NOT_ATTACHED_TO_VARIANT",
})  # fmt: skip
"""User errors that another attempt may not meet: something is being processed, or somebody changed it meanwhile."""
_tokens: dict[tuple[str, str, str], tuple[str, float]] = {}
_guards: dict[tuple[str, str, str], threading.Lock] = {}
_costs: dict[str, dict[str, int]] = {}
"""The cost of each operation by shop, as the shop reports it. No shop changes the costs or waits of another."""


class ShopClient:
    """The Admin GraphQL API of one shop.

    secret: an access token ("shpat_…"), or, with a `client_id`, the client secret of an app of the Dev Dashboard, for
    which the shop gives tokens that live 24 hours (client credentials grant).
    """

    def __init__(self, url: str, client_id: str, secret: str, *, allow_private: bool = False) -> None:
        self.http = http.Client(url, allow_private=allow_private)
        self.storage = http.Client("", allow_private=allow_private)  # uploads must not carry the shop's token
        self.client_id, self.secret = client_id, secret
        self._costs = _costs.setdefault(self.http.base_url, {})

    def run(self, operation: str, limiter: Limiter, *, result: str = "", **variables: Any) -> Any:
        """Send one operation and return its data, or the part named `result` without user errors.

        Raises DeliveryError: with is_uncertain if a mutation may have been made.
        """
        is_mutation = operation.lstrip().startswith("mutation")
        for _attempt in range(MAX_THROTTLED):
            points = self._costs.get(operation, COSTS[operation])
            limiter.wait(points)
            answer = self._post(operation, variables, is_mutation=is_mutation)
            cost = (answer.get("extensions") or {}).get("cost") or {}
            self._costs[operation] = min(max(int(cost.get("requestedQueryCost") or points), 1), MAX_COST)
            if status := cost.get("throttleStatus"):
                limiter.report(
                    available=float(status["currentlyAvailable"]),
                    maximum=float(status["maximumAvailable"]),
                    per_second=float(status["restoreRate"]),
                    unused=points - float(cost.get("actualQueryCost") or 0),
                )
            if not _is_throttled(answer):
                return _read(answer, result, is_mutation=is_mutation)
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
        data, accepted = {"query": operation, "variables": variables}, (401, 429)
        token = self._token() if self.client_id else self.secret
        try:
            answer = self.http.send("POST", path, data=data, headers={TOKEN_HEADER: token}, accept=accepted)
            if answer.status == 401 and self.client_id:  # it may have been taken back before its time
                self._forget_token(token)
                answer = self.http.send("POST", path, data=data, headers={TOKEN_HEADER: self._token()}, accept=accepted)
        except DeliveryError as error:
            error.is_uncertain = error.is_uncertain and is_mutation
            raise
        if answer.status == 401:
            raise DeliveryError("The shop refuses the access token; enter a new one.", is_final=True, status_code=401)
        if answer.status == 429:
            content = answer.json()
            return {**(content if isinstance(content, dict) else {}), "errors": [{"extensions": {"code": "THROTTLED"}}]}
        content = answer.json()
        if not isinstance(content, dict):
            raise DeliveryError("The shop’s answer is no JSON.", is_uncertain=is_mutation, status_code=answer.status)
        return content

    def _key(self) -> tuple[str, str, str]:
        return (self.http.base_url, self.client_id, self.secret)

    @property
    def _guard(self) -> threading.Lock:
        """Return the lock of this app at this shop: it is held while the shop answers, which may be slow."""
        return _guards.setdefault(self._key(), threading.Lock())

    def _token(self) -> str:
        """Return a token of the client credentials grant, renewed before it expires."""
        with self._guard:
            token, expires_at = _tokens.get(self._key(), ("", 0.0))
            if time.time() < expires_at:
                return token
            body = urlencode(
                {"grant_type": "client_credentials", "client_id": self.client_id, "client_secret": self.secret}
            ).encode()
            headers = {"content-type": "application/x-www-form-urlencoded"}
            try:
                content = self.http.send("POST", "admin/oauth/access_token", body=body, headers=headers).json()
            except DeliveryError as error:
                is_refused = error.status_code in {400, 401, 403}
                words = f"The shop gives this app no token: {error.message}" if is_refused else error.message
                raise DeliveryError(
                    words,
                    is_final=error.is_final,
                    status_code=error.status_code,
                    retry_after_seconds=error.retry_after_seconds,
                ) from None
            answer: dict[str, Any] = content if isinstance(content, dict) else {}
            token, lives = str(answer.get("access_token") or ""), float(answer.get("expires_in") or 86_399)
            if not token:
                raise DeliveryError("The shop’s answer has no access token; check client id and secret.", is_final=True)
            _tokens[self._key()] = (token, time.time() + max(lives - TOKEN_MARGIN_SECONDS, lives * 0.8))
            return token

    def _forget_token(self, token: str) -> None:
        """Forget a token that the shop refuses, unless another thread has a new one already."""
        with self._guard:
            if _tokens.get(self._key(), ("", 0.0))[0] == token:
                del _tokens[self._key()]


def _is_throttled(answer: Mapping[str, Any]) -> bool:
    errors = answer.get("errors")
    if not isinstance(errors, list):
        return False
    return any((error.get("extensions") or {}).get("code") == "THROTTLED" for error in errors)


def _read(answer: Mapping[str, Any], result: str, *, is_mutation: bool) -> Any:
    """Return the data of an answer. Raises DeliveryError with the shop's words for errors and user errors."""
    if errors := answer.get("errors"):
        first: Mapping[str, Any] = errors[0] if isinstance(errors, list) else {"message": str(errors)}
        code = (first.get("extensions") or {}).get("code")
        words = str(first.get("message") or "The shop refused this.")
        if code in TROUBLE:
            raise DeliveryError(f"The shop had trouble of its own: {words}", is_uncertain=is_mutation)
        if code == "ACCESS_DENIED":
            words += " Give the app the scopes write_products and write_files, and install it again."
        raise DeliveryError(words, is_final=True)
    data = answer.get("data") or {}
    if not result:
        return data
    part = data.get(result) or {}
    if mistakes := part.get("userErrors") or part.get("mediaUserErrors"):
        raise ShopRefusal(mistakes)
    return part


class ShopRefusal(DeliveryError):
    """The shop's user errors. codes: theirs, such as "NON_READY_STATE"."""

    def __init__(self, mistakes: list[Mapping[str, Any]]) -> None:
        self.codes = {str(mistake.get("code") or "") for mistake in mistakes}
        words = " ".join(str(mistake.get("message", "")) for mistake in mistakes)
        is_passing = bool(self.codes & PASSING)
        super().__init__(words, is_final=not is_passing, retry_after_seconds=10 if is_passing else None)
