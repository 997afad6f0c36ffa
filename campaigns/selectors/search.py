"""Search products, articles and concepts by words of their key and name, and campaigns by words of their name.

Accents and capitals do not count. An index has each word of a subject and each of its ends ("sofakissen", "ofakissen",
…, "sen"), so that "kissen" finds Sofakissen. Words of one or two characters are found only as whole words.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

from django.contrib.postgres.search import SearchQuery
from django.db.models import Func, Q, QuerySet, TextField, Value
from django.db.models.functions import Concat

from campaigns.models import SEARCH_WORDS, Campaign, Subject
from core import sql
from core.models import Brand

MIN_PART = 3
"""Shorter words are found only as whole words."""


@dataclass(frozen=True)
class Group:
    """Rows with all `words` in their subject and, if `campaign_ids` is not None, with one of these campaigns."""

    words: tuple[str, ...]
    campaign_ids: tuple[int, ...] | None = None


class _Query(SearchQuery):
    """A query that is used as it is written; Django's own would be cut into words by a parser of prose."""

    template = "%(expressions)s::tsquery"


def find_groups(brand: Brand, text: str) -> list[Group]:
    """Return the groups of rows that have all words of the text, each in the subject or in the campaign's name.

    None if the text has no words: then every row is found. Two queries.
    """
    [row] = sql.rows("SELECT proofline_fold(%s) AS folded", [text])
    words = tuple(dict.fromkeys(row.folded.split()))
    if not words:
        return []
    by_rest: dict[tuple[str, ...], list[int]] = {}
    campaigns = Campaign.objects.filter(brand=brand, is_sandbox=False).annotate(folded=_fold("name"))
    for pk, folded in campaigns.values_list("pk", "folded"):
        rest = tuple(word for word in words if _part(word) not in folded)
        if rest != words:
            by_rest.setdefault(rest, []).append(pk)
    return [Group(words), *(Group(rest, tuple(ids)) for rest, ids in by_rest.items())]


def find_subjects(brand: Brand, words: Sequence[str]) -> QuerySet[Any]:
    """Return the subjects that have all words. The index finds them."""
    terms = [f"'{word}':*" if len(word) >= MIN_PART else f"'{word}'" for word in words]
    query = _Query(" & ".join([f"'brand {brand.pk}'", *terms]))
    return Subject.objects.alias(vector=SEARCH_WORDS).filter(vector=query).order_by()


def matches(brand: Brand, groups: Sequence[Group]) -> Q:
    """Return the condition of rows with a subject and a campaign that a group has, for many rows: by the index."""
    return _any(
        (Q(subject__in=find_subjects(brand, group.words)) if group.words else Q()) & _of_campaigns(group)
        for group in groups
    )


def filter_few(rows: QuerySet[Any], groups: Sequence[Group]) -> QuerySet[Any]:
    """Return those of few rows with a subject and a campaign that a group has, without the index."""
    folded = _fold(Concat("subject__key", Value(" "), "subject__name"))
    condition = _any(
        Q(*(Q(folded__contains=_part(word)) for word in group.words)) & _of_campaigns(group) for group in groups
    )
    return rows.alias(folded=folded).filter(condition)


def _any(conditions: Iterable[Q]) -> Q:
    return reduce(or_, conditions, Q())


def _fold(text: Any) -> Func:
    """Return the words of the text without accents and capitals, between spaces."""
    return Func(text, function="proofline_fold", output_field=TextField())


def _of_campaigns(group: Group) -> Q:
    return Q() if group.campaign_ids is None else Q(campaign__in=group.campaign_ids)


def _part(word: str) -> str:
    """Return the part that a folded text has if the word is found in it."""
    return word if len(word) >= MIN_PART else f" {word} "
