"""Product feeds as plain data: open a file, detect its format, and read subjects, variants, images and issues.

There are no models here. services/imports.py decides what is done with the rows.
"""

from __future__ import annotations

from campaigns.feeds.base import CAUSES, LAYOUTS, FeedRefused, FeedRow, Header, Issue, Record, RecordFix
from campaigns.feeds.opening import Feed, open_feed

__all__ = (
    "CAUSES", "LAYOUTS", "Feed", "FeedRefused", "FeedRow", "Header", "Issue", "Record", "RecordFix", "open_feed",
)  # fmt: skip
