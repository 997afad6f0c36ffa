"""Storage of a hot folder: a directory of this machine, or an S3 bucket (through django-storages).

Both write a file completely or not at all.
"""

from __future__ import annotations

import contextlib
import mimetypes
import os
import re
import tempfile
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from review.delivery.base import DeliveryError

ARRIVALS = ".arriving"
"""The folder in which files are written before they get their name; it is on the same disk as their place."""
ARRIVAL_SECONDS = 3600.0
"""A file that arrives for longer was left by a worker that died."""

# pathvalidate would allow & ; ' $ and a leading dot.
_SAFE_PART = re.compile(r"[\w][\w .,()+=@#-]*", re.UNICODE)
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")


def safe_path(*parts: str) -> str:
    """Return the parts joined by slashes. Raises DeliveryError if a part is unsafe or not portable."""
    for part in parts:
        is_plain = _SAFE_PART.fullmatch(part) and not part.endswith((".", " "))
        if not is_plain or _RESERVED.fullmatch(part) or len(part.encode()) > 240:
            raise DeliveryError(
                f"The file name {part!r} is not safe: letters, digits, space and . , ( ) + = @ # - _ only, "
                "no leading dot, at most 240 bytes. Change the name pattern of the output spec.",
                is_final=True,
            )
    return "/".join(parts)


class Storage(Protocol):
    def validate(self) -> list[str]: ...

    def read(self, path: str) -> bytes | None:
        """Return the file's bytes, or None if it does not exist."""

    def write(self, path: str, content: bytes) -> None: ...

    def delete(self, path: str) -> None:
        """Delete the file; do nothing if it does not exist."""


class DirectoryStorage:
    """A directory; no file leaves it. `within`: the folder that the directory itself must be in, links resolved."""

    def __init__(self, base: Path, within: Path | None = None) -> None:
        self.base = base
        self.within = within

    def validate(self) -> list[str]:
        if not self.base.is_absolute():
            return ["path: expected an absolute path of a directory."]
        try:
            self.base.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            return [f"path: {self.base} cannot be made: {error.strerror}."]
        if not os.access(self.base, os.W_OK):
            return [f"path: {self.base} cannot be written to."]
        return []

    def _resolve(self, path: str) -> Path:
        base = self.base.resolve()
        full = (base / path).resolve()
        if self.within is not None and not base.is_relative_to(self.within):
            raise DeliveryError(f"{self.base} leads outside {self.within}; it became a link elsewhere.", is_final=True)
        if base not in full.parents:
            raise DeliveryError(f"{path} leads outside {base}; a link in that folder points elsewhere.", is_final=True)
        return full

    def read(self, path: str) -> bytes | None:
        try:
            return self._resolve(path).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, path: str, content: bytes) -> None:
        full = self._resolve(path)
        try:
            full.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self._clean_arrivals())
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                os.chmod(temporary, 0o644)
                os.replace(temporary, full)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary)
                raise
        except OSError as error:
            raise DeliveryError(f"{full} cannot be written: {error.strerror}.") from error

    def delete(self, path: str) -> None:
        self._resolve(path).unlink(missing_ok=True)
        self._clean_arrivals()

    def _clean_arrivals(self) -> Path:
        """Return the folder of files that are being written, without those of workers that died long ago."""
        folder = self._resolve(ARRIVALS)
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if left.stat().st_mtime < time.time() - ARRIVAL_SECONDS:
                    left.unlink()
        return folder


class BucketStorage:
    """A bucket and a prefix. The secret is "access key id:secret access key", or empty for the machine's own role."""

    def __init__(self, bucket: str, prefix: str, endpoint_url: str, region: str, secret: str) -> None:
        key, _, value = secret.partition(":")
        self.options = {
            "bucket_name": bucket,
            "location": prefix.strip("/"),
            "endpoint_url": endpoint_url or None,
            "region_name": region or None,
            "access_key": key or None,
            "secret_key": value or None,
            "file_overwrite": True,
            "default_acl": None,
        }

    @cached_property
    def storage(self) -> Any:
        from storages.backends.s3 import S3Storage

        return S3Storage(**{key: value for key, value in self.options.items() if value is not None})

    def validate(self) -> list[str]:
        return []

    def _object(self, path: str) -> Any:
        return self.storage.bucket.Object("/".join(str(part) for part in (self.options["location"], path) if part))

    def read(self, path: str) -> bytes | None:
        from botocore.exceptions import ClientError

        with _bucket_errors(path):
            try:
                content: bytes = self._object(path).get()["Body"].read()
                return content
            except ClientError as error:
                if error.response["Error"]["Code"] not in {"NoSuchKey", "404"}:
                    raise
        return None

    def write(self, path: str, content: bytes) -> None:
        media_type = mimetypes.guess_type(path)[0] or "application/octet-stream"
        with _bucket_errors(path):
            self._object(path).put(Body=content, ContentType=media_type)

    def delete(self, path: str) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self._object(path).delete()
        except (BotoCoreError, ClientError) as error:
            raise DeliveryError(f"{path} cannot be deleted: {error}") from error


@contextlib.contextmanager
def _bucket_errors(path: str) -> Iterator[None]:
    """Raise DeliveryError for the errors of a bucket's service."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) or None
        message = f"The bucket refused {path}: {error.response['Error'].get('Message', error)}"
        raise DeliveryError(message, status_code=status) from error
    except BotoCoreError as error:
        raise DeliveryError(f"The bucket cannot be reached: {error}") from error
