"""Guesses the older encoding of a text that is not in UTF-8, and shows how the text reads in it.

charset-normalizer says which encodings are possible. A table of products has too few words for it to choose between
them. So the choice avoids what no shop writes: a sign within a word, or letters of no single language.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

import charset_normalizer

LABELS = {
    "cp1252": "Windows-1252 (Western Europe)",
    "mac_roman": "Mac Roman (Excel for Mac)",
    "cp1250": "Windows-1250 (Central Europe)",
    "cp1251": "Windows-1251 (Cyrillic)",
    "cp1254": "Windows-1254 (Turkish)",
    "cp1253": "Windows-1253 (Greek)",
    "cp1257": "Windows-1257 (Baltic)",
    "gb18030": "GBK, GB 18030 (Simplified Chinese)",
    "big5": "Big5 (Traditional Chinese)",
    "cp932": "Shift JIS (Japanese)",
    "cp949": "EUC-KR (Korean)",
    "koi8_r": "KOI8-R (Cyrillic)",
    "cp850": "DOS 850 (Western Europe)",
    "cp852": "DOS 852 (Central Europe)",
    "cp866": "DOS 866 (Cyrillic)",
    "mac_latin2": "Mac Central Europe",
    "mac_cyrillic": "Mac Cyrillic",
    "cp1255": "Windows-1255 (Hebrew)",
    "cp1256": "Windows-1256 (Arabic)",
    "iso8859_2": "ISO 8859-2 (Central Europe)",
    "iso8859_15": "ISO 8859-15 (Western Europe)",
}
"""Encodings that a file may have besides UTF-8 and UTF-16, the likeliest first."""
SAMPLE_BYTES = 16_384
MAX_EXAMPLES = 4
MAX_ODD_SHARE = 0.15  # above this share of odd characters, no encoding fits
_LIBRARY_BYTES = 4096
_LANGUAGES = (
    "äöüß", "àâæçéèêëîïôœùûüÿ", "áéíñóúü", "àèéìíòóù", "áâãàçéêíóôõú", "åäöæøé", "ëïéèöü", "ąćęłńóśźż",
    "áčďéěíňóřšťúůýž", "áäčďéíĺľňóôŕšťúýž", "áéíóöőúüű", "ăâîșțşţ", "čćđšž", "çğıöşüâîû", "āčēģīķļņšūž",
    "áðéíóúýþæö",
    "ąčęėįšųūž", "äöõüšž",
)  # fmt: skip
"""The letters besides a to z of each language, roughly by how many shops write it."""
_SIGNS = frozenset("°®™©€£§«»“”‘’„‚‹›–—…²³½¼¾×µ•·¿¡№‰\u00a0ªº′″±")
_ASIAN = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "FULLWIDTH", "IDEOGRAPHIC")
_SCRIPTS = ("CYRILLIC", "GREEK", "HEBREW", "ARABIC", *_ASIAN)
_CELLS = re.compile(r"[;,\t|\"]")


def guess_encoding(sample: bytes) -> tuple[str, bool]:
    """Return (the encoding that fits lines with bytes beyond ASCII best, whether it fits well)."""
    sample = sample[:SAMPLE_BYTES]
    chaos: dict[str, float] = {}  # the library's measure of mess in the text; without encodings that it rules out
    for match in charset_normalizer.from_bytes(sample[:_LIBRARY_BYTES], cp_isolation=list(LABELS)):
        for encoding in match.could_be_from_charset:
            chaos.setdefault(encoding, match.chaos)
    scores = []
    for place, encoding in enumerate(LABELS):
        oddity = _odd_share(sample.decode(encoding, "surrogateescape"))
        scores.append((oddity + chaos.get(encoding, 0.3) / 4 + place / 1000, encoding, oddity))
    _, encoding, oddity = min(scores)
    return encoding, oddity <= MAX_ODD_SHARE


def examples(sample: bytes, encoding: str) -> list[str]:
    """Return a few cells with letters beyond ASCII, as they read in this encoding."""
    text = sample[:SAMPLE_BYTES].decode(encoding, "replace")
    cells = (cell.strip()[:60] for line in text.splitlines() for cell in _CELLS.split(line))
    return list(dict.fromkeys(cell for cell in cells if cell and not cell.isascii()))[:MAX_EXAMPLES]


def _odd_share(text: str) -> float:
    """Return the share of odd characters among those beyond ASCII, and a little more for rarer languages."""
    beyond = [character for character in text if character > "\x7f"]
    if not beyond:
        return 1.0
    words = {character.lower() for character in beyond if _script(character) == "LATIN"}
    strange = [len(words - letters) for letters in map(frozenset, _LANGUAGES)]
    language = min(range(len(strange)), key=lambda place: (strange[place], place))
    outside = words - frozenset(_LANGUAGES[language])
    padded = f" {text} "
    odd = sum(
        character.lower() in outside or _is_odd(before, character, after)
        for before, character, after in zip(padded, padded[1:], padded[2:], strict=False)
        if character > "\x7f"
    )
    return odd / len(beyond) + (language / 200 if words else 0)


def _is_odd(before: str, character: str, after: str) -> bool:
    """Return True for a character that nobody writes between these two."""
    script = _script(character)
    if script == "SIGN":
        return character not in _SIGNS or (before.isalpha() and after.isalpha() and character not in "’‘·")
    if script == "LATIN":
        # A capital within a word: “KŠthe”. A letter alone: “5 Ä”. One between others of another script.
        is_late = character.isupper() and before.islower() and before.isalpha()
        is_alone = not before.isalpha() and not after.isalpha() and character not in "àèéíóúâ"
        return is_late or is_alone or _is_other(before, "LATIN") or _is_other(after, "LATIN")
    if script in _ASIAN:
        return _script(before) not in _ASIAN and _script(after) not in _ASIAN
    return script == "" or _is_other(before, script) or _is_other(after, script)


def _is_other(neighbour: str, script: str) -> bool:
    return _script(neighbour) not in ("SIGN", "", script)


@cache
def _script(character: str) -> str:
    """Return LATIN, CYRILLIC …; SIGN for a character that is no letter; "" for one that cannot be text."""
    category = unicodedata.category(character)
    if category[0] == "C":
        return "SIGN" if character in "\t\r\n" else ""
    name = unicodedata.name(character, "")
    scripts = (*_SCRIPTS, "LATIN") if category[0] == "L" else _SCRIPTS
    return next((script for script in scripts if name.startswith(script)), "SIGN")
