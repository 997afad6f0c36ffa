"""Storage of a hot folder, and the storage in a directory of this machine. Buckets are in bucket.py."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from review.delivery.base import DeliveryError
from review.delivery.hot_folder.sidecars import Labels

LEAST_FREE_BYTES = 1_000_000_000
ARRIVALS = ".arriving"
"""The folder in which files are written before they get their name; it is on the same disk as their place."""
ARRIVAL_SECONDS = 3600.0
"""A file that arrives for longer was left by a worker that died."""
_WITHOUT_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})

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
    """Files by path, written completely or not at all. All methods raise DeliveryError."""

    def validate(self) -> list[str]: ...

    def list_shortages(self) -> list[str]:
        """Return what will soon be missing, as sentences."""

    def read(self, path: str) -> bytes | None:
        """Return the file's bytes, or None if it does not exist."""

    def find(self, path: str) -> str | None:
        """Return the sha256 of the file's bytes, or None if it does not exist."""

    def create(self, path: str, content: bytes, labels: Labels) -> bool:
        """Write a new file; return False, and change nothing, if there is one already."""

    def label(self, path: str, labels: Labels) -> None:
        """Give a file that is there these labels, if it has others."""

    def write(self, path: str, content: bytes, media_type: str) -> None:
        """Write a file, in place of the one that is there."""

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

    def list_shortages(self) -> list[str]:
        free = shutil.disk_usage(self.base).free
        return [f"The disk of {self.base} has only {free / 1e6:,.0f} MB left."] if free < LEAST_FREE_BYTES else []

    def read(self, path: str) -> bytes | None:
        try:
            return self._resolve(path).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DeliveryError(f"{self.base / path} cannot be read: {error.strerror}.") from error

    def find(self, path: str) -> str | None:
        content = self.read(path)
        return None if content is None else hashlib.sha256(content).hexdigest()

    def create(self, path: str, content: bytes, labels: Labels) -> bool:
        full = self._resolve(path)
        with self._temporary_file(full, content) as temporary:
            try:
                os.link(temporary, full)  # unlike a rename, this never replaces a file
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in _WITHOUT_LINKS:
                    raise
                if full.exists():
                    return False
                os.replace(temporary, full)
        return True

    def label(self, path: str, labels: Labels) -> None:
        return

    def write(self, path: str, content: bytes, media_type: str) -> None:
        full = self._resolve(path)
        with self._temporary_file(full, content) as temporary:
            os.replace(temporary, full)

    def delete(self, path: str) -> None:
        full = self._resolve(path)
        try:
            full.unlink(missing_ok=True)
            self._clean_arrivals()
        except OSError as error:
            raise DeliveryError(f"{full} cannot be deleted: {error.strerror}.") from error

    def _clean_arrivals(self) -> Path:
        """Return the folder of files that are being written, without those of workers that died long ago."""
        folder = self._resolve(ARRIVALS)
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if left.stat().st_mtime < time.time() - ARRIVAL_SECONDS:
                    left.unlink()
        return folder

    @contextlib.contextmanager
    def _temporary_file(self, full: Path, content: bytes) -> Iterator[str]:
        """Yield the path of a file with this content in ARRIVALS; delete it afterwards if it is still there."""
        try:
            full.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self._clean_arrivals())
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                os.chmod(temporary, 0o644)
                yield temporary
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary)
        except OSError as error:
            raise DeliveryError(f"{full} cannot be written: {error.strerror}.") from error
