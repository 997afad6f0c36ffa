"""Subjects that people edit: create articles and concepts from a list of titles, edit, retire and restore subjects.

Products from a feed are written by services/merging.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.utils.text import slugify
from django.utils.translation import gettext as _

from campaigns import events
from campaigns.choices import SubjectKind
from campaigns.feeds import cells, vocabulary
from campaigns.models import Subject
from core import clock
from core.access import Action, require
from core.errors import Invalid, Problem, Stale
from core.events import publish
from core.models import Brand, User
from core.selectors.rows import first_or_refuse

MAX_AT_ONCE = 2000
KEY_LENGTH, NAME_LENGTH, VALUE_LENGTH = 255, 300, 2000
MADE_KEY_LENGTH = 115
"""The most characters of a key that is made from a title, without a number behind it."""
MAX_ATTRIBUTES = 100
_NAME = re.compile(r"[^\W\d][\w ]{0,59}")


@dataclass(frozen=True)
class NewSubject:
    """A subject to create. key: empty to make a key from the name."""

    name: str
    key: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)


def read_titles(text: str) -> list[NewSubject]:
    """Read one subject per line: a title, or `key | title`. Skips empty lines, list marks and repeated lines."""
    entries: dict[str, NewSubject] = {}
    for line in text.splitlines():
        plain = re.sub(r"^\s*(?:[-*•]|\d{1,3}[.)])\s+", "", line).strip()
        if not plain:
            continue
        key, bar, name = plain.partition("|")
        entry = NewSubject(name.strip(), key.strip()) if bar and name.strip() else NewSubject(plain.strip("| "))
        entries.setdefault(f"{entry.key} {entry.name}".casefold(), entry)
    return list(entries.values())


@transaction.atomic
def create(*, brand: Brand, kind: str, entries: Sequence[NewSubject], by: User) -> tuple[list[Subject], list[str]]:
    """Create subjects of one kind; return them, and the names of entries whose key or title existed already.

    Raises NotAllowed, and Invalid with the line of each mistake; nothing is written then.
    """
    require(by, Action.EDIT_CAMPAIGN, brand)
    _check(kind, entries)
    Brand.objects.select_for_update().get(pk=brand.pk)
    rows = Subject.objects.filter(brand=brand, kind=kind)
    entry_keys = [(entry, entry.key or _key(entry.name)) for entry in entries]
    names = set(rows.filter(name__in=[entry.name for entry in entries]).values_list("name", flat=True))
    # The requested keys, and the numbered ones that may be made from them.
    possible = [name for entry, key in entry_keys for name in (key, *(f"{key}-{number}" for number in range(2, 21)))]
    taken = {key.casefold() for key in rows.filter(key__in=possible).values_list("key", flat=True)}
    made: list[Subject] = []
    existing: list[str] = []
    for entry, key in entry_keys:
        if entry.name in names or (entry.key and entry.key.casefold() in taken):
            existing.append(entry.name)
            continue
        key = key if entry.key else free_key(key, taken)
        taken.add(key.casefold())
        made.append(Subject(brand=brand, kind=kind, key=key, name=entry.name, attributes=dict(entry.attributes)))
    Subject.objects.bulk_create(made)
    if made:
        keys = [subject.key for subject in made[:100]]
        publish(events.SubjectsCreated.of(brand, kind=kind, count=len(made), keys=keys), by=by)
    return made, existing


@transaction.atomic
def edit(
    *,
    subject_id: int,
    by: User,
    name: str | None = None,
    attributes: Iterable[tuple[str, str]] | None = None,
    seen: str = "",
) -> Subject:
    """Change a subject by hand. `attributes`, names and values, replace all: missing or empty ones are removed.

    seen: `form_version` as the editor had it; Stale if somebody, or a feed, has changed the subject since. A later feed
    may change the same fields again. Raises NotFound, NotAllowed, Invalid.
    """
    subject = _lock_subject(subject_id, by)
    if seen and seen != form_version(subject):
        message = _("%(key)s was changed since you opened it. Load the page again, then change it.")
        raise Stale(message % {"key": subject.key})
    changes: dict[str, list[Any]] = {}
    problems: list[Problem] = []
    if name is not None and name.strip() != subject.name:
        name = name.strip()
        if not 1 <= len(name) <= NAME_LENGTH:
            problems.append(Problem("name", _("A name has 1 to %(most)d characters.") % {"most": NAME_LENGTH}))
        changes["name"] = [subject.name, name]
        subject.name = name
    if attributes is not None:
        fresh, mistakes = _read_attributes(attributes)
        problems += mistakes
        for label in sorted(fresh.keys() | subject.attributes.keys()):
            was, now = subject.attributes.get(label), fresh.get(label)
            if was != now:
                changes[f"attributes.{label}"] = [was, now]
        subject.attributes = fresh
    if problems:
        raise Invalid(problems[0].message, problems)
    if changes:
        subject.save(update_fields=["name", "attributes", "updated_at"])
        publish(events.SubjectChanged.of(subject, changes=changes), by=by)
    return subject


def form_version(subject: Subject) -> str:
    """Return the value that a form sends back as `seen`."""
    return subject.updated_at.isoformat()


@transaction.atomic
def set_active(*, subject_id: int, by: User, is_active: bool) -> Subject:
    """Exclude a subject from new runs, or include it again; images made of it stay. Raises NotFound, NotAllowed."""
    subject = _lock_subject(subject_id, by)
    if subject.is_active != is_active:
        subject.is_active = is_active
        Subject.objects.filter(pk=subject.pk).update(is_active=is_active, updated_at=clock.now())
        kind = events.SubjectRestored if is_active else events.SubjectRetired
        publish(kind.of(subject, key=subject.key), by=by)
    return subject


def _lock_subject(subject_id: int, by: User) -> Subject:
    rows = Subject.objects.visible_to(by).select_related("brand").filter(pk=subject_id)
    visible = first_or_refuse(rows, _("There is no subject %(id)s.") % {"id": subject_id}, subject=subject_id)
    require(by, Action.EDIT_CAMPAIGN, visible.brand)
    return Subject.objects.select_for_update().get(pk=subject_id)


def ensure_kind(kind: str) -> None:
    if kind not in SubjectKind.values:
        message = _("There is no kind %(kind)r; known are %(names)s.")
        raise Invalid(message % {"kind": kind, "names": ", ".join(SubjectKind.values)})


def _check(kind: str, entries: Sequence[NewSubject]) -> None:
    ensure_kind(kind)
    if not entries:
        message = _("Write at least one title, each on a line of its own.")
        raise Invalid(message, [Problem("titles", _("There is no title."))])
    if len(entries) > MAX_AT_ONCE:
        message = _("%(count)s titles at once are too many; take %(most)s, or import a file.")
        raise Invalid(message % {"count": f"{len(entries):,}", "most": f"{MAX_AT_ONCE:,}"})
    problems = []
    for line, entry in enumerate(entries, start=1):
        if not entry.name.strip() or len(entry.name) > NAME_LENGTH:
            message = _("Title %(line)d has %(count)d characters; 1 to %(most)d are accepted.")
            values = {"line": line, "count": len(entry.name), "most": NAME_LENGTH}
            problems.append(Problem("titles", message % values, entry.name[:80]))
        if len(entry.key) > KEY_LENGTH:
            message = _("The key of title %(line)d has %(count)d characters; at most %(most)d are accepted.")
            values = {"line": line, "count": len(entry.key), "most": KEY_LENGTH}
            problems.append(Problem("titles", message % values, entry.key[:80]))
        problems += _read_attributes(entry.attributes.items())[1]
    if problems:
        raise Invalid(problems[0].message, problems)


def _read_attributes(given: Iterable[tuple[str, str]]) -> tuple[dict[str, str], list[Problem]]:
    """Return the attributes that have a value, and a problem at row and field of each mistake."""
    problems: list[Problem] = []
    kept: dict[str, str] = {}
    for row, (label, value) in enumerate(given):
        label, value = label.strip(), str(value).strip()
        if not value:
            continue
        if not _NAME.fullmatch(label):
            message = _("“%(name)s” cannot name an attribute: a letter first, then letters, digits, spaces or _.")
            problems.append(Problem(f"attributes/{row}/label", message % {"name": label[:60]}, label[:80]))
        elif label.casefold() in map(str.casefold, kept):
            message = _("There is an attribute “%(name)s” above already; give this one another name.")
            problems.append(Problem(f"attributes/{row}/label", message % {"name": label}, label))
        if len(value) > VALUE_LENGTH:
            message = _("%(name)s has %(count)s characters; at most %(most)s are accepted.")
            values = {"name": label, "count": f"{len(value):,}", "most": f"{VALUE_LENGTH:,}"}
            problems.append(Problem(f"attributes/{row}/value", message % values, value[:80]))
        elif label.casefold() in vocabulary.HEX:
            try:
                value = cells.hex_colour(value)
            except cells.Unreadable as error:
                problems.append(Problem(f"attributes/{row}/value", str(error), value))
        kept.setdefault(label, value)
    if len(kept) > MAX_ATTRIBUTES:
        message = _("%(count)d attributes are too many; at most %(most)d.")
        problems.append(Problem("attributes", message % {"count": len(kept), "most": MAX_ATTRIBUTES}))
    return kept, problems


def _key(name: str) -> str:
    return slugify(name, allow_unicode=True)[:MADE_KEY_LENGTH].strip("-") or "untitled"


def free_key(stem: str, taken: Set[str]) -> str:
    """Return the stem, or the stem and the first number from 2 on, that is not among the case-folded keys `taken`."""
    keys = (stem, *(f"{stem}-{number}" for number in range(2, len(taken) + 3)))
    return next(key for key in keys if key.casefold() not in taken)
