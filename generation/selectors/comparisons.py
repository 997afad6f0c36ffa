"""Read contact sheets: the rows as one person may see them, and the results of the votes.

This module keeps the comparison blind. Before a row is revealed to a person, it returns nothing that tells the columns
apart except the images themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb, sqrt
from statistics import median
from typing import Any, Final

from django.db.models import Count, OuterRef, Prefetch, Q, QuerySet, Subquery
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from campaigns.models import PromptVersion
from core.errors import NotFound
from core.models import Brand, User
from core.selectors.rows import first_or_refuse
from generation.choices import WORDS_AXIS, AssetState, AttemptOutcome, JobState, LedgerKind
from generation.models import Asset, AssetVersion, Attempt, Job, LedgerEntry
from generation.models.comparisons import Comparison, ComparisonColumn, ComparisonVote

ROWS: Final = 8
LETTERS: Final = "ABCDEF"
MISSING: Final = (AssetState.FAILED, AssetState.SUPERSEDED)
#: The number of votes below which they are too few for a choice.
MIN_VOTES: Final = 12
SIGNIFICANCE_LEVEL: Final = 0.05
_Z95: Final = 1.959964


@dataclass(frozen=True)
class JobCost:
    """The cost of one job. is_fresh: the image was made for this sheet and not taken from the brand's existing ones."""

    run_id: int = 0
    cell_id: int = 0
    is_fresh: bool = False
    is_failed: bool = False
    seconds: float | None = None
    cost: Any = None
    problem: str = ""


@dataclass(frozen=True)
class RevealedCell:
    """The facts of a revealed cell. Its job has no seconds and no cost where the image was made earlier."""

    column: ComparisonColumn
    job: JobCost
    asset_id: int | None
    votes: int


@dataclass(frozen=True)
class BlindImage:
    """One image of a row under its letter. revealed: None until the row is revealed to the person."""

    letter: str
    is_made: bool
    is_missing: bool
    is_own_vote: bool
    revealed: RevealedCell | None = None


@dataclass(frozen=True)
class Row:
    """One row as one person sees it.

    words: the free prompt, "" for a row of a product. is_voted: this person has voted. is_for_none: the person voted
    for none of the images. disclaimers: the disclaimers of all columns, which must stand beside the images of the row.
    """

    number: int
    subject: Any
    words: str
    squares: Sequence[BlindImage]
    made: int
    is_settled: bool
    is_voted: bool
    is_revealed: bool
    is_for_none: bool
    disclaimers: Sequence[str]

    @property
    def place(self) -> int:
        return self.number + 1


@dataclass(frozen=True)
class Tally:
    """One column in numbers.

    share: its part of the votes that named an image, 0–1. low, high: the interval in which the true share lies in 95 of
    100 such samples. seconds, cost: medians over the `measured` images that were made for this sheet.
    """

    column: ComparisonColumn
    wins: int
    share: float | None
    low: float
    high: float
    seconds: float | None
    cost: Any
    measured: int
    failed: int

    @property
    def name(self) -> str:
        version = self.column.run.prompt_version
        return _("free prompts") if is_free(version) else str(version)


@dataclass(frozen=True)
class Results:
    """The results of a contact sheet. tallies: the column with the most wins first. votes: all votes; named: the votes
    for an image. conclusion: the conclusion as a sentence; is_sure: True if the lead is more than chance."""

    tallies: Sequence[Tally]
    votes: int
    named: int
    voters: int
    rows: int
    conclusion: str
    is_sure: bool

    @property
    def undecided(self) -> int:
        return self.votes - self.named


def visible(user: User, brand: Brand) -> QuerySet[Any]:
    """Return the brand's contact sheets, newest first, with author, `column_count`, `vote_count` and `my_votes`."""
    return (
        _of_brand(user, brand)
        .annotate(
            column_count=Count("columns", distinct=True),
            vote_count=Count("votes", distinct=True),
            my_votes=Count("votes", filter=Q(votes__voter=user), distinct=True),
        )
        .order_by("-id")
    )


