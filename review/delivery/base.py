"""The interface of destinations: places that can be brought to hold, or no longer hold, an asset's files."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from core.fetching import without_secrets


class DeliveryError(Exception):
    """A try failed. `is_final`: trying again cannot help. `retry_after_seconds`: when the other side said so."""

    def __init__(
        self,
        message: str,
        *,
        is_final: bool = False,
        status_code: int | None = None,
        retry_after_seconds: float | None = None,
        disables: bool = False,
    ) -> None:
        self.message = without_secrets(message)
        super().__init__(self.message)
        self.is_final = is_final
        self.status_code = status_code
        self.retry_after_seconds = retry_after_seconds
        self.disables = disables


@dataclass(frozen=True)
class DeliveryFile:
    """One rendition on its way out. `read` opens its bytes; `name` follows the spec's pattern, extension included;
    `url` is stable and asks for a token."""

    spec: str
    name: str
    media_type: str
    sha256: str
    width: int
    height: int
    bytes: int
    read: Callable[[], builtins.bytes]
    url: str = ""


@dataclass(frozen=True)
class Package:
    """One asset for one destination. `lineage`: feed row, prompt version, model, seed, checks, person. `event_id` is
    stable over retries. `previous_names`: files of an earlier delivery that the new ones replace."""

    event_id: str
    asset_id: int
    sku: str
    brand: str
    campaign: str
    files: Sequence[DeliveryFile]
    lineage: Mapping[str, Any]
    previous_names: Sequence[str] = ()


@dataclass(frozen=True)
class Receipt:
    """The files that are there now: [{"spec", "name", "sha256"}], and the other side's status if it has one."""

    files: Sequence[Mapping[str, str]] = field(default_factory=list)
    status_code: int | None = None
    message: str = ""


class Destination(Protocol):
    """One kind of place. Constructed per delivery with the destination's config and secret."""

    kind: str

    def validate(self) -> list[str]:
        """Sentences about what is wrong with config and secret."""

    def put(self, package: Package) -> Receipt:
        """Bring the files there; safe to repeat. Raises DeliveryError."""

    def remove(self, package: Package) -> Receipt:
        """Bring them away again; safe to repeat, also when nothing is there. Raises DeliveryError."""


Factory = Callable[[Mapping[str, Any], str], Destination]
_factories: dict[str, Factory] = {}


def register(kind: str) -> Callable[[Factory], Factory]:
    def remember(factory: Factory) -> Factory:
        _factories[kind] = factory
        return factory

    return remember


def kinds() -> Iterator[str]:
    return iter(sorted(_factories))


def build(kind: str, config: Mapping[str, Any], secret: str = "") -> Destination:
    """The destination of that kind; ValueError lists the known ones."""
    if kind not in _factories:
        raise ValueError(f"There is no destination kind {kind!r}; known are {', '.join(kinds())}.")
    return _factories[kind](config, secret)
