"""Test the main navigation: each page marks the entry that it belongs to."""

from __future__ import annotations

from django.urls import get_resolver

from config.context import SECTIONS


def test_every_page_of_the_navigation_exists() -> None:
    named = {name for name in get_resolver().reverse_dict if isinstance(name, str)}
    assert SECTIONS.keys() - named == set()
