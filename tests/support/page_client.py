"""A client whose HTML is written as a parser reads it, so that tests do not depend on how templates break lines."""

from __future__ import annotations

import re
from typing import Any

from django.test import Client

VERBATIM = re.compile(r"(<(?:textarea|pre|script)\b.*?</(?:textarea|pre|script)>)", re.DOTALL)
OPENING_TAG = re.compile(r"<[^<>]*>")


def squeeze(html: str) -> str:
    """Return the HTML with one space for each run of white space, and none before the end of a tag.

    Texts of textarea, pre and script stay as they are.
    """
    parts = VERBATIM.split(html)
    parts[::2] = [_squeeze(part) for part in parts[::2]]
    parts[1::2] = [OPENING_TAG.sub(lambda tag: _squeeze(tag[0]), part, count=1) for part in parts[1::2]]
    return "".join(parts)


def _squeeze(text: str) -> str:
    return re.sub(r" (/?>)", r"\1", re.sub(r"\s+", " ", text))


class PageClient(Client):
    """Django's test client, with `squeeze` applied to each HTML answer."""

    def request(self, **request: Any) -> Any:
        response = super().request(**request)
        if not response.streaming and response.headers.get("Content-Type", "").startswith("text/html"):
            response.content = squeeze(response.content.decode()).encode()
        return response
