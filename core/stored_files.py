"""Stored files by content: every file is named by its sha256, so that writing is idempotent and nothing is overwritten.

Uses Django's default storage: a folder (atomic: temporary file, fsync, rename) or an S3-compatible bucket.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError
from django.conf import settings
from django.core import signing
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage, default_storage
from django.http import FileResponse
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from core.errors import NotAllowed, NotFound, StorageFailed

PREFIX = "sha256/"
TEMPORARY = "tmp/"
FRESH_SECONDS = 1800
"""An older file that is put again gets a new time, so that the sweeper cannot remove it before it gets its row."""
MEDIA_TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "avif": "image/avif",
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "zip": "application/zip",
}
NO_PERMISSION = gettext_lazy(
    "Proofline may not write into the folder that keeps the files. Somebody has to give it the right."
)
CAUSES = {
    errno.ENOSPC: gettext_lazy("The disk that keeps the files is full. Somebody has to make room on it."),
    errno.EDQUOT: gettext_lazy(
        "The disk that keeps the files has reached its quota. Somebody has to make room or raise the quota."
    ),
    errno.EROFS: gettext_lazy("The disk that keeps the files is read-only. Somebody has to make it writable."),
    errno.EACCES: NO_PERMISSION,
    errno.EPERM: NO_PERMISSION,
    errno.EIO: gettext_lazy("The disk that keeps the files reports errors. Somebody has to look at it."),
}
"""Reasons for a failed write, by the system's error number."""
Made = TypeVar("Made")
_SALT = "proofline.files"
_PIECE = 1 << 20


class TooLarge(Exception):
    """A stream had more bytes than allowed; nothing was stored."""


@dataclass(frozen=True)
class StoredFile:
    """A stored file: storage key, sha256 in hex, size in bytes."""

    key: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class ListedFile:
    """One file in a listing for the sweeper."""

    key: str
    bytes: int
    modified_at: datetime

    @property
    def sha256(self) -> str:
        """Return the sha256 in the key; "" for a temporary file."""
        return Path(self.key).stem if self.key.startswith(PREFIX) else ""


def key_for(sha256: str, *, suffix: str) -> str:
    """Return the storage key of a content: "sha256/ab/cd/<sha256>.<suffix>"."""
    return f"{PREFIX}{sha256[:2]}/{sha256[2:4]}/{sha256}.{suffix.lstrip('.').lower()}"


def put(data: bytes, *, suffix: str, durable: bool = True, sha256: str = "") -> StoredFile:
    """Store `data` under its sha256, which is computed unless given; an existing file is not written again.

    durable: fsync before the rename; False for files that can be made again, such as thumbnails. A reader never sees
    half a file. Raises StorageFailed, with the cause, if it cannot be written; then no part of it remains.
    """
    digest = sha256 or hashlib.sha256(data).hexdigest()
    key = key_for(digest, suffix=suffix)
    with _translate_write_errors():
        if not _is_stored(key, len(data)):
            with _spool() as spool:
                spool.write(data)
                _store(spool, key, durable=durable)
    return StoredFile(key, digest, len(data))


def put_stream(stream: IO[bytes], *, suffix: str, max_bytes: int) -> StoredFile:
    """Store the rest of a stream. Raises TooLarge beyond `max_bytes`, and StorageFailed, with the cause."""
    digest, size = hashlib.sha256(), 0
    with _translate_write_errors(), _spool() as spool:
        while piece := stream.read(_PIECE):
            size += len(piece)
            if size > max_bytes:
                raise TooLarge(f"more than {max_bytes:,} bytes")
            digest.update(piece)
            spool.write(piece)
        key = key_for(digest.hexdigest(), suffix=suffix)
        if not _is_stored(key, size):
            _store(spool, key, durable=True)
    return StoredFile(key, digest.hexdigest(), size)


@contextmanager
def _translate_write_errors() -> Iterator[None]:
    """Turn exceptions of the disk and of the bucket into StorageFailed."""
    try:
        yield
    except OSError as error:
        other = _("The disk that keeps the files refuses to store one (%(reason)s).") % {"reason": error.strerror}
        raise StorageFailed(str(CAUSES.get(error.errno or 0, other))) from error
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "no code")
        sentence = _("The bucket that keeps the files refuses to store one (%(code)s).")
        raise StorageFailed(sentence % {"code": code}) from error
    except BotoCoreError as error:
        raise StorageFailed(_("The bucket that keeps the files does not answer.")) from error


@contextmanager
def _spool() -> Iterator[Any]:
    """Yield a temporary file. On disk it is beside the stored files, so that it can be renamed."""
    if not isinstance(default_storage, FileSystemStorage):
        with tempfile.TemporaryFile() as spool:
            yield spool
        return
    path = Path(default_storage.path(TEMPORARY), uuid.uuid4().hex)
    with _in_folder(path, lambda: path.open("xb")) as spool:
        try:
            yield spool
        finally:
            path.unlink(missing_ok=True)


