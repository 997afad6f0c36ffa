"""Reads the product and the view from a photo's file name: 24-MB01_2.jpg, 24-MB01-angle.png, 24-MB01/front.jpg.

Nothing is guessed: a name that could mean two products gives no product, and a remark that says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

IMAGES = frozenset({"jpg", "jpeg", "png", "webp", "avif"})
#: Words in a file name -> the role of the photo. An unknown word gives a remark, and the role "angle".
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
_NOISE = re.compile(r"(?:img|image|photo|image|pic|view|shot|v|p|copy|final|web|\d{2,5}x\d{2,5}|px)\d{0,3}")


@dataclass(frozen=True)
class FileNameMeaning:
    """The meaning of a file name.

    subject: the product. role and number: the photo's place among the product's photos. remark: a sentence for people,
    empty if the name is clear; without a subject it says why.
    """

    subject: int | None
    role: str = "front"
    number: int = 1
    remark: str = ""


def is_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lstrip(".").casefold() in IMAGES


def candidates(name: str) -> list[str]:
    """Return the parts of a path that may be a SKU, case-folded: the name's beginnings and the folders' names."""
    path = PurePosixPath(name.casefold())
    return list(dict.fromkeys([*_beginnings(path.stem), *path.parts[:-1]]))


def read_file_name(name: str, subjects_of: Callable[[str], frozenset[int]]) -> FileNameMeaning:
    """Return the meaning of the path; `subjects_of` returns the subjects with a case-folded SKU."""
    path = PurePosixPath(name.casefold())
    by_name = [(key, subjects_of(key)) for key in _beginnings(path.stem) if subjects_of(key)]
    by_folder = [(key, subjects_of(key)) for key in reversed(path.parts[:-1]) if subjects_of(key)]
    if len({subject for _, subjects in by_name for subject in subjects}) == 1:
        by_name = by_name[:1]  # a variant's SKU and its product's
    if len(by_name) > 1:
        # 24-MB01-2.jpg: the product 24-MB01-2, or the second photo of 24-MB01? Its folder may say.
        folder = {subject for _, subjects in by_folder[:1] for subject in subjects}
        agreeing = [(key, subjects & folder) for key, subjects in by_name if subjects & folder]
        if len(agreeing) != 1:
            meant = " or ".join(repr(key.upper()) for key, _ in by_name)
            return FileNameMeaning(None, remark=f"It could be of {meant}. Put it into a folder named by the SKU.")
        by_name = agreeing
    elif by_name and by_folder and not (by_name[0][1] & by_folder[0][1]):
        meant = f"{by_name[0][0].upper()!r}, and its folder means {by_folder[0][0].upper()!r}"
        return FileNameMeaning(None, remark=f"Its name means {meant}. Rename one of them.")
    if not by_name and not by_folder:
        return FileNameMeaning(None, remark="No SKU of yours is in its name or its folder's.")
    key, subjects = by_name[0] if by_name else by_folder[0]
    if len(subjects) > 1:
        return FileNameMeaning(None, remark=f"Several subjects have the SKU {key.upper()!r}. Drop it on the right one.")
    rest = path.stem[len(key) :] if by_name else path.stem
    return _parse_role_and_number(next(iter(subjects)), rest)


def _beginnings(stem: str) -> Iterator[str]:
    """Yield the beginnings, the longest first: "24-mb01-angle", "24-mb01" and "24"."""
    yield stem
    for match in reversed(list(_BREAKS.finditer(stem))):
        if match.start():
            yield stem[: match.start()]


def _parse_role_and_number(subject: int, rest: str) -> FileNameMeaning:
    """Read role and number from the rest of the name: "_2", "-angle", "front"."""
    words = [word for word in _BREAKS.split(rest) if word and not _NOISE.fullmatch(word)]
    numbers = [int(word) for word in words if word.isdecimal() and len(word) < 4]
    roles = [ROLES[word] for word in words if word in ROLES]
    strange = [word for word in words if not word.isdecimal() and word not in ROLES]
    number = numbers[0] if numbers else 1
    if len(set(roles)) > 1:
        remark = f"It names several roles ({', '.join(dict.fromkeys(roles))}); it was taken as {roles[0]}."
        return FileNameMeaning(subject, roles[0], number, remark)
    if roles:
        return FileNameMeaning(subject, roles[0], number)
    if strange:
        remark = f"“{strange[0]}” is no role that is known; it was taken as another angle. Change it on the product."
        return FileNameMeaning(subject, "angle", max(number, 2), remark)
    return FileNameMeaning(subject, "front" if number <= 1 else "angle", number)
