"""Seeds: fixed, per subject, or random; the number is always recorded with the job."""

from __future__ import annotations

import hashlib
import secrets

# All engines with a seed accept 31 bits, and JavaScript shows the number without rounding.
MAX_SEED = 2**31 - 1


def seed_for(strategy: str, *, base: int = 0, subject_key: str = "", template_key: str = "", candidate: int = 1) -> int:
    """Return the seed of one candidate (counted from 1), 0 … MAX_SEED.

    "fixed": base, base + 1, … for all subjects alike. "per_subject": derived from the subject's key, the template and
    `base`, so that a subject keeps its seeds in later runs and gets new ones with a new base. "random": a new seed.
    """
    if strategy == "fixed":
        return (base + candidate - 1) % (MAX_SEED + 1)
    if strategy == "per_subject":
        text = "\x1f".join((template_key, subject_key, str(base), str(candidate)))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % (MAX_SEED + 1)
    if strategy == "random":
        return secrets.randbelow(MAX_SEED + 1)
    raise ValueError(f"There is no seed strategy {strategy!r}; known are fixed, per_subject, random.")
