"""Addresses as people may see them: without login, and with "?…" for query, fragment and parameters (keys)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from core.plain_json import strings, with_strings

QUERY_PLACEHOLDER = "?…"  # replaces a query that is not shown
_SLASHES = re.compile(r":(?://|\\/\\/)")  # after a scheme, also in the escaped form of some JSON writers
_END = re.compile(r"[\s'\"<>`“”‘’]")
_QUERY = re.compile(r"[?#;]")
_PORT = re.compile(r"[^:@]*(?::[0-9]*)?|\[[0-9A-Fa-f:.]*\](?::[0-9]*)?")
_IS_ADDRESS = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]*:(?://|\\/\\/)")
_LONGEST_SCHEME = 20
_SCHEME = re.compile(rf"[A-Za-z][A-Za-z0-9+.-]{{0,{_LONGEST_SCHEME - 1}}}\Z")


def redact_address(address: str) -> str:
    """Return the address without user information, and with "?…" for its query, parameters and fragment.

    A text without "://" counts as a file name, unless it has a login or a query with values.
    """
    slashes = _SLASHES.search(address)
    if slashes is None:
        return _redact_without_scheme(address)
    scheme, rest = address[: slashes.end()], address[slashes.end() :]
    authority = re.split(r"[/\\?#;]", rest, maxsplit=1)[0]
    if "@" in authority:
        rest = rest[authority.rindex("@") + 1 :]
    elif "@" in rest and ("." not in authority or _PORT.fullmatch(authority) is None):
        return f"{scheme}…"  # a login with special characters, whose end is unknown
    query = _QUERY.search(rest)
    return scheme + (rest[: query.start()] + QUERY_PLACEHOLDER if query and query.end() < len(rest) else rest)


def redact_text(text: str) -> str:
    """Return the text, with `redact_address` applied to every address in it."""
    if ":/" not in text and ":\\" not in text:
        return text
    return "".join(_pieces(text))


def redact_json(value: Any) -> Any:
    """Return plain JSON, with `redact_text` applied to every string; keys stay."""
    return with_strings(value, redact_text)


def redact_settings(value: Any) -> Any:
    """Return plain JSON, with `redact_address` applied to every address; a string that begins as an address is one."""
    return with_strings(value, lambda text: redact_address(text) if _IS_ADDRESS.match(text) else redact_text(text))


def restore_redacted_addresses(given: Any, kept: Any) -> Any:
    """Return `given` with the stored address for each one left as shown. Raises ValueError for any other with "?…"."""
    by_shown = {redact_settings(text): text for text in strings(kept)}

    def meant(text: str) -> str:
        if QUERY_PLACEHOLDER not in text or not _SLASHES.search(text):
            return text
        if text.strip() not in by_shown:
            raise ValueError("Enter the whole address: what stands for “?…” is known only for the address before.")
        return by_shown[text.strip()]

    return with_strings(given, meant)


def _redact_without_scheme(text: str) -> str:
    login = re.match(r"(?://)?[^/\s:@]*:[^/\s@]*@", text)
    text = text[login.end() :] if login else text
    path, mark, query = text.partition("?")
    return path + QUERY_PLACEHOLDER if mark and "=" in query else text


def _pieces(text: str) -> Iterator[str]:
    """Yield the text in pieces, with its addresses redacted. Reads each character a bounded number of times."""
    done = 0
    while (slashes := _SLASHES.search(text, done)) is not None:
        begin = max(done, slashes.start() - _LONGEST_SCHEME)
        scheme = _SCHEME.search(text[begin : slashes.start()])
        start = slashes.start() - len(scheme[0] if scheme else "")
        end = _END.search(text, slashes.end())
        stop = end.start() if end else len(text)
        yield text[done:start]
        yield redact_address(text[start:stop])
        done = stop
    yield text[done:]