def get(user: User, brand: Brand, pk: int) -> Comparison:
    """Return a comparison with its columns, their runs, endpoints and versions. Raises NotFound."""
    columns = ComparisonColumn.objects.select_related("run__endpoint", "run__prompt_version__template")
    rows = _of_brand(user, brand).prefetch_related(Prefetch("columns", columns))
    sentence = _("There is no comparison %(id)s in %(brand)s.")
    comparison: Comparison = first_or_refuse(rows.filter(pk=pk), sentence % {"id": pk, "brand": brand.name})
    return comparison


def _of_brand(user: User, brand: Brand) -> QuerySet[Any]:
    return Comparison.objects.visible_to(user).filter(brand=brand).select_related("created_by")


def shuffled_columns(comparison: Comparison, row: int, user: User) -> list[ComparisonColumn]:
    """Return the columns in the order of their letters. The order differs for each row and each person, never changes,
    and only this server can compute it."""

    def place(column: ComparisonColumn) -> str:
        identity = f"{comparison.pk} {row} {user.pk} {column.pk}"
        return salted_hmac("proofline.comparison", identity, algorithm="sha256").hexdigest()

    return sorted(comparison.columns.all(), key=place)


def find_column(comparison: Comparison, row: int, letter: str, user: User) -> ComparisonColumn:
    """Return the column behind a letter. Raises NotFound for a letter or a row that the sheet does not have."""
    columns = shuffled_columns(comparison, row, user)
    place = LETTERS.find(letter) if len(letter) == 1 else -1
    if not 0 <= place < len(columns) or not 0 <= row < comparison.row_count:
        place_names = {"comparison": comparison.name, "letter": letter[:10], "row": row + 1}
        raise NotFound(_("%(comparison)s has no image %(letter)r in row %(row)d.") % place_names)
    return columns[place]


def image(column: ComparisonColumn, row: int) -> AssetVersion:
    """Return the first image of a cell. Raises NotFound while there is none."""
    versions = AssetVersion.objects.filter(asset__cell__run=column.run_id, asset__cell__position=row)
    rows = versions.select_related("master").order_by("round", "candidate")
    version: AssetVersion = first_or_refuse(rows, _("This image is not made yet."))
    return version


def rows(comparison: Comparison, user: User, numbers: Sequence[int]) -> list[Row]:
    """Return these rows as the person may see them; three queries for any number of rows."""
    runs = [column.run_id for column in comparison.columns.all()]
    listed = Asset.objects.filter(cell__run__in=runs, cell__position__in=numbers)
    listed = listed.select_related("cell", "subject", "current_version")
    assets = {(asset.cell.run_id, asset.cell.position): asset for asset in listed}
    votes = list(ComparisonVote.objects.filter(comparison=comparison, row__in=numbers))
    own_votes = {vote.row: vote for vote in votes if vote.voter_id == user.pk}
    opened = [row for row, vote in own_votes.items() if vote.revealed_at]
    revealed_cells = [asset.cell_id for (_run, row), asset in assets.items() if row in opened]
    first = Job.objects.filter(cell__in=revealed_cells, frozen__round=1, frozen__candidate=1)
    made = {job.cell_id: job for job in _job_costs(first)} if revealed_cells else {}
    return [_row(comparison, user, number, assets, votes, own_votes.get(number), made) for number in numbers]


def count_open_rows(comparison: Comparison, user: User) -> dict[str, int]:
    """Count the rows that the person "voted" on, those of them not revealed yet ("closed"), and the others ("left")."""
    own_votes = ComparisonVote.objects.filter(comparison=comparison, voter=user)
    counts: dict[str, int] = own_votes.aggregate(voted=Count("pk"), closed=Count("pk", filter=Q(revealed_at=None)))
    return counts | {"left": comparison.row_count - counts["voted"]}


