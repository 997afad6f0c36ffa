"""The refusals of services. Each class has one HTTP status for pages and API; errors are mapped nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from core.fetching import redact_json, redact_text


def _(text: str) -> str:
    """Mark a title for translation. It is translated where it is shown, because feeds are read without Django."""
    return text


@dataclass(frozen=True)
class Problem:
    """One mistake in the input: its place (a JSON pointer or field name), a message, and the wrong value."""

    pointer: str
    message: str
    value: str = ""

    def __post_init__(self) -> None:
        """Remove the logins and queries of addresses, so that no page or response shows them."""
        object.__setattr__(self, "message", redact_text(self.message))
        object.__setattr__(self, "value", redact_text(self.value))


class DomainError(Exception):
    """Base of all refusals. `message` is a sentence for people; `extra` is plain data for programs."""

    status: ClassVar[int] = 400
    title: ClassVar[str] = _("Refused")
    retry_after_seconds: int | None = None
    """After how long the same request may succeed; None if waiting does not help or nobody knows."""

    def __init__(self, message: str, **extra: Any) -> None:
        self.message = redact_text(message)
        super().__init__(self.message)
        self.extra = redact_json(extra)


class Invalid(DomainError):
    """The input cannot be accepted; `problems` says where and why."""

    status = 422
    title = _("The input has mistakes")

    def __init__(self, message: str, problems: list[Problem] | None = None, **extra: Any) -> None:
        super().__init__(message, **extra)
        self.problems = problems or []


class BadRequest(DomainError):
    title = _("The request cannot be read")


class NotAllowed(DomainError):
    status = 403
    title = _("Not allowed")


class NotFound(DomainError):
    status = 404
    title = _("Not found")


class Gone(DomainError):
    """It existed, and was withdrawn for good or until further notice."""

    status = 410
    title = _("Withdrawn")


class Conflict(DomainError):
    """Somebody else was first, or the state of the object does not allow the change."""

    status = 409
    title = _("Conflict")


class Stale(DomainError):
    """The object has changed since the caller read it."""

    status = 412
    title = _("Changed since you looked")


class TooManyRequests(DomainError):
    """The caller has used up a limit."""

    status = 429
    title = _("Too many requests")

    def __init__(self, message: str, *, retry_after_seconds: int, **extra: Any) -> None:
        super().__init__(message, retry_after_seconds=retry_after_seconds, **extra)
        self.retry_after_seconds = retry_after_seconds


class Unavailable(DomainError):
    """The database or another service that the request needs does not answer. The same request may work later."""

    status = 503
    title = _("Not available at the moment")
    retry_after_seconds = 10


class StorageFailed(Unavailable):
    """The disk or bucket refuses to store a file. Stored files can still be read."""

    title = _("Files cannot be stored now")
    retry_after_seconds = 60


class Busy(Unavailable):
    """The server has too much of this work at the moment; the same request succeeds a little later."""

    title = _("Busy")
    retry_after_seconds = 5
