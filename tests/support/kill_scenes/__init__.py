"""The scenes of the kill tests: for each kind of destination a server on a real socket, and how to read what it has.

A module of this package with a subclass of `Scene` is all that a new kind needs; tests/review/test_delivery_kills.py
finds it by the registry of destinations.
"""

from __future__ import annotations

import hashlib
import pkgutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from tests.support.faulty_proxy import FAULTS, Proxy, in_front_of

Shown = list[tuple[str, str]]
"""Images in their order: what identifies their bytes, and the alternative text ("" where there is none)."""


class Scene:
    """One server with products, and a destination of ours there.

    kind: the destination's. subject_kind: what is delivered, "product" or "article". shows_all: False where the newest
    image takes the place of all others. fixtures: the names of those that `__init__` takes.
    faults: those of faulty_proxy.py that the server may show. proxies: in front of each address of the server.
    """

    kind: ClassVar[str]
    subject_kind: ClassVar[str] = "product"
    shows_all: ClassVar[bool] = True
    fixtures: ClassVar[Sequence[str]] = ()
    faults: ClassVar[Sequence[str]] = tuple(FAULTS)
    known: ClassVar[dict[str, type[Scene]]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "kind" in cls.__dict__:
            Scene.known[cls.kind] = cls

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        """Start the server, to be stopped by the stack; `folder` is where the brand may have files."""
        self.stack, self.folder = stack, folder
        self.proxies: list[Proxy] = []

    def add_proxy(self, target: str) -> Proxy:
        proxy = self.stack.enter_context(in_front_of(target))
        self.proxies.append(proxy)
        return proxy

    def settings(self) -> tuple[dict[str, Any], str]:
        """Return the settings of the destination, and its secret."""
        raise NotImplementedError

    def attributes(self, key: str) -> dict[str, str]:
        """Return the columns of the feed that the destination finds the product by."""
        return {}

    def add_product(self, key: str) -> None:
        """Add a product with two images of its own, or an article with one."""
        raise NotImplementedError

    def remove_product(self, key: str) -> None:
        """Remove what `add_product` added, where many would slow the server down."""

    def identify(self, content: bytes) -> str:
        """Return by what `shown` and `stored` name an image."""
        return hashlib.sha256(content).hexdigest()

    def shown(self, key: str) -> Shown:
        """Return what the product shows."""
        raise NotImplementedError

    def stored(self) -> Counter[str]:
        """Return all that the server has, as often as it has it."""
        raise NotImplementedError

    def problems(self, key: str, ours: Sequence[str]) -> list[str]:
        """Return what else is wrong with what the server has, if `ours` are the images of ours there."""
        return []

    def expect_delivered(self, before: Shown, ours: Shown) -> Shown:
        """Return what the product is to show after a delivery: its own images, then ours."""
        return [*before, *ours]

    def expect_recalled(self, before: Shown) -> Sequence[Shown]:
        """Return what the product may show after a recall."""
        return [before]

    def are_shown(self, shown: Shown, before: Shown, ours: Shown) -> bool:
        """Return whether a product shows the images of several deliveries, in any order."""
        marks, wanted = Counter(mark for mark, _alt in shown), Counter(mark for mark, _alt in ours)
        if self.shows_all:
            return marks == wanted + Counter(mark for mark, _alt in before)
        return not ours or (bool(marks) and marks <= wanted)

    def disturb(self, key: str, chance: Random) -> None:
        """Change order or texts of the product as people do, where a restore puts them back."""

    def own_faults(self) -> Mapping[str, Callable[[], object]]:
        """Return by name what else can happen to the server."""
        return {}

    def heal(self) -> None:
        """End all faults."""
        for proxy in self.proxies:
            proxy.heal()


def load_scenes() -> Mapping[str, type[Scene]]:
    """Return the scenes by kind of destination."""
    for module in pkgutil.iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
    return Scene.known
