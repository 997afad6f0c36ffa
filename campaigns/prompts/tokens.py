"""Counting the part of a prompt that a model's text encoder reads.

CLIP reads 77 tokens, of which two are special tokens; the limit of T5 is set by its pipeline. With the model's
tokenizer files the count is exact (byte-pair encoding as in CLIP's `simple_tokenizer.py`, Radford et al. 2021; word
level for small models). Without them it is an estimate, and marked as such.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any

#: Family -> (tokens that an encoder reads, including special ones; number of special tokens; letters per token).
#: The letters are measured over product prompts in English; longer words are cut into pieces.
FAMILIES = {"clip": (77, 2, 9), "t5-256": (256, 1, 4), "t5": (512, 1, 4)}
_CONTRACTIONS = re.compile(r"'(?:s|t|re|ve|m|ll|d)")
_WORD = re.compile(r"\S+")
MAX_FILE_BYTES = 32 * 1024 * 1024

Counter = Callable[[str], int]  # the number of tokens of one word, without white space


@dataclass(frozen=True)
class Encoder:
    """A text encoder. limit: tokens with special ones. is_exact: `count` uses the model's own tokenizer."""

    limit: int
    special_tokens: int
    count: Counter
    is_exact: bool = False


@dataclass(frozen=True)
class TokenCount:
    """A text as an encoder reads it. tokens and limit: without special tokens."""

    tokens: int
    limit: int
    cut: int | None  # the first character of the first word that is not read in full; None if all is read
    is_exact: bool

    @property
    def words(self) -> str:
        """Return "58 of 75 tokens", or "about 58 of 75 tokens"."""
        return f"{'' if self.is_exact else 'about '}{self.tokens} of {self.limit} tokens"


def count_tokens(text: str, encoder: Encoder) -> TokenCount:
    """Count the tokens word by word, in linear time."""
    limit = encoder.limit - encoder.special_tokens
    used, cut = 0, None
    for word in _WORD.finditer(text):
        used += encoder.count(word.group())
        if used > limit and cut is None:
            cut = word.start()
    return TokenCount(used, limit, cut, encoder.is_exact)


def estimating_encoder(family: str) -> Encoder:
    """Return an estimating encoder for a family; ValueError lists the known families."""
    if family not in FAMILIES:
        raise ValueError(f"There is no encoder family {family!r}; known are {', '.join(FAMILIES)}.")
    limit, marks, letters = FAMILIES[family]

    def count(word: str) -> int:
        return sum(-(-len(piece) // letters) if piece[0].isalpha() else 1 for piece in pieces(word))

    return Encoder(limit, marks, count)


def load_encoder(folder: Path) -> Encoder | None:
    """Return the exact encoder of a tokenizer folder as transformers saves it; None for files in another format."""
    try:
        stamps = tuple(path.stat().st_mtime_ns for path in sorted(folder.glob("*.json")))
    except OSError:
        return None
    return _from_folder(folder, stamps)


@lru_cache(maxsize=8)
def _from_folder(folder: Path, stamps: tuple[int, ...]) -> Encoder | None:
    try:
        limit = _limit(folder)
        if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            _json(folder / "vocab.json")  # if it is damaged, the merges are not trusted either
            lines = _read(folder / "merges.txt").splitlines()
            merges = [tuple(line.split()) for line in lines if line and not line.startswith("#version")]
            return Encoder(limit, 2, byte_pairs(merges), True)
        whole = _json(folder / "tokenizer.json")
        model, marks = whole["model"], _marks(whole.get("post_processor"))
        if model["type"] == "BPE" and model.get("end_of_word_suffix") == "</w>":
            merges = [tuple(pair.split(" ", 1) if isinstance(pair, str) else pair) for pair in model["merges"]]
            return Encoder(limit, marks, byte_pairs(merges), True)
        if model["type"] == "WordLevel":
            # Every piece of a word is one token, known or not.
            pattern = re.compile(r"\w+|[^\w\s]+" if "Whitespace" in str(whole.get("pre_tokenizer")) else r"\S+")
            return Encoder(limit, marks, lambda word: len(pattern.findall(word)), True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return None


def _marks(processor: Any) -> int:
    """Return the number of special tokens around a single text."""
    if not isinstance(processor, Mapping):
        return 0
    if processor.get("type") == "TemplateProcessing":
        return sum("SpecialToken" in part for part in processor.get("single", ()))
    return 2


def _limit(folder: Path) -> int:
    try:
        limit = float(_json(folder / "tokenizer_config.json").get("model_max_length", inf))
    except OSError:
        limit = inf
    # transformers writes 1e30 if a tokenizer has no limit.
    return int(limit) if 0 < limit < 100_000 else FAMILIES["clip"][0]


def _json(path: Path) -> Any:
    return json.loads(_read(path))


def _read(path: Path) -> str:
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ValueError(f"{path.name} is too large for a tokenizer")
    return path.read_text(encoding="utf-8")


def byte_pairs(merges: Sequence[tuple[str, ...]]) -> Counter:
    """Return a function that counts the tokens of a word as CLIP's tokenizer does.

    The word is made lower case, split into letters, digits and marks, and its UTF-8 bytes are written as characters.
    Then the learnt pairs are joined, in the order in which they were learnt.
    """
    ranks = {(pair[0], pair[1]): rank for rank, pair in enumerate(merges) if len(pair) == 2}

    @lru_cache(maxsize=65_536)
    def count(word: str) -> int:
        return sum(_pairs(piece, ranks) for piece in pieces(word))

    return count


def _pairs(piece: str, ranks: Mapping[tuple[str, str], int]) -> int:
    parts = [_BYTES[byte] for byte in piece.encode()]
    parts[-1] += "</w>"
    while len(parts) > 1:
        best = min(pairwise(parts), key=lambda pair: ranks.get(pair, inf))
        if best not in ranks:
            break
        joined: list[str] = []
        for part in parts:
            if joined and (joined[-1], part) == best:
                joined[-1] += part
            else:
                joined.append(part)
        parts = joined
    return len(parts)


def pieces(word: str) -> list[str]:
    """Split a word as CLIP does: contractions, runs of letters, single digits, runs of anything else."""
    text = unicodedata.normalize("NFC", word).lower()
    parts: list[str] = []
    at = 0
    while at < len(text):
        start = at
        if contraction := _CONTRACTIONS.match(text, at):
            at = contraction.end()
        else:
            kind = _kind(text[at])
            at += 1
            while kind != "N" and at < len(text) and _kind(text[at]) == kind:
                at += 1
        parts.append(text[start:at])
    return parts


def _kind(character: str) -> str:
    category = unicodedata.category(character)[0]
    return category if category in "LN" else "other"


_PRINTABLE = {*range(33, 127), *range(161, 173), *range(174, 256)}
_OTHERS = iter(range(256, 512))
#: The character for each byte: printable bytes stay the same, the others get characters from 256 on.
_BYTES = [chr(byte) if byte in _PRINTABLE else chr(next(_OTHERS)) for byte in range(256)]
