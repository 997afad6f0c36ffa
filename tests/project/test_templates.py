"""Tests of the template files themselves, for what neither a formatter nor a single page shows."""

from __future__ import annotations

import re
from pathlib import Path

TEMPLATES = Path(__file__).resolve().parents[2] / "templates"
SPACE_BEFORE_PUNCTUATION = re.compile(r"\s(\{% if [^%]*%\})+(\{% blocktranslate [^%]*%\}\s*)?[.,;:](?!\s*\{% endif)")
"""A condition on a line of its own prints the end of the line before it, so its text must not begin with these."""


def test_no_page_has_a_space_before_a_comma_or_full_stop() -> None:
    found = []
    for path in sorted(TEMPLATES.rglob("*.html")):
        text = path.read_text()
        for match in SPACE_BEFORE_PUNCTUATION.finditer(text):
            found.append(f"{path.relative_to(TEMPLATES)}:{text.count(chr(10), 0, match.start()) + 1}")
    assert found == []
