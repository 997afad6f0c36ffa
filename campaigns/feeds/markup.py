"""Reads the text of a description: tags and entities become what a browser shows; all other text stays as written.

Each character is examined a bounded number of times, whatever the text is.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from html.entities import html5

# Elements before and after which a browser begins a new line or cell.
_BLOCK_NAMES = """
address article aside blockquote body br button canvas caption center dd details dialog div dl dt embed fieldset
figcaption figure footer form h1 h2 h3 h4 h5 h6 head header hr html iframe img input legend li link main menu meta nav
noscript object ol option p param picture pre section select source summary table tbody td template textarea tfoot th
thead title tr track ul video audio
"""
_INLINE_NAMES = """
a abbr acronym area b bdi bdo big cite code col colgroup data del dfn em font i ins kbd label map mark meter nobr o:p
output path progress q rp rt ruby s samp small span strike strong sub sup svg time tt u var wbr
"""
_BLOCKS, _INLINE = frozenset(_BLOCK_NAMES.split()), frozenset(_INLINE_NAMES.split())
_UNSEEN = frozenset(("script", "style"))
_ENDS = {end: re.compile(end, re.IGNORECASE) for end in ("-->", ">", "</script", "</style")}
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_SPACES = re.compile(r"[ \t\xa0]*\n\s*|[ \t\xa0]+")
_BEGINNING = re.compile(r"<(?:[!?]|/?[A-Za-z][^<>]*+>)")  # angle brackets that may begin markup; all others are skipped
_NAME = re.compile(r"/?([A-Za-z][A-Za-z0-9:]{0,19})")
_LAYERS = 2  # levels of escaping that are undone: shops write `&amp;amp;`, and whole descriptions as `&lt;p&gt;`


def plain(text: str) -> str:
    """Return the text of a description in one line, without its HTML."""
    return _SPACES.sub(" ", _without_markup(text)).strip()


def readable(text: str) -> str:
    """Return a name or value as a browser would show it. Text without tags keeps its lines."""
    if "<" not in text and "&" not in text:
        return text
    return _without_markup(text).strip() if without_tags(text) == text else plain(text)


def _without_markup(text: str) -> str:
    for _ in range(_LAYERS):
        text = without_entities(without_tags(text))
    return text


def without_entities(text: str) -> str:
    """Replace entities that end with a semicolon; unknown ones stay as they are."""
    return _ENTITY.sub(_character, text) if "&" in text else text


def _character(entity: re.Match[str]) -> str:
    written = entity.group()
    character = html.unescape(written) if written[1] == "#" else html5.get(written[1:], written)
    return " " if character == "\xa0" else character


def without_tags(text: str) -> str:
    """Remove tags, comments, and the content of scripts and styles; other angle brackets are text: “<5 cl”."""
    if "<" not in text:
        return text
    return "".join(_TagRemover(text).pieces())


class _TagRemover:
    """One pass over a text. `missing`: ends that do not occur any more, so that each is searched for only once."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.missing: set[str] = set()

    def pieces(self) -> Iterator[str]:
        at = 0
        while beginning := _BEGINNING.search(self.text, at):
            start = beginning.start()
            yield self.text[at:start]
            end, instead = self._markup(start)
            yield instead if end > start else "<"
            at = max(end, start + 1)
        yield self.text[at:]

    def _markup(self, start: int) -> tuple[int, str]:
        """Return (end of the markup that begins here, its replacement); the end is `start` if there is none."""
        if self.text.startswith("<!--", start):
            return self._after("-->", start + 4, otherwise=start), " "
        if self.text[start + 1 : start + 2] in ("!", "?") and self.text[start + 2 : start + 3].isalpha():
            return self._after(">", start, otherwise=start), " "
        name = _NAME.match(self.text, start + 1)
        element = name[1].lower() if name else ""
        if name is None or element not in _BLOCKS | _INLINE | _UNSEEN:
            return start, ""
        end = self._tag_end(name.end())
        if end < 0:
            return start, ""
        if element in _UNSEEN and not name.group().startswith("/"):
            closing = self._after(f"</{element}", end, otherwise=len(self.text))
            end = self._after(">", closing, otherwise=len(self.text))
        return end, "" if element in _INLINE else " "

    def _tag_end(self, at: int) -> int:
        """Return the end of the tag whose name ends at `at`, or -1 if it is text and not a tag, such as “<b and c>”."""
        opening = self.text.find("<", at)
        limit = opening if opening >= 0 else len(self.text)
        end = self.text.find(">", at, limit)
        inside = self.text[at:end]
        if end < 0 or (inside.strip(" \t\r\n/") and (inside[0] not in " \t\r\n/" or "=" not in inside)):
            return -1
        quotes, further = inside.count('"'), end
        # A quoted value may hold the sign that ends a tag.
        while quotes % 2:
            following = self.text.find(">", further + 1, limit)
            if following < 0:
                return end + 1
            quotes += self.text.count('"', further + 1, following)
            further = following
        return further + 1

    def _after(self, what: str, at: int, *, otherwise: int) -> int:
        """Return the place after the next `what`, whatever its case; `otherwise` if there is none."""
        match = None if what in self.missing else _ENDS[what].search(self.text, at)
        if match is None:
            self.missing.add(what)
            return otherwise
        return match.end()
