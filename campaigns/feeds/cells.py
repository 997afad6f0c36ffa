"""Reads single cells (keys, names, prices, colours, image names), and refuses contents that no cell may have."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from functools import lru_cache
from hashlib import sha256
from typing import Any, TypeVar

from campaigns.feeds import addresses, base, markup, vocabulary
from campaigns.feeds.base import Cells, DateText, FeedRefused, Header, Issue, NumberText, Record, normalise_heading
from core.fetching import redact_address

MAX_CELL = 32_767  # characters; what a spreadsheet cell can hold
MAX_KEY = 255  # characters; Shopify's limit for handles
MAX_HEADING = 200
MAX_NAME = 300
MAX_ALT = 600
MAX_SOURCE = 2000

# C0 controls except tab and line ends, DEL, and the lone surrogates that represent undecodable bytes.
UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_FORMULA = re.compile(r"=(?![=\s]*$)|[+\-@]\s*(?:[A-Za-z_][\w.]*\s*\(|\w+\s*\|)")
# Scientific notation of a large number; 12E5 without sign or point may be a real product code.
_SCIENTIFIC = re.compile(r"[+-]?(?:\d+[.,]\d+[eE][+-]?\d+|\d+[eE][+-]\d+)")
_HEX = re.compile(r"#?([0-9a-fA-F]{6}|[0-9a-fA-F]{3})")
_CURRENCIES = {"€": "EUR", "$": "USD", "£": "GBP", "¥": "JPY", "kr": "", "fr": "CHF", "fr.": "CHF", "zł": "PLN"}
_AMOUNT = re.compile(
    r"(?P<before>[^\d\s.,+\-−]{0,4})\s*(?P<number>(?:[+\-−]\s*)?(?:[\d.,'’][\d.,'’\s]*)?\d)\s*"
    r"(?P<after>[^\d\s+\-−]{0,4})"
)
_SPACED = re.compile(r"(?<=\d)[\s'’](?=\d{3}(?:\D|$))")
_EITHER = re.compile(r"[1-9]\d{0,2}[.,]\d{3}")
_NOTATIONS = [
    (re.compile(rf"(?:\d+|[1-9]\d{{0,2}}(?:\{thousands}\d{{3}})+)(?:\{point}\d{{1,6}})?"), thousands, point)
    for thousands, point in ((",", "."), (".", ","))
]
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
ERRORS = frozenset(
    ("#N/A", "#REF!", "#NAME?", "#DIV/0!", "#VALUE!", "#NULL!", "#NUM!", "#SPILL!", "#CALC!", "#GETTING_DATA", "#NV",
     "#BEZUG!", "#WERT!", "#ZAHL!", "#ERROR!", "#N/D", "#N/B")
)  # fmt: skip
"""Errors that a spreadsheet shows in place of a value, in English, German, French and Dutch."""
_CODE = re.compile(r"[0-9][0-9 .,:/x+-]*")


class Unreadable(ValueError):
    """A cell's text cannot be read as intended; has the cause and a sentence that says what is expected."""

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause


Read = TypeVar("Read")
Default = TypeVar("Default")


class Row:
    """One row while it is read. `read` reads a cell; mistakes are collected in `issues`."""

    def __init__(self, header: Header, record: Record) -> None:
        self.header = header
        self.number, self.cells = record
        self.issues: list[Issue] = []

    def has(self, index: int | None) -> bool:
        return index is not None and bool(self.cells[index].strip())

    def read(self, index: int | None, reader: Callable[[str], Read], default: Default) -> Read | Default:
        """Return the cell as `reader` reads it; `default` without such a column, and with an issue if unreadable."""
        if index is None:
            return default
        try:
            return reader(self.cells[index])
        except Unreadable as error:
            self.add_issue(index, error.cause, str(error))
            return default

    def add_issue(self, index: int, cause: str, sentence: str) -> None:
        self.issues.append(self.header.issue(self.number, index, self.cells[index], cause, sentence))


