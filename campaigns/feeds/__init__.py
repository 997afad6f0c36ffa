"""Product feeds as plain data: open a file, detect its format, and read subjects, variants, images and issues.

There are no models here. services/imports.py decides what is done with the rows.
"""

from __future__ import annotations

from campaigns.feeds import generic, images, magento, merchant, shopify, woocommerce
from campaigns.feeds.base import (
    CAUSES,
    Binding,
    FeedRefused,
    FeedRow,
    Header,
    Issue,
    Record,
    RecordFix,
    layout_names,
)
from campaigns.feeds.opening import Feed, open_feed

__all__ = [
    "CAUSES",
    "Binding",
    "Feed",
    "FeedRefused",
    "FeedRow",
    "Header",
    "Issue",
    "Record",
    "RecordFix",
    "generic",
    "images",
    "layout_names",
    "magento",
    "merchant",
    "open_feed",
    "shopify",
    "woocommerce",
]
