"""The matrix of a run as the page shows it: columns of axis values, rows of subjects, one mark per cell."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from campaigns.models import ReferencePhoto
from generation.choices import RunShape
from generation.models import Run
from generation.selectors import failures, matrix
from generation.selectors.matrix import MatrixCell

#: The most cells and the most subjects on a page of the matrix.
CELLS, MAX_ROWS = 600, 60
SMALL_ABOVE = 300
_PROBLEMS = {"failed", "rejected", "revoked", "stale"}


class MatrixSquare(MatrixCell):
    @property
    def label(self) -> str:
        return " · ".join(_words(self.values, self.aspect))

    @property
    def mark(self) -> str:
        """Return a text that changes whenever the cell would be drawn differently."""
        code = self.cause.code if self.cause else ""
        facts = (self.state, self.version_id, self.worst_outcome, self.percent, self.is_running, code, self.error)
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:5]

    @property
    def drawn_state(self) -> str:
        """Return the shape to draw: "running" while the image is being made, "stuck" if it failed, else the state."""
        if self.version_id is None and self.is_running:
            return "running"
        return "stuck" if self.version_id is None and self.cause else self.state

    @property
    def is_problem(self) -> bool:
        return self.state in _PROBLEMS or self.worst_outcome in {"flag", "fail"} or self.cause is not None


@dataclass(frozen=True)
class Line:
    subject_id: int
    key: str
    name: str
    photo: ReferencePhoto | None
    squares: Sequence[MatrixSquare | None]


@dataclass(frozen=True)
class Sheet:
    """One page of the matrix. columns: the axis values and the aspect of each column, one word each; empty for a list
    run, where each image has its own values. after: where the next page begins, None on the last one."""

    columns: Sequence[Sequence[str]]
    lines: Sequence[Line]
    after: int | None
    only_problems: bool
    is_small: bool
    is_list: bool


def load_sheet(run: Run, *, after: int = -1, only_problems: bool = False) -> Sheet:
    """Return a page of the matrix. Three queries: the columns, a page of subjects with their cells, the photos."""
    is_list = run.shape == RunShape.LIST
    columns = [] if is_list else matrix.columns(run)
    width = matrix.size(run)[1] if is_list else len(columns)
    limit = max(4, min(MAX_ROWS, CELLS // max(1, width)))
    rows = matrix.rows(run, limit=limit + 1, after=after, only_problems=only_problems)
    more, rows = rows[limit:], rows[:limit]
    shown = failures.photos(row.subject_id for row in rows)
    places = {(column.values_key, column.aspect): place for place, column in enumerate(columns)}
    lines = []
    for row in rows:
        squares: list[MatrixSquare | None] = [None] * width
        for place, cell in enumerate(row.cells):
            place = place if is_list else places[cell.values_key, cell.aspect]
            squares[place] = MatrixSquare(**vars(cell))
        lines.append(Line(row.subject_id, row.subject_key, row.subject_name, shown.get(row.subject_id), squares))
    has_aspects = len({column.aspect for column in columns}) > 1
    return Sheet(
        columns=[_words(column.values, column.aspect if has_aspects or not column.values else "") for column in columns]
        or [()] * width,
        lines=lines,
        after=rows[-1].place if more else None,
        only_problems=only_problems,
        is_small=run.cell_count > SMALL_ABOVE,
        is_list=is_list,
    )


def load_squares(run: Run, page_marks: Mapping[int, str]) -> list[MatrixSquare]:
    """Return the cells that would be drawn differently now. page_marks: cell id -> mark on the page. One query."""
    squares = [MatrixSquare(**vars(cell)) for cell in matrix.cells(run, list(page_marks))]
    return [square for square in squares if page_marks[square.cell_id] != square.mark]


def _words(values: Mapping[str, Any], aspect: str) -> list[str]:
    return [word for word in (*(str(value) for value in values.values()), aspect) if word]