def read_header(record: Record) -> Header:
    """Return the header made from a row; raises FeedRefused for unusable, repeated or far too many headings."""
    row, headings = record[0], [cell.strip().lstrip("\ufeff") for cell in record[1]]
    while headings and not headings[-1]:
        headings.pop()
    if len(headings) > 1000:
        message = f"Row {row} has {len(headings)} columns; expected headings, at most 1,000."
        raise base.file_refusal(message, cause="column_missing", row=row)
    header = Header(row, tuple(headings), tuple(map(normalise_heading, headings)))
    for index, (heading, name) in enumerate(zip(header.cells, header.names, strict=True)):
        if name and (first := header.names.index(name)) < index:
            place = f"{base.column_letter(first)}{row}"
            sentence = f"the heading “{heading[:80]}” already stands in {place}; expected each heading once."
            raise header.refusal(index, "column_twice", f"{sentence} Rename or remove one.")
        if match := UNPRINTABLE.search(heading):
            value, sentence = mark_unprintable(heading), _describe_character(match.group())
            raise FeedRefused(header.issue(header.row, index, value, "control_character", sentence))
        if len(heading) > MAX_HEADING:
            sentence = f"the heading has {len(heading):,} characters; expected at most {MAX_HEADING}. Is this a table?"
            raise FeedRefused(header.issue(header.row, index, heading[:60], "too_long", sentence))
    return header


def iter_valid_records(header: Header, records: Iterable[Record | Issue]) -> Iterator[Record | Issue]:
    """Yield sound records and issues. Empty rows are dropped; a row of wrong length or with bad cells gives issues."""
    width = len(header)
    unnamed = [index for index, name in enumerate(header.names) if not name and index not in header.ignored]
    for record in records:
        if isinstance(record, Issue):
            yield record
            continue
        row, cells = record
        length = len(cells)
        if not any(map(str.strip, cells)):
            continue
        if length != width:
            if wrong_length := _wrong_length(header, row, cells):
                yield wrong_length
                continue
            cells = cells[:width]
        cells = blank_spreadsheet_errors(cells)
        issues = list(_find_faults(header, unnamed, row, cells))
        yield from issues
        if not issues:
            yield row, cells


def _wrong_length(header: Header, row: int, cells: Cells) -> Issue | None:
    """Return the issue of a row that has fewer cells than headings, or more; None if the additional ones are empty."""
    width, length = len(header), len(cells)
    if length < width:
        sentence = (
            f"the row ends here, after {length} of {width} cells; expected a cell for each heading. "
            "An unquoted line break or a missing delimiter looks like this."
        )
        return header.issue(row, length, "", "ragged", sentence)
    extra = next((index for index in range(width, length) if cells[index].strip()), None)
    if extra is None:
        return None
    sentence = (
        f"a cell beyond the {width} headings; expected none. A delimiter inside a value needs quotes around the value."
    )
    return header.issue(row, extra, cells[extra], "ragged", sentence)


def _find_faults(header: Header, unnamed: Sequence[int], row: int, cells: Cells) -> Iterator[Issue]:
    if max(map(len, cells), default=0) > MAX_CELL:
        for index, cell in enumerate(cells):
            if len(cell) > MAX_CELL:
                sentence = f"the cell has {len(cell):,} characters; expected at most {MAX_CELL:,}."
                yield header.issue(row, index, cell[:60], "cell_too_large", sentence)
    if UNPRINTABLE.search("\n".join(cells)):
        for index, cell in enumerate(cells):
            if match := UNPRINTABLE.search(cell):
                sentence = _describe_character(match.group())
                yield header.issue(row, index, mark_unprintable(cell), "control_character", sentence)
    for index in unnamed:
        if cells[index].strip():
            sentence = f"a value without a heading; expected a heading in row {header.row} or an empty column."
            yield header.issue(row, index, cells[index], "column_unnamed", sentence)


def mark_unprintable(cell: str) -> str:
    """Return the text with a replacement character for each unprintable character."""
    return UNPRINTABLE.sub("\ufffd", cell)


