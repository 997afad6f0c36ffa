"""Images that a run leaves out because something that they need is missing, counted by cause. Nothing here writes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from generation.services.planning.drafts import Draft

#: Problems of a product, a concept or an engine, which leave its images out. Any other problem is a mistake in the
#: request, and refuses the run.
LACKS = frozenset({"missing_value", "missing_photo", "missing_cutout", "missing_scene", "missing_map", "engine"})
SUBJECTS_NAMED = 100


@dataclass(frozen=True)
class Cause:
    """One reason for which images are left out. subjects: the keys of the first SUBJECTS_NAMED of `subject_count`.

    concept: the id of the concept whose image is missing, None without one.
    """

    kind: str
    message: str
    images: int
    subject_count: int
    subjects: tuple[str, ...]
    concept: int | None = None

    @property
    def more(self) -> int:
        """Return how many subjects are not among the eight that a page names."""
        return max(0, self.subject_count - 8)


@dataclass
class _Count:
    concept: int | None
    images: int = 0
    subjects: set[int] = field(default_factory=set)
    keys: list[str] = field(default_factory=list)


class LeftOutCounter:
    """Count the drafts that a run leaves out, by cause."""

    def __init__(self) -> None:
        self.images = 0
        self._counts: dict[tuple[str, str], _Count] = {}

    def add(self, draft: Draft, *, concept: int | None = None) -> None:
        self.images += 1
        for problem in dict.fromkeys(draft.problems):
            count = self._counts.setdefault(problem, _Count(concept))
            count.images += 1
            if draft.subject.id not in count.subjects:
                count.subjects.add(draft.subject.id)
                if len(count.keys) < SUBJECTS_NAMED:
                    count.keys.append(draft.subject.key)

    def causes(self) -> tuple[Cause, ...]:
        """Return the causes, those of the most images first."""
        causes = [
            Cause(kind, message, count.images, len(count.subjects), tuple(count.keys), count.concept)
            for (kind, message), count in self._counts.items()
        ]
        return tuple(sorted(causes, key=lambda cause: -cause.images))

    def to_json(self) -> list[dict[str, Any]]:
        """Return the causes as plain data, for the run's row."""
        return [{**asdict(cause), "subjects": list(cause.subjects)} for cause in self.causes()]


def from_json(rows: list[dict[str, Any]]) -> list[Cause]:
    """Return the causes that a run's row keeps."""
    return [Cause(**{**row, "subjects": tuple(row["subjects"])}) for row in rows]


def may_leave_out(draft: Draft) -> bool:
    """True if the draft has problems, and each is that something is missing."""
    return bool(draft.problems) and all(kind in LACKS for kind, _ in draft.problems)
