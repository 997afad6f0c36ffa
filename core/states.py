"""State machines as tables of transitions. The tables are in each app's states.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core.errors import Conflict


@dataclass(frozen=True)
class Machine:
    """A named table: state -> the states that may follow it. The initial state is first."""

    name: str
    transitions: Mapping[str, frozenset[str]]

    @property
    def states(self) -> tuple[str, ...]:
        return tuple(self.transitions)

    @property
    def initial(self) -> str:
        return next(iter(self.transitions))

    def allows(self, old: str, new: str) -> bool:
        return new in self.transitions[old]

    def sources(self, new: str) -> list[str]:
        """Return the states that can change to `new`, for the `WHERE state IN (...)` of a compare-and-set."""
        return [old for old, targets in self.transitions.items() if new in targets]

    def ensure(self, old: str, new: str) -> None:
        """Raise Conflict unless the table allows old -> new."""
        if not self.allows(old, new):
            raise Conflict(f"This {self.name} is {old}; it cannot become {new}.", state=old, wanted=new)


def machine(name: str, table: Mapping[str, str]) -> Machine:
    """Build a Machine from `{"draft": "planned cancelled"}`; every named state must have its own row."""
    transitions = {state: frozenset(targets.split()) for state, targets in table.items()}
    unknown = {t for targets in transitions.values() for t in targets} - set(transitions)
    if unknown:
        raise ValueError(f"{name}: no row for {sorted(unknown)}")
    return Machine(name, transitions)
