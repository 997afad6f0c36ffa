"""State machines as tables of transitions. The tables are in each app's states.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.utils.translation import gettext as _

from core.errors import Conflict


@dataclass(frozen=True)
class Machine:
    """A named table: state -> the states that may follow it. The initial state is first."""

    name: str
    transitions: Mapping[str, frozenset[str]]

    def allows(self, old: str, new: str) -> bool:
        return new in self.transitions[old]

    def sources(self, new: str) -> list[str]:
        """Return the states that can change to `new`, for the `WHERE state IN (...)` of a compare-and-set."""
        return [old for old, targets in self.transitions.items() if new in targets]

    def ensure(self, old: str, new: str) -> None:
        if not self.allows(old, new):
            names = {"thing": self.name, "old": old, "new": new}
            raise Conflict(_("This %(thing)s is %(old)s; it cannot become %(new)s.") % names, state=old, wanted=new)


def machine(name: str, table: Mapping[str, str]) -> Machine:
    """Build a Machine from `{"draft": "planned cancelled"}`; every named state must have its own row."""
    transitions = {state: frozenset(targets.split()) for state, targets in table.items()}
    if unknown := frozenset().union(*transitions.values()) - set(transitions):
        raise ValueError(f"{name}: no row for {sorted(unknown)}")
    return Machine(name, transitions)
