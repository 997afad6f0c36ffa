"""Text in XML documents that are written by hand."""

from __future__ import annotations

import re
from typing import Final
from xml.sax.saxutils import escape

_NOT_XML: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def plain_text(text: str) -> str:
    """Return the text without the characters that XML 1.0 cannot have."""
    return _NOT_XML.sub("", text)


def escape_text(text: str) -> str:
    """Return the text as the content of an element."""
    return escape(plain_text(text))
