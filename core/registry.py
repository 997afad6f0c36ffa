"""Registries of plug-ins by name. Each kind of plug-in has one; it loads a plug-in when it is first used.

A plug-in of another package is an entry point of the registry's group in the metadata of that package.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

P = TypeVar("P")


class Registry(Generic[P]):
    """The plug-ins of one kind, in order: our own, those of other packages, those that a module registered.

    kind: the word for one of them, such as "engine". group: of entry points. own: name -> "module:object".
    """

    def __init__(self, kind: str, group: str, own: Mapping[str, str]) -> None:
        self.kind = kind
        self.group = group
        self._own = own
        self._loaded: dict[str, P] = {}

    @cached_property
    def _entries(self) -> dict[str, EntryPoint | None]:
        """Return the entry points by name, None for a registered plug-in. Raises ValueError for two of a name."""
        entries: dict[str, EntryPoint | None] = {}
        own = (EntryPoint(name, place, self.group) for name, place in self._own.items())
        for entry in (*own, *entry_points(group=self.group)):
            if entry.name in entries:
                raise self._taken(entry.name)
            entries[entry.name] = entry
        return entries

    def register(self, name: str, plugin: P) -> None:
        """Add a plug-in. Raises ValueError if another one has that name."""
        if name in self and self._loaded.get(name) != plugin:
            raise self._taken(name)
        self._entries[name] = None
        self._loaded[name] = plugin

    def remove(self, name: str) -> None:
        del self._entries[name], self._loaded[name]

    def get(self, name: str) -> P:
        """Return the plug-in of that name. Raises ValueError, which lists the known names or says why it is broken."""
        if name not in self:
            raise ValueError(f"There is no {self.kind} {name!r}; known are {', '.join(self.names())}.")
        if (entry := self._entries[name]) is not None and name not in self._loaded:
            try:
                self._loaded[name] = entry.load()
            except (ImportError, AttributeError) as error:
                raise ValueError(f"The {self.kind} {name!r} cannot be loaded: {error}") from error
        return self._loaded[name]

    def names(self) -> list[str]:
        return sorted(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[P]:
        return (self.get(name) for name in list(self._entries))

    def _taken(self, name: str) -> ValueError:
        return ValueError(f"There are two plug-ins called {name!r}; each {self.kind} has a name of its own.")