def progress(comparison: Comparison) -> dict[str, int]:
    """Count the sheet's images: "made", "failed" and "all". The progress of single columns stays hidden. One query."""
    runs = [column.run_id for column in comparison.columns.all()]
    has_failed = Q(status__in=(JobState.FAILED, JobState.QUARANTINED, JobState.CANCELLED))
    counts: dict[str, int] = Job.objects.filter(run__in=runs).aggregate(
        all=Count("pk"), made=Count("pk", filter=Q(status=JobState.SUCCEEDED)), failed=Count("pk", filter=has_failed)
    )
    return counts


def results(comparison: Comparison) -> Results:
    """Return the results of everybody's votes, with the time and the cost of the images. Two queries."""
    columns = list(comparison.columns.all())
    votes = list(ComparisonVote.objects.filter(comparison=comparison).values_list("column_id", "row", "voter_id"))
    named = [column for column, _row_number, _voter in votes if column is not None]
    jobs = _job_costs(Job.objects.filter(run__in=[column.run_id for column in columns]))
    tallies = [_tally(column, named, [job for job in jobs if job.run_id == column.run_id]) for column in columns]
    tallies.sort(key=lambda tally: (-tally.wins, tally.column.position))
    names = [column_name(tally.column) for tally in tallies]
    voters = {voter for _column, _row_number, voter in votes}
    voted_rows = {row for _column, row, _voter in votes}
    sentence, is_sure = conclusion([tally.wins for tally in tallies], names)
    return Results(tallies, len(votes), len(named), len(voters), len(voted_rows), sentence, is_sure)


def column_name(column: ComparisonColumn) -> str:
    version = column.run.prompt_version
    return column.run.endpoint.name if is_free(version) else f"{column.run.endpoint.name}, {version}"


def is_free(version: PromptVersion) -> bool:
    """Return whether the version is that of a column of free prompts, where each row has its own text."""
    return version.text == f"{{{WORDS_AXIS}}}"


def _row(
    comparison: Comparison,
    user: User,
    number: int,
    assets: Mapping[tuple[int, int], Asset],
    votes: Sequence[ComparisonVote],
    own_vote: ComparisonVote | None,
    made: Mapping[int, JobCost],
) -> Row:
    order = shuffled_columns(comparison, number, user)
    row_assets = [assets.get((column.run_id, number)) for column in order]
    made_count = sum(asset is not None and asset.state != AssetState.MAKING for asset in row_assets)
    is_settled = made_count == len(order)
    is_revealed = own_vote is not None and own_vote.revealed_at is not None
    squares = []
    for letter, column, asset in zip(LETTERS, order, row_assets, strict=False):
        is_missing = asset is None or asset.state in MISSING
        revealed = None
        if is_revealed:
            job = (made.get(asset.cell_id) if asset else None) or JobCost()
            wins = sum(vote.row == number and vote.column_id == column.pk for vote in votes)
            revealed = RevealedCell(column, job, asset.pk if asset else None, wins)
        is_own_vote = own_vote is not None and own_vote.column_id == column.pk
        squares.append(
            BlindImage(letter, is_settled and not is_missing, is_settled and is_missing, is_own_vote, revealed)
        )
    first = next(row_asset for row_asset in row_assets if row_asset is not None)
    values = first.cell.axis_values
    return Row(
        number=number,
        subject=None if WORDS_AXIS in values else first.subject,
        words=str(values.get(WORDS_AXIS, "")),
        squares=squares,
        made=made_count,
        is_settled=is_settled,
        is_voted=own_vote is not None,
        is_revealed=is_revealed,
        is_for_none=own_vote is not None and own_vote.column_id is None,
        disclaimers=sorted({column.run.endpoint.disclaimer for column in order} - {""}),
    )


