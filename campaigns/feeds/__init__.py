"""Product feeds as plain data: open a file, detect its format, and read subjects, variants, images and issues.

There are no models here. services/imports.py decides what is done with the rows.
"""

from __future__ import annotations

# Each of these modules registers a layout.
from campaigns.feeds import generic, images, magento, merchant, shopify, woocommerce  # noqa: F401
from campaigns.feeds.base import CAUSES, FeedRefused, FeedRow, Header, Issue, Record, RecordFix
from campaigns.feeds.opening import Feed, open_feed

__all__ = (
    "CAUSES", "Feed", "FeedRefused", "FeedRow", "Header", "Issue", "Record", "RecordFix", "open_feed",
)  # fmt: skip
