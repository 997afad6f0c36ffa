"""A signed webhook as Standard Webhooks 1.0 defines it (https://www.standardwebhooks.com): files stay here,
news goes out.

Config: {"url": "https://…", "allow_private": false}. Secret: "whsec_" and base64 of 24 to 64 bytes. The body names
the files with their hashes and stable addresses; the receiver fetches them with a token of its own.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import json
import secrets
import socket
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx

from review.delivery.base import DeliveryError, Package, Receipt, register

TIMEOUT_SECONDS = 15.0
MAX_TIMEOUT_SECONDS = 60.0  # well below a delivery's lease: nobody may park a worker
MAX_ANSWER_BYTES = 64 * 1024
PREFIX = "whsec_"


def new_secret() -> str:
    """A fresh signing secret."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` header for one attempt."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    digest = hmac.new(_key(secret), signed, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def is_signed(
    secret: str, headers: Mapping[str, str], body: bytes, *, now: float, tolerance_seconds: int = 300
) -> bool:
    """What a receiver does: True if the headers carry a fresh signature of exactly these bytes."""
    timestamp = headers.get("webhook-timestamp", "")
    if not timestamp.isdigit() or abs(now - int(timestamp)) > tolerance_seconds:
        return False
    wanted = sign(secret, headers.get("webhook-id", ""), int(timestamp), body)
    return any(hmac.compare_digest(wanted, one) for one in headers.get("webhook-signature", "").split(" "))


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise DeliveryError("The webhook's secret is not base64 after whsec_.", is_final=True) from None


@register("webhook")
class Webhook:
    """One endpoint of one receiver."""

    kind = "webhook"

    def __init__(self, config: Mapping[str, Any], secret: str) -> None:
        self.url = str(config.get("url", ""))
        self.allow_private = bool(config.get("allow_private"))
        self.timeout_seconds = min(float(config.get("timeout_seconds", TIMEOUT_SECONDS)), MAX_TIMEOUT_SECONDS)
        self.secret = secret

    def validate(self) -> list[str]:
        problems = []
        parts = urlsplit(self.url)
        if parts.scheme not in ({"http", "https"} if self.allow_private else {"https"}):
            problems.append(f"url: expected an https address, not {self.url!r}.")
        if not parts.hostname:
            problems.append("url: the host is missing.")
        if parts.username or parts.password:
            problems.append("url: must not carry a user name or password; the signature proves who we are.")
        if not self.secret.startswith(PREFIX):
            problems.append("secret: expected whsec_ and base64 of 24 to 64 bytes.")
        else:
            try:
                if not 24 <= len(_key(self.secret)) <= 64:
                    problems.append("secret: expected 24 to 64 bytes after whsec_.")
            except DeliveryError as error:
                problems.append(f"secret: {error.message}")
        return problems

    def put(self, package: Package) -> Receipt:
        files = [
            {
                "spec": file.spec,
                "name": file.name,
                "url": file.url,
                "sha256": file.sha256,
                "bytes": file.bytes,
                "media_type": file.media_type,
                "width": file.width,
                "height": file.height,
            }
            for file in package.files
        ]
        data = _identity(package) | {"files": files, "lineage": dict(package.lineage)}
        status = self._send(package.event_id, "asset.approved", data)
        kept = [{"spec": file.spec, "name": file.name, "sha256": file.sha256} for file in package.files]
        return Receipt(files=kept, status_code=status, message=f"answered {status}")

    def remove(self, package: Package) -> Receipt:
        status = self._send(package.event_id, "asset.recalled", _identity(package))
        return Receipt(status_code=status, message=f"answered {status}")

    def _send(self, message_id: str, type_: str, data: Mapping[str, Any]) -> int:
        """POST one message; the status when it is 2xx. Raises DeliveryError otherwise."""
        timestamp = int(time.time())
        body = json.dumps(
            {"type": type_, "timestamp": datetime.fromtimestamp(timestamp, UTC).isoformat(), "data": data},
            sort_keys=True,
            ensure_ascii=False,
        ).encode()
        host, address = self._resolve()
        headers = {
            "host": host,
            "content-type": "application/json",
            "user-agent": "Proofline-Webhooks/1",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(self.secret, message_id, timestamp, body),
        }
        try:
            status, answered = self._post(address, headers, body)
        except httpx.TimeoutException:
            raise DeliveryError(f"No answer within {self.timeout_seconds:g} s from {self.url}.") from None
        except httpx.HTTPError as error:
            raise DeliveryError(f"{self.url} could not be reached: {error}.") from None
        return _judge(self.url, status, answered)

    def _post(self, address: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Mapping[str, str]]:
        """Talk to the resolved address, under the host's own name; the answer's body is read to a limit and dropped."""
        parts = urlsplit(self.url)
        target = httpx.URL(self.url).copy_with(host=address)
        deadline = time.monotonic() + self.timeout_seconds
        with httpx.Client(timeout=self.timeout_seconds, follow_redirects=False, trust_env=False) as client:
            request = client.build_request(
                "POST", target, headers=dict(headers), content=body, extensions={"sni_hostname": parts.hostname}
            )
            answer = client.send(request, stream=True)
            try:
                size = 0
                for chunk in answer.iter_raw():
                    size += len(chunk)
                    if size > MAX_ANSWER_BYTES:
                        break
                    if time.monotonic() > deadline:
                        raise httpx.ReadTimeout("the answer did not end in time", request=request)
                return answer.status_code, answer.headers
            finally:
                answer.close()

    def _resolve(self) -> tuple[str, str]:
        """(Host header, the one address to talk to). Looked up once: what was checked is what is connected to."""
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            found = [entry[4][0] for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        except OSError as error:
            raise DeliveryError(f"The host {host} cannot be found: {error}.") from None
        if not self.allow_private:
            refused = [one for one in found if not is_public(str(one))]
            if refused:
                raise DeliveryError(
                    f"{host} leads to {refused[0]}, which is not a public address; webhooks go to public ones only.",
                    is_final=True,
                )
        return parts.netloc, str(found[0])


def is_public(address: str) -> bool:
    """False for loopback, private, link-local (cloud metadata), carrier-grade NAT, multicast and their IPv6
    disguises."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = parsed.ipv4_mapped or parsed.sixtofour or (parsed.teredo[1] if parsed.teredo else None)
        if inner is not None:
            return is_public(str(inner))
        if parsed in ipaddress.ip_network("64:ff9b::/96"):
            return is_public(str(ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)))
    return parsed.is_global and not parsed.is_multicast


def _identity(package: Package) -> dict[str, Any]:
    return {
        "asset": package.asset_id,
        "sku": package.sku,
        "brand": package.brand,
        "campaign": package.campaign,
    }


def _judge(url: str, status: int, headers: Mapping[str, str]) -> int:
    if 200 <= status < 300:
        return status
    if status == 410:
        raise DeliveryError(
            f"{url} answered 410 Gone: it wants no more messages.", is_final=True, status_code=status, disables=True
        )
    if 300 <= status < 400:
        raise DeliveryError(
            f"{url} answered {status} (to {headers.get('location', 'nowhere')}); redirects are not followed: "
            "enter the final address.",
            status_code=status,
        )
    raise DeliveryError(
        f"{url} answered {status}.",
        status_code=status,
        retry_after_seconds=_retry_after(headers.get("retry-after", "")),
    )


def _retry_after(value: str) -> float | None:
    """Seconds, from a number or an HTTP date; at most a day, so that nobody can park us for ever."""
    if not value:
        return None
    if value.strip().isdigit():
        return min(float(value), 86400.0)
    try:
        wait = parsedate_to_datetime(value).timestamp() - time.time()
    except ValueError:
        return None
    return min(max(wait, 0.0), 86400.0)
