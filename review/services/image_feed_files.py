"""Make the file of an image feed as a stream, and list the problems of its products."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field

from django.conf import settings

from review.image_feeds.base import LAYOUTS, FeedHeading
from review.image_feeds.choosing import FeedProblem, ProblemKind
from review.models import ImageFeed
from review.selectors import feed_products

MOST_PRODUCTS = 10_000
"""Products that a report reads."""
MOST_EXAMPLES = 10
"""Problems of one kind that a report names; it counts all."""
PIECE = 64 * 1024
"""Characters that are sent at a time."""


@dataclass(frozen=True)
class FeedReport:
    """What a feed has at the moment. examples: the first problems of each kind. has_more: products were not read."""

    products: int = 0
    images: int = 0
    left_out: int = 0
    counts: Mapping[ProblemKind, int] = field(default_factory=dict)
    examples: Mapping[ProblemKind, Sequence[FeedProblem]] = field(default_factory=dict)
    first: Sequence[feed_products.FeedEntry] = ()
    has_more: bool = False


def stream(feed: ImageFeed) -> Generator[bytes, None, None]:
    """Yield the file in pieces, in memory that does not grow with the number of products."""
    layout = LAYOUTS.get(feed.layout)()
    heading = FeedHeading(feed.name, settings.SITE_URL, feed.brand.name)
    lines, size = [layout.begin(heading)], 0
    for entry in feed_products.iter_entries(feed):
        if not entry.is_included:
            continue
        lines.append(layout.product(entry.product, entry.identifiers))
        size += len(lines[-1])
        if size >= PIECE:
            yield "".join(lines).encode()
            lines, size = [], 0
    yield "".join([*lines, layout.end()]).encode()


def report(feed: ImageFeed, *, most: int = MOST_PRODUCTS, shown: int = 0) -> FeedReport:
    """Return the counts and problems of the first `most` products. shown: products that are returned too."""
    counts: Counter[ProblemKind] = Counter()
    examples: dict[ProblemKind, list[FeedProblem]] = {}
    first: list[feed_products.FeedEntry] = []
    products = images = left_out = read = 0
    for entry in feed_products.iter_entries(feed, most=most):
        read += 1
        products += entry.is_included
        left_out += not entry.is_included
        images += len(entry.product.images) if entry.is_included else 0
        if entry.is_included and len(first) < shown:
            first.append(entry)
        for problem in entry.problems:
            counts[problem.kind] += 1
            if len(examples.setdefault(problem.kind, [])) < MOST_EXAMPLES:
                examples[problem.kind].append(problem)
    ordered = {kind: counts[kind] for kind in ProblemKind if counts[kind]}
    return FeedReport(products, images, left_out, ordered, examples, first, has_more=read >= most)
