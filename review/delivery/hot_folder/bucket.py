"""Storage of a hot folder in a bucket of S3 or a service like it (https://docs.aws.amazon.com/AmazonS3/latest/API/).

New files are written with `If-None-Match: *`, so that no file is ever replaced by another one, and with their sha256,
which the service checks. Errors name the permission that is missing.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

from botocore.config import Config as ClientConfig
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from core.fetching.fetcher import retry_after
from review.delivery.base import DeliveryError
from review.delivery.hot_folder.sidecars import Labels
from review.delivery.http import MAX_ANSWER_BYTES, MAX_IMAGE_BYTES

CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0
PIECE_BYTES = 64 * 1024
ATTEMPTS = 3
"""The client itself tries so often in one call, with a pause, if the service is slow or breaks off."""
ABSENT = frozenset({"NoSuchKey", "NotFound", "404"})
UNKNOWN_KEY = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken"})
OTHER_REGION = frozenset({"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"})
PASSING = frozenset({408, 409, 429})
_ACTION = re.compile(r"perform:? (s3:\w+)")


def split_secret(secret: str) -> tuple[str, str, str]:
    """Return (access key's id, secret access key, secret of the purge) of "id:key purge". Each may be empty."""
    keys, _space, purge = secret.partition(" ")
    key, _colon, value = keys.partition(":")
    return key, value, purge.strip()


class BucketStorage:
    """A bucket and a prefix. Without keys, the machine's own role is used."""

    def __init__(self, bucket: str, prefix: str, endpoint_url: str, region: str, *, key: str, value: str) -> None:
        self.bucket, self.prefix = bucket, prefix.strip("/")
        self.access = (endpoint_url, region, key, value)
        self.is_conditional = True

    @property
    def client(self) -> Any:
        return _client(*self.access)

    def validate(self) -> list[str]:
        _endpoint_url, _region, key, value = self.access
        if bool(key) != bool(value):
            return ["secret: expected the access key’s id, a colon, and the secret access key."]
        return []

    def list_shortages(self) -> list[str]:
        return []

    def read(self, path: str) -> bytes | None:
        answer = self._ask("s3:GetObject", path, self.client.get_object)
        return None if answer is None else _read_body(answer["Body"], path)

    def find(self, path: str) -> str | None:
        answer = self._head(path)
        if answer is None:
            return None
        if (checksum := str(answer.get("ChecksumSHA256") or "")) and "-" not in checksum:
            return base64.b64decode(checksum).hex()
        if noted := answer["Metadata"].get("sha256"):
            return str(noted)
        content = self.read(path)
        return None if content is None else hashlib.sha256(content).hexdigest()

    def create(self, path: str, content: bytes, labels: Labels) -> bool:
        condition = {"IfNoneMatch": "*"} if self.is_conditional else {}
        if not condition and self._head(path) is not None:
            return False
        try:
            with self._words("s3:PutObject", path, accept=("PreconditionFailed", "NotImplemented", "501")):
                self.client.put_object(**self._new_object(path, content, labels), **condition)
        except ClientError as error:
            if _code(error) == "PreconditionFailed":
                return False
            if "tagging" in str(error).lower() or not condition:
                action = "s3:PutObjectTagging" if labels.tags else "s3:PutObject"
                raise self._describe(error, action, path) from None
            self.is_conditional = False  # an older service: it is asked before each new file
            return self.create(path, content, labels)
        return True

    def label(self, path: str, labels: Labels) -> None:
        answer = self._head(path)
        if answer is None:
            return
        place = self._place(path)
        if answer["Metadata"] != labels.metadata or answer["ContentType"] != labels.media_type:
            with self._words("s3:PutObject", path):
                self.client.copy_object(
                    **place,
                    CopySource=place,
                    MetadataDirective="REPLACE",
                    Metadata=dict(labels.metadata),
                    ContentType=labels.media_type,
                    ChecksumAlgorithm="SHA256",
                )
        if labels.tags:
            tags = [{"Key": name, "Value": value} for name, value in labels.tags.items()]
            with self._words("s3:PutObjectTagging", path):
                self.client.put_object_tagging(**place, Tagging={"TagSet": tags})

    def write(self, path: str, content: bytes, media_type: str) -> None:
        labels = Labels(media_type, hashlib.sha256(content).hexdigest())
        with self._words("s3:PutObject", path):
            self.client.put_object(**self._new_object(path, content, labels))

    def delete(self, path: str) -> None:
        with self._words("s3:DeleteObject", path):
            self.client.delete_object(**self._place(path))

    # -- inside --------------------------------------------------------------------------------------------------------

    def _place(self, path: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": "/".join(part for part in (self.prefix, path) if part)}

    def _new_object(self, path: str, content: bytes, labels: Labels) -> dict[str, Any]:
        checksum = base64.b64encode(bytes.fromhex(labels.sha256)).decode()
        tags = {"Tagging": urlencode(labels.tags)} if labels.tags else {}
        return {
            **self._place(path),
            **tags,
            "Body": content,
            "ContentType": labels.media_type,
            "Metadata": dict(labels.metadata),
            "ChecksumAlgorithm": "SHA256",
            "ChecksumSHA256": checksum,
        }

    def _head(self, path: str) -> dict[str, Any] | None:
        return self._ask("s3:GetObject", path, self.client.head_object, ChecksumMode="ENABLED")

    def _ask(self, action: str, path: str, ask: Callable[..., Any], **arguments: Any) -> dict[str, Any] | None:
        """Return the answer about an object; None if there is none."""
        try:
            with self._words(action, path, accept=ABSENT):
                answer: dict[str, Any] = ask(**self._place(path), **arguments)
                return answer
        except ClientError:
            return None

    @contextlib.contextmanager
    def _words(self, action: str, path: str, accept: frozenset[str] | tuple[str, ...] = ()) -> Iterator[None]:
        """Raise DeliveryError for the service's errors, except for those whose codes are in `accept`."""
        try:
            yield
        except ClientError as error:
            if _code(error) in accept:
                raise
            raise self._describe(error, action, path) from None
        except BotoCoreError as error:
            raise DeliveryError(f"The service of the bucket {self.bucket} cannot be reached: {error}") from None

    def _describe(self, error: ClientError, action: str, path: str) -> DeliveryError:
        """Return an error of the service in words that say what to do."""
        answer, code = error.response.get("ResponseMetadata", {}), _code(error)
        status = int(answer.get("HTTPStatusCode", 0)) or None
        message = str(error.response["Error"].get("Message") or code)
        headers = {name.lower(): value for name, value in answer.get("HTTPHeaders", {}).items()}
        words = self._explain(code, status, message, action, path, headers.get("x-amz-bucket-region", ""))
        return DeliveryError(
            words,
            is_final=status == 501 or (status is not None and status < 500 and status not in PASSING),
            status_code=status,
            retry_after_seconds=retry_after(headers.get("retry-after", "")),
        )

    def _explain(self, code: str, status: int | None, message: str, action: str, path: str, region: str) -> str:
        if code == "NoSuchBucket":
            return f"There is no bucket {self.bucket} at this service: create it, or correct its name."
        if code in UNKNOWN_KEY:
            return f"The service does not accept the access key; enter a valid one. It says: {message}"
        if code in OTHER_REGION or status == 301:
            where = f"is in the region {region}" if region else "is in another region"
            return f"The bucket {self.bucket} {where}: correct the region."
        if status == 403 and code in {"AccessDenied", "403", "Forbidden", "AllAccessDisabled"}:
            match = _ACTION.search(message)
            needed = match[1] if match else action
            also = " (and s3:ListBucket, without which the service does not say that a file is not there)"
            also = also if code == "403" and action == "s3:GetObject" else ""
            return f"The access key may not do {needed} for {path}: give it this permission{also}."
        if code == "SlowDown" or status in {429, 503}:
            return f"The service of the bucket {self.bucket} is asked too often: {message}"
        if status == 501 and action == "s3:PutObjectTagging":
            return "The service knows no tags: write “none” in the setting Tags."
        return f"The bucket {self.bucket} refused {action} for {path}: {message}"


def _read_body(body: Any, path: str) -> bytes:
    """Return the bytes of an object. Raises DeliveryError if they are too many, or come too slowly."""
    content, end = bytearray(), time.monotonic() + READ_SECONDS
    with contextlib.closing(body):
        for piece in body.iter_chunks(PIECE_BYTES):
            content += piece
            if len(content) > MAX_IMAGE_BYTES:
                message = f"{path} has more than {MAX_IMAGE_BYTES:,} bytes; it is no file of ours."
                raise DeliveryError(message, is_final=True)
            if time.monotonic() > end:
                raise DeliveryError(f"{path} did not arrive within {READ_SECONDS:g} s.")
    return bytes(content)


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


@lru_cache(maxsize=32)
def _client(endpoint_url: str, region: str, key: str, value: str) -> Any:
    """Return a client, which threads may share. Making one takes longer than a request."""
    import boto3

    options = ClientConfig(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        max_pool_connections=32,
    )
    session = boto3.session.Session(key or None, value or None, region_name=region or None)
    client = session.client("s3", endpoint_url=endpoint_url or None, config=options)
    client.meta.events.register("before-send.s3", _Sender(client._endpoint.http_session))
    return client


class _Sender:
    """Sends a request of the client and bounds what it reads of the answer, which the client would read to its end."""

    def __init__(self, session: Any) -> None:
        self.session = session

    def __call__(self, request: Any, **_: Any) -> Any:
        is_object, request.stream_output = request.stream_output, True
        try:
            answer = self.session.send(request)
        finally:
            request.stream_output = is_object
        if is_object and answer.status_code < 300:
            return answer  # see _read_body
        answer.raw = _ShortBody(answer.raw)
        _ = answer.content  # it is read here, while errors are those of the request
        return answer


class _ShortBody:
    """The body of an answer that is no object. Raises HTTPClientError if it is long or slow."""

    def __init__(self, raw: Any) -> None:
        self.raw = raw

    def stream(self) -> Iterator[bytes]:
        size, end = 0, time.monotonic() + READ_SECONDS
        for piece in self.raw.stream(PIECE_BYTES):
            size += len(piece)
            if size > MAX_ANSWER_BYTES or time.monotonic() > end:
                self.raw.close()
                raise HTTPClientError(error="its answer is too long or too slow")
            yield piece
