"""Product feeds as plain data: open a file, detect its format, and read subjects, variants, images and issues.

There are no models here. services/imports.py decides what is done with the rows.
"""

from __future__ import annotations

from campaigns.feeds.base import CAUSES, LAYOUTS, FeedRefused, FeedRow, Header, Issue, Record, RecordFix
from campaigns.feeds.opening import Feed, FileHead, header_sha256, open_feed, read_head, suggest_mapping

__all__ = (
    "CAUSES", "LAYOUTS", "Feed", "FeedRefused", "FeedRow", "FileHead", "Header", "Issue", "Record", "RecordFix",
    "header_sha256", "open_feed", "read_head", "suggest_mapping",
)  # fmt: skip