def _store(spool: Any, key: str, *, durable: bool) -> None:
    """Move the temporary file to its place, or upload it."""
    if not isinstance(default_storage, FileSystemStorage):
        spool.seek(0)
        default_storage.save(key, File(spool))
        return
    path = Path(default_storage.path(key))
    spool.flush()
    if durable:
        os.fsync(spool.fileno())
    os.fchmod(spool.fileno(), 0o640)  # whatever the umask is: the web server may read it through its group
    _in_folder(path, lambda: os.replace(spool.name, path))
    if durable:  # the folder too, so that the rename survives a power cut
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _in_folder(path: Path, make: Callable[[], Made]) -> Made:
    """Make a file; if its folder is missing, create the folder first."""
    try:
        return make()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return make()


def _is_stored(key: str, size: int) -> bool:
    """Return True if the complete file exists, and is too young for the sweeper or was made so."""
    if isinstance(default_storage, FileSystemStorage):
        return _refresh_if_complete(Path(default_storage.path(key)), size)
    try:
        if default_storage.size(key) != size:  # first, because a bucket raises FileNotFoundError only here
            return False
        return (datetime.now(UTC) - default_storage.get_modified_time(key)).total_seconds() < FRESH_SECONDS
    except FileNotFoundError:
        return False


def _refresh_if_complete(path: Path, size: int) -> bool:
    """Return True if the complete file exists, and renew its time. A power cut can leave a shorter file."""
    try:
        if path.stat().st_size != size:
            return False
        os.utime(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        # On a read-only disk its time cannot be renewed, but it cannot be removed either.
    return True


def read(key: str) -> bytes:
    with open(key) as file:
        return file.read()


def open(key: str) -> IO[bytes]:
    """Open the file for reading in pieces; raises NotFound if it is missing."""
    try:
        return default_storage.open(key, "rb")
    except FileNotFoundError:
        raise NotFound(_("The stored file %(key)s is missing.") % {"key": key}, key=key) from None


def exists(key: str) -> bool:
    return default_storage.exists(key)


def delete_if_older(key: str, *, than: datetime) -> bool:
    """Remove the file unless it was put again since `than`; return True if it was removed. For the sweeper."""
    if not exists(key) or default_storage.get_modified_time(key) >= than:
        return False
    default_storage.delete(key)
    return True


def list_keys(prefix: str = PREFIX) -> Iterator[ListedFile]:
    """Yield every stored file below `prefix`; `TEMPORARY` lists the remains of interrupted writes."""
    if not isinstance(default_storage, FileSystemStorage):
        bucket = getattr(default_storage, "bucket", None)
        if bucket is None:
            raise TypeError(f"Cannot list {type(default_storage).__name__}: use a folder or an S3-compatible bucket.")
        for item in bucket.objects.filter(Prefix=prefix):
            yield ListedFile(item.key, item.size, item.last_modified)
        return
    for folder, subfolders, names in os.walk(default_storage.path(prefix), followlinks=True):
        subfolders.sort()
        for path in sorted(Path(folder, name) for name in names):
            with suppress(FileNotFoundError):  # removed in the meantime
                status = path.stat()
                key = path.relative_to(default_storage.location).as_posix()
                yield ListedFile(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))


def open_url(key: str, *, seconds: int = 600) -> str:
    """Return an address that opens this file, for anybody who has it, until it expires; the bucket or we sign it."""
    if isinstance(default_storage, FileSystemStorage):
        token = signing.dumps([key, int(time.time()) + seconds], salt=_SALT)
        return f"/{settings.MEDIA_URL.strip('/')}/{token}"
    return default_storage.url(key, expire=seconds)  # type: ignore[call-arg]


def parse_open_url(token: str) -> str:
    """Return the key of an address made by `open_url`. Raises NotAllowed if it was changed or has expired."""
    try:
        key, expires, *_more = signing.loads(token, salt=_SALT)
    except signing.BadSignature:
        raise NotAllowed(_("This file address is not one of ours; open the image again from its page.")) from None
    if time.time() > expires:
        raise NotAllowed(_("This file address has expired; open the image again from its page."))
    return str(key)


def file_response(key: str, *, download_name: str = "") -> FileResponse:
    """Return the file, which a browser may keep for ever. The caller must have checked the right to see it."""
    headers = {"Cache-Control": "private, max-age=31536000, immutable", "ETag": f'"{Path(key).stem}"'}
    answer = FileResponse(open(key), content_type=media_type(key), headers=headers)
    if download_name:  # after Django's own header
        answer["Content-Disposition"] = content_disposition_header(True, download_name)
    return answer


def media_type(key: str) -> str:
    return MEDIA_TYPES.get(key.rsplit(".", 1)[-1].lower(), "application/octet-stream")
