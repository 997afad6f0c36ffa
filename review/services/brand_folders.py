"""Find the folders and bucket prefixes that belong to one brand. Nothing is written here.

PROOFLINE_HANDOVER_FOLDERS names the roots. In each root a brand owns the folder whose name is its slug. An entry such
as `acme=/mnt/acme` gives one folder to the brand `acme` alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.conf import settings

from core.models import Brand
from review.delivery.base import DeliveryError
from review.delivery.places import safe_path

_SLUG = re.compile(r"[A-Za-z0-9_-]+")


def folder_problem(brand: Brand, path: str) -> str:
    """Return why files of the brand may not be delivered to `path`, or "" if they may."""
    if problem := _slug_problem(brand):
        return problem
    own = _own_folders(brand)
    try:
        target = Path(path).resolve() if Path(path).is_absolute() else None
    except (OSError, RuntimeError, ValueError):  # a circle of links, or a character that no path may hold
        target = None
    if target is not None and _owner(brand, target) is not None:
        return ""
    expected = " or ".join(str(folder) for folder in own) or "a folder that PROOFLINE_HANDOVER_FOLDERS names"
    return (
        f"{path[:200]!r} is no folder of {brand.name}. Give an absolute path at or below {expected} "
        "(PROOFLINE_HANDOVER_FOLDERS)."
    )


def own_folder(brand: Brand, path: str) -> Path | None:
    """Return the brand's folder that holds `path`, or None when the path is not the brand's."""
    return None if folder_problem(brand, path) else _owner(brand, Path(path).resolve())


def prefix_problem(brand: Brand, config: Mapping[str, Any]) -> str:
    """Return why the server's own bucket rights may not be used for this prefix, or "" if they may."""
    if problem := _slug_problem(brand):
        return problem
    prefix = str(config.get("prefix", "")).strip("/")
    try:
        safe_path(*prefix.split("/"))
    except DeliveryError:
        is_own = False
    else:
        is_own = prefix.split("/")[0] == brand.slug
    if is_own:
        return ""
    return (
        f"{prefix[:200]!r} is no prefix of {brand.name}. Without keys of its own, it needs a prefix at or below "
        f"{brand.slug}."
    )


def _slug_problem(brand: Brand) -> str:
    """Return why the brand's slug cannot be a folder name, or "".

    Two slugs that differ only in case are one folder on some file systems. It belongs to the older brand.
    """
    if not _SLUG.fullmatch(brand.slug):
        return f"The brand's slug {brand.slug!r} cannot be the name of a folder."
    if Brand.objects.filter(slug__iexact=brand.slug, pk__lt=brand.pk).exists():
        return f"The folder {brand.slug!r} has the same name as that of another brand on some file systems."
    return ""


def _entries() -> list[tuple[str, Path]]:
    """Return the configured pairs (brand slug, or "" for a root of all brands; its folder with links resolved)."""
    entries = []
    for entry in settings.PROOFLINE["handover_folders"]:
        slug, sign, folder = entry.partition("=")
        is_for_one = bool(sign) and _SLUG.fullmatch(slug) is not None
        entries.append((slug if is_for_one else "", Path(folder if is_for_one else entry).resolve()))
    return entries


def _own_folders(brand: Brand) -> list[Path]:
    return [folder if slug else folder / brand.slug for slug, folder in _entries() if slug in {"", brand.slug}]


def _owner(brand: Brand, target: Path) -> Path | None:
    """Return the brand's innermost folder that contains `target`.

    None if there is none, or if a folder of another brand lies between them or below `target`.
    """
    holding = [folder for folder in _own_folders(brand) if target.is_relative_to(folder)]
    if not holding:
        return None
    own = max(holding, key=lambda folder: len(folder.parts))
    foreign = [folder for slug, folder in _entries() if slug != brand.slug]
    for folder in foreign:
        lies_between = target.is_relative_to(folder) and folder.is_relative_to(own)
        if lies_between or folder.is_relative_to(target):
            return None
    return own
