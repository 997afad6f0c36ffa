"""A run's matrix as the page draws it: columns of axis values, rows of subjects, one mark per cell."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from campaigns.models import ReferencePhoto
from generation.models import Run
from generation.selectors import runs
from generation.selectors.runs import MatrixCell

ROWS = 100
SMALL_ABOVE = 300
_PROBLEMS = {"failed", "rejected", "revoked", "stale"}


@dataclass(frozen=True)
class Square:
    """One cell. mark: changes whenever the cell would be drawn differently."""

    cell_id: int
    asset_id: int
    state: str
    version_id: int | None
    outcome: str
    percent: int | None
    is_running: bool
    error: str
    label: str

    @property
    def mark(self) -> str:
        text = f"{self.state}/{self.version_id}/{self.outcome}/{self.percent}/{self.is_running}/{self.error}"
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    @property
    def look(self) -> str:
        """What is drawn: a state, or "running" while it is being made."""
        return "running" if self.is_running and self.version_id is None else self.state


@dataclass(frozen=True)
class Line:
    subject_id: int
    key: str
    name: str
    photo: ReferencePhoto | None
    squares: Sequence[Square | None]


@dataclass(frozen=True)
class Sheet:
    """One page of the matrix. columns: labels of axis values and aspect."""

    columns: Sequence[str]
    lines: Sequence[Line]
    page: int
    pages: int
    only_problems: bool
    is_small: bool

    @property
    def previous(self) -> int:
        return self.page - 1

    @property
    def next(self) -> int:
        return self.page + 1

    @property
    def cells(self) -> list[Square]:
        return [square for line in self.lines for square in line.squares if square]


def load_sheet(run: Run, *, page: int = 1, only_problems: bool = False) -> Sheet:
    """Three queries: the subjects' count, the cells, the photos."""
    total = run.cells.values("subject_id").distinct().count()
    rows = runs.matrix(run, limit=ROWS, offset=(page - 1) * ROWS)
    columns: dict[tuple[str, str], str] = {}
    for row in rows:
        for cell in row.cells:
            columns.setdefault((cell.values_key, cell.aspect), _label(cell))
    names = list(columns.values())
    photos: dict[int, ReferencePhoto] = {}
    stored = ReferencePhoto.objects.filter(subject_id__in=[row.subject_id for row in rows]).exclude(storage_key="")
    for photo in stored.order_by("-position", "-id"):
        photos[photo.subject_id] = photo
    lines = []
    for row in rows:
        there = {(cell.values_key, cell.aspect): _square(cell) for cell in row.cells}
        squares = [there.get(column) for column in columns]
        if only_problems and not any(one and _is_problem(one) for one in squares):
            continue
        lines.append(Line(row.subject_id, row.subject_key, row.subject_name, photos.get(row.subject_id), squares))
    pages = max(1, -(-total // ROWS))
    return Sheet(names, lines, page, pages, only_problems, len(names) * len(rows) > SMALL_ABOVE)


def _is_problem(square: Square) -> bool:
    return square.state in _PROBLEMS or square.outcome in {"flag", "fail"} or bool(square.error)


def _label(cell: MatrixCell) -> str:
    values = " · ".join(str(value) for value in cell.values.values())
    return f"{values} {cell.aspect}".strip()


def _square(cell: MatrixCell) -> Square:
    return Square(
        cell_id=cell.cell_id,
        asset_id=cell.asset_id,
        state=cell.state,
        version_id=cell.version_id,
        outcome=cell.worst_outcome or "",
        percent=cell.percent,
        is_running=cell.is_running,
        error=cell.error,
        label=_label(cell),
    )