def _job_costs(jobs: QuerySet[Any]) -> list[JobCost]:
    """Return the costs of the jobs. One query."""
    succeeded = Attempt.objects.filter(job=OuterRef("pk"), outcome=AttemptOutcome.SUCCEEDED).order_by("-number")
    settled = LedgerEntry.objects.filter(job=OuterRef("pk"), kind=LedgerKind.SETTLE)
    details, paid = Subquery(succeeded.values("details")[:1]), Subquery(settled.values("amount")[:1])
    costs = []
    for job in jobs.annotate(details=details, paid=paid):
        is_fresh = job.details is not None and "reused_master" not in job.details
        seconds, cost = (job.details.get("seconds"), job.paid) if is_fresh else (None, None)
        is_failed = job.status in (JobState.FAILED, JobState.QUARANTINED)
        costs.append(JobCost(job.run_id, job.cell_id, is_fresh, is_failed, seconds, cost, job.error))
    return costs


def _tally(column: ComparisonColumn, named: Sequence[int], made: Sequence[JobCost]) -> Tally:
    wins = sum(column_id == column.pk for column_id in named)
    seconds = [job.seconds for job in made if job.seconds is not None]
    costs = [job.cost for job in made if job.cost is not None]
    low, high = interval(wins, len(named))
    return Tally(
        column=column,
        wins=wins,
        share=wins / len(named) if named else None,
        low=low,
        high=high,
        seconds=median(seconds) if seconds else None,
        cost=median(costs) if costs else None,
        measured=sum(job.is_fresh for job in made),
        failed=sum(job.is_failed for job in made),
    )


def interval(wins: int, votes: int) -> tuple[float, float]:
    """Return the interval of the true share in 95 of 100 such samples, 0–1 (E. B. Wilson's score interval, 1927)."""
    if not votes:
        return 0.0, 1.0
    share, square = wins / votes, _Z95**2
    middle = (share + square / (2 * votes)) / (1 + square / votes)
    half = _Z95 * sqrt(share * (1 - share) / votes + square / (4 * votes**2)) / (1 + square / votes)
    return max(0.0, middle - half), min(1.0, middle + half)


def probability_of_lead(first: int, second: int) -> float:
    """Return how likely a lead at least this large is between two that are equally good (two-sided sign test), 0–1."""
    votes, most = first + second, max(first, second)
    tail = sum(comb(votes, count) for count in range(most, votes + 1)) / 2**votes
    return min(1.0, 2 * tail)


def conclusion(wins: Sequence[int], names: Sequence[str]) -> tuple[str, bool]:
    """Return (the conclusion as a sentence, True if the lead is more than chance). wins: the most first."""
    if not (votes := sum(wins)):
        return _("Nobody has named a favourite yet."), False
    if votes < MIN_VOTES:
        sentence = ngettext(
            "%(n)d vote is too few to choose by; %(least)d is the least that can tell a clear favourite.",
            "%(n)d votes are too few to choose by; %(least)d is the least that can tell a clear favourite.",
            votes,
        )
        return sentence % {"n": votes, "least": MIN_VOTES}, False
    odds = probability_of_lead(wins[0], wins[1])
    percent = f"{odds:.0%}" if odds >= 0.01 else _("less than 1 %")
    words = {"n": votes, "first": names[0], "second": names[1], "odds": percent, "wins": wins[0], "others": wins[1]}
    if wins[0] == wins[1]:
        return _("After %(n)d votes %(first)s and %(second)s are level.") % words, False
    if odds >= SIGNIFICANCE_LEVEL:
        sentence = _(
            "%(first)s leads %(second)s by %(wins)d to %(others)d, which may well be chance (%(odds)s between equals): "
            "collect more votes."
        )
        return sentence % words, False
    sentence = _(
        "%(first)s leads %(second)s by %(wins)d to %(others)d; between equals this would happen in %(odds)s of such "
        "votes."
    )
    return sentence % words, True
