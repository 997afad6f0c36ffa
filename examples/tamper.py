"""Change one byte in an exported audit trail, as a forger would."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Forgery:
    """The forged copy and the change: `seq` is the link, `before` and `after` are its actor."""

    lines: tuple[str, ...]
    seq: int
    before: str
    after: str


def forge(lines: Sequence[str], *, at: int) -> Forgery:
    """Return a copy of the trail in which line `at` (from 0) names another actor: one ASCII letter, one byte, differs.

    The copy stays readable JSON of the same length. Raises ValueError for a line whose actor has no such letter.
    """
    line = lines[at]
    plain = json.loads(line)
    actor = str(plain["body"]["actor_label"])
    place = next((k for k, letter in enumerate(actor) if letter.isascii() and letter.isalpha()), None)
    if place is None:
        raise ValueError(f"Link {plain['seq']} has no letter to change in its actor {actor!r}.")
    other = chr(ord(actor[place]) ^ 0x20)
    forged = f"{actor[:place]}{other}{actor[place + 1 :]}"
    old, new = (json.dumps(name, ensure_ascii=False) for name in (actor, forged))
    changed = line.replace(f'"actor_label":{old}', f'"actor_label":{new}', 1)
    if changed == line:
        raise ValueError(f"Link {plain['seq']} is not written as audit exports are.")
    return Forgery((*lines[:at], changed, *lines[at + 1 :]), int(plain["seq"]), actor, forged)