def _describe_character(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return (
            f"the byte 0x{code - 0xDC00:02X} is not a character in this file's encoding; expected one encoding "
            "throughout. Save the file as UTF-8."
        )
    if code == 0:
        return "a NUL byte; expected text. The file is damaged or not a table."
    return f"the control character U+{code:04X}; expected text."


def is_formula(text: str) -> bool:
    """Return True for text that a spreadsheet would run: = and more, or + - @ before a function call or a DDE link."""
    return _FORMULA.match(text) is not None


def blank_spreadsheet_errors(cells: Cells) -> Cells:
    """Return the cells, with spreadsheet errors made empty as the XLSX reader does."""
    if not any("#" in cell and cell.strip().upper() in ERRORS for cell in cells):
        return cells
    return ["" if cell.strip().upper() in ERRORS else cell for cell in cells]


def strip_apostrophe(value: str) -> str:
    """Remove the apostrophe by which spreadsheets and shops mark a number or a leading dash as text."""
    rest = value[1:]
    if value[:1] != "'" or not rest:
        return value
    is_dash = rest[0] in "+-@−–" and (not is_formula(rest) or (rest[1:2] == " " and "|" not in rest))
    return rest if is_dash or _CODE.fullmatch(rest) else value


def text(cell: str, limit: int = MAX_CELL) -> str:
    """Return the text as a browser shows it; raises Unreadable for formulas and for more than `limit` characters."""
    value = strip_apostrophe(cell.strip())
    is_marked = value != cell.strip()
    value = markup.readable(value)
    if is_formula(value) and not is_marked:
        raise Unreadable("formula", "the cell is a formula; expected text. Paste the value instead of the formula.")
    if len(value) > limit:
        raise Unreadable("too_long", f"{len(value):,} characters; expected at most {limit:,}.")
    return value


def description(cell: str) -> str:
    """Return a description with its HTML as text; raises Unreadable as `text` does."""
    return markup.plain(text(cell))


def key(cell: str) -> str:
    """Return a SKU or handle, trimmed but otherwise as written (with leading zeros); "" for an empty cell."""
    value = cell.strip()
    if value[:1] == "'" and value[1:2].isalnum():
        value = value[1:]
    if not value:
        return ""
    if _SCIENTIFIC.fullmatch(value):
        raise Unreadable(
            "key_scientific",
            f"“{value[:40]}” is a number in scientific notation, whose digits are lost; expected the SKU as text. "
            "Format the column as Text in the spreadsheet and enter or export it again.",
        )
    if isinstance(cell, DateText):
        raise Unreadable(
            "key_date",
            f"a spreadsheet has made the date {value} of this; expected the SKU as text. "
            "Format the column as Text and enter it again.",
        )
    if isinstance(cell, NumberText) and "." in value:
        raise Unreadable("key_unreadable", f"the SKU is the number {value}; expected text or a whole number.")
    if value[0] in "=+-@":
        sentence = f"the SKU begins with {value[0]}, as a formula does; expected a letter or digit first."
        raise Unreadable("formula", sentence)
    if len(value) > MAX_KEY:
        raise Unreadable("too_long", f"{len(value):,} characters; expected a SKU of at most {MAX_KEY}.")
    if any(character in "\r\n\t" for character in value):
        raise Unreadable("key_unreadable", "the SKU has a line break or tab in it; expected one line.")
    return value


def shorten_key(key: str) -> str:
    """Return the key, cut to MAX_KEY characters if it is longer; digits of its hash keep it unique."""
    if len(key) <= MAX_KEY:
        return key
    return f"{key[: MAX_KEY - 9].rstrip('-_./ ')}-{sha256(key.encode('utf-8', 'replace')).hexdigest()[:8]}"


def price(cell: str) -> tuple[str, str]:
    """Return (amount with a point and at least two decimals, currency code or ""); Unreadable if it is ambiguous.

    `12,90 €`, `1.234,56`, `1'234.50 CHF`, `EUR 12.9` are read; `1,234` alone has two meanings and is refused.
    """
    return _price(strip_apostrophe(cell.strip()), isinstance(cell, NumberText))


# Prices repeat in a feed, and reading one costs as much as the rest of the row.
@lru_cache(maxsize=4096)
def _price(value: str, is_number: bool) -> tuple[str, str]:
    match = _AMOUNT.fullmatch(value) if len(value) <= 40 else None
    currency = _currency(match) if match else None
    if match is None or currency is None:
        raise _no_price(value)
    number = match["number"].replace("−", "-")
    amount = Decimal(number) if is_number else _amount(number, value)
    if amount < 0:
        raise Unreadable("price_negative", f"the price {value[:40]} is below zero; expected zero or more.")
    digits = -int(amount.as_tuple().exponent)
    return (f"{amount:f}" if digits >= 2 else f"{amount:.2f}"), currency


def _no_price(value: str) -> Unreadable:
    sentence = f"“{value[:40]}” is not a price; expected a number such as 12.90, 12,90 or 12,90 €."
    return Unreadable("price_unreadable", sentence)


def _currency(match: re.Match[str]) -> str | None:
    """Return the ISO code, "" if none is named, or None if the letters are not a currency."""
    before, after = match["before"].strip(), match["after"].strip()
    if before and after:
        return None
    name = (before or after).lower()
    code = name.upper() if len(name) == 3 and name.isascii() and name.isalpha() else None
    return _CURRENCIES.get(name, code) if name else ""


def _amount(number: str, value: str) -> Decimal:
    digits = _SPACED.sub("", number)
    sign = "-" if digits.startswith("-") else ""
    digits = digits.lstrip("+-").strip()
    if _EITHER.fullmatch(digits):
        whole, last = digits[:-4], digits[-3:]
        raise Unreadable(
            "price_ambiguous",
            f"“{value[:40]}” may be {whole}{last} or {whole}.{last}; expected two decimals, such as {whole}{last}.00.",
        )
    for pattern, thousands, point in _NOTATIONS:
        if pattern.fullmatch(digits):
            return Decimal(sign + digits.replace(thousands, "").replace(point, "."))
    raise _no_price(value)


def hex_colour(cell: str) -> str:
    """Return the colour as `#rrggbb` in lower case."""
    value = cell.strip()
    match = _HEX.fullmatch(value)
    if match is None:
        sentence = f"“{value[:40]}” is not a hex colour; expected six digits such as #7a8f6a."
        raise Unreadable("hex_unreadable", sentence)
    digits = match[1].lower()
    return "#" + (digits if len(digits) == 6 else "".join(digit * 2 for digit in digits))


def kind(cell: str) -> str:
    value = cell.strip().lower()
    if value not in vocabulary.KINDS:
        raise Unreadable("kind_unknown", f"“{value[:40]}” is no kind; expected product, article or concept.")
    return value


def photo(value: str) -> str:
    """Return a web address, or a file name relative to the image folder, with forward slashes and without `..`.

    An address may contain blanks and lack its scheme: `//host/mug.jpg` and `www.host.com/mug.jpg` are read as https.
    """
    name = markup.without_entities(strip_apostrophe(value.strip())).strip()
    if len(name) > MAX_SOURCE:
        raise Unreadable("too_long", f"{len(name):,} characters; expected an address of at most {MAX_SOURCE:,}.")
    name = addresses.add_scheme(name)
    if addresses.is_web_address(name):
        return name
    name = name.replace("\\", "/").lstrip("/")
    is_other = _SCHEME.match(name) or name.lower().startswith(("http/", "https/")) or is_formula(name)
    if not name or is_other or ".." in name.split("/"):
        shown = redact_address(value.strip())[:80]
        sentence = f"“{shown}” names no image; expected https://… or a file name such as mug-sage.jpg."
        raise Unreadable("photo_unusable", sentence)
    return name


def photos(cell: str) -> tuple[str, ...]:
    return tuple(photo(part) for part in addresses.split_images(cell))


def alts(text: str, count: int) -> list[str]:
    """Return an alt text for each of `count` images: one each if the cell lists that many, else all for the first."""
    if not count:
        return []
    for separator in (";", "|", "\n"):
        parts = [part.strip() for part in text.split(separator)]
        if count > 1 and len(parts) == count:
            return parts
    return [text, *[""] * (count - 1)]


def numbered_photos(images: Iterable[tuple[str, str]], alts: Iterable[str], before: int = 0) -> list[dict[str, Any]]:
    """Return the photos of (source, role), with positions after `before`. Only the first of a subject is its front."""
    return [
        {"source": source, "role": "angle" if place > 1 and role == "front" else role, "position": place, "alt": alt}
        for place, ((source, role), alt) in enumerate(zip(images, alts, strict=False), start=before + 1)
    ]


def position(cell: str) -> int:
    """Return a whole number from 1 to 32,767."""
    value = cell.strip()
    if not value.isascii() or not value.isdigit() or not 1 <= int(value[:9]) <= 32_767:
        raise Unreadable("number_unreadable", f"“{value[:40]}” is not a position; expected 1, 2, 3 …")
    return int(value)
