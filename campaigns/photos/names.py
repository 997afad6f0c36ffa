"""Reading the product and the view from a photo's file name: 24-MB01_2.jpg, 24-MB01-angle.png, 24-MB01/front.jpg.

Nothing is guessed: a name that could mean two products means none, and says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

PICTURES = frozenset({"jpg", "jpeg", "png", "webp", "avif"})
#: Words in a file name -> the role of the photo. What is not here is told, and taken as another angle.
ROLES = {
    word: role
    for role, words in {
        "front": "front main hero packshot cover default frontal",
        "angle": "angle side left right threequarter perspective profile alt",
        "inner": "inner inside interior open top",
        "detail": "detail details closeup close macro zoom texture label",
        "back": "back rear reverse behind bottom",
    }.items()
    for word in words.split()
}
_BREAKS = re.compile(r"[-_. ()+]+")
_NOISE = re.compile(r"(?:img|image|photo|picture|pic|view|shot|v|p|copy|final|web|\d{2,5}x\d{2,5}|px)\d{0,3}")


@dataclass(frozen=True)
class Reading:
    """The meaning of a file name. subject: the product; role and number in the row of photos; remark: what a person
    should know, empty if all was clear. Without a subject the remark says why."""

    subject: int | None
    role: str = "front"
    number: int = 1
    remark: str = ""


def is_picture(name: str) -> bool:
    return PurePosixPath(name).suffix.lstrip(".").casefold() in PICTURES


def candidates(name: str) -> list[str]:
    """Everything in a file's path that may be a SKU, case-folded: the name's beginnings, and the folders' names."""
    path = PurePosixPath(name.casefold())
    return list(dict.fromkeys([*_beginnings(path.stem), *path.parts[:-1]]))


def read(name: str, known: Callable[[str], frozenset[int]]) -> Reading:
    """Return the meaning of the path; `known` gives the subjects that have a case-folded SKU."""
    path = PurePosixPath(name.casefold())
    by_name = [(key, known(key)) for key in _beginnings(path.stem) if known(key)]
    by_folder = [(key, known(key)) for key in reversed(path.parts[:-1]) if known(key)]
    if len({one for _, found in by_name for one in found}) == 1:
        by_name = by_name[:1]  # a variant's SKU and its product's
    if len(by_name) > 1:
        # 24-MB01-2.jpg: the product 24-MB01-2, or the second photo of 24-MB01? Its folder may say.
        folder = {one for _, found in by_folder[:1] for one in found}
        agreeing = [(key, found & folder) for key, found in by_name if found & folder]
        if len(agreeing) != 1:
            meant = " or ".join(repr(key.upper()) for key, _ in by_name)
            return Reading(None, remark=f"It could be of {meant}. Put it into a folder named by the SKU.")
        by_name = agreeing
    elif by_name and by_folder and not (by_name[0][1] & by_folder[0][1]):
        meant = f"{by_name[0][0].upper()!r}, and its folder means {by_folder[0][0].upper()!r}"
        return Reading(None, remark=f"Its name means {meant}. Rename one of them.")
    if not by_name and not by_folder:
        return Reading(None, remark="No SKU of yours is in its name or its folder's.")
    key, found = by_name[0] if by_name else by_folder[0]
    if len(found) > 1:
        return Reading(None, remark=f"Several subjects have the SKU {key.upper()!r}. Drop it on the right one.")
    rest = path.stem[len(key) :] if by_name else path.stem
    return _shown(next(iter(found)), rest)


def _beginnings(stem: str) -> Iterator[str]:
    """ "24-mb01-angle" gives itself, "24-mb01" and "24", the longest first."""
    yield stem
    for found in reversed(list(_BREAKS.finditer(stem))):
        if found.start():
            yield stem[: found.start()]


def _shown(subject: int, rest: str) -> Reading:
    """Role and number out of the words that are left: "_2", "-angle", "front"."""
    words = [word for word in _BREAKS.split(rest) if word and not _NOISE.fullmatch(word)]
    numbers = [int(word) for word in words if word.isdecimal() and len(word) < 4]
    roles = [ROLES[word] for word in words if word in ROLES]
    strange = [word for word in words if not word.isdecimal() and word not in ROLES]
    number = numbers[0] if numbers else 1
    if len(set(roles)) > 1:
        said = f"It names several roles ({', '.join(dict.fromkeys(roles))}); it was taken as {roles[0]}."
        return Reading(subject, roles[0], number, said)
    if roles:
        return Reading(subject, roles[0], number)
    if strange:
        said = f"“{strange[0]}” is no role that is known; it was taken as another angle. Change it on the product."
        return Reading(subject, "angle", max(number, 2), said)
    return Reading(subject, "front" if number <= 1 else "angle", number)
