"""Find the folders and bucket prefixes that belong to one brand. Nothing is written here.

PROOFLINE_HANDOVER_FOLDERS names the roots. In each root a brand owns the folder whose name is its slug. An entry such
as `acme=/mnt/acme` gives one folder to the brand `acme` alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from core.models import Brand
from review.delivery.base import DeliveryError
from review.delivery.hot_folder.places import safe_path

_SLUG = re.compile(r"[A-Za-z0-9_-]+")


def folder_problem(brand: Brand, path: str) -> str:
    """Return why files of the brand may not be delivered to `path`, or "" if they may."""
    if problem := _slug_problem(brand):
        return problem
    with suppress(OSError, RuntimeError, ValueError):  # a circle of links, or a character that no path may hold
        if Path(path).is_absolute() and _owner(brand, Path(path).resolve()) is not None:
            return ""
    expected = _(" or ").join(map(str, _own_folders(brand))) or _("a folder that PROOFLINE_HANDOVER_FOLDERS names")
    return _(
        "%(path)r is no folder of %(brand)s. Give an absolute path at or below %(expected)s "
        "(PROOFLINE_HANDOVER_FOLDERS)."
    ) % {"path": path[:200], "brand": brand.name, "expected": expected}


def own_folder(brand: Brand, path: str) -> Path | None:
    """Return the brand's folder that holds `path`, or None when the path is not the brand's."""
    return None if folder_problem(brand, path) else _owner(brand, Path(path).resolve())


def prefix_problem(brand: Brand, config: Mapping[str, Any]) -> str:
    """Return why the server's own bucket rights may not be used for this prefix, or "" if they may."""
    if problem := _slug_problem(brand):
        return problem
    prefix = str(config.get("prefix", "")).strip("/")
    parts = prefix.split("/")
    with suppress(DeliveryError):
        safe_path(*parts)
        if parts[0] == brand.slug:
            return ""
    if not prefix:
        return _("Without an access key, the folder in the bucket must be at or below %(slug)s.") % {"slug": brand.slug}
    return _(
        "%(prefix)r is no folder of %(brand)s. Without an access key, the folder must be at or below %(slug)s."
    ) % {"prefix": prefix[:200], "brand": brand.name, "slug": brand.slug}


def _slug_problem(brand: Brand) -> str:
    """Return why the slug cannot be a folder name, or "". Where case does not count, a folder is the older brand's."""
    if not _SLUG.fullmatch(brand.slug):
        return _("The brand's slug %(slug)r cannot be the name of a folder.") % {"slug": brand.slug}
    if Brand.objects.filter(slug__iexact=brand.slug, pk__lt=brand.pk).exists():
        message = _("The folder %(slug)r has the same name as that of another brand on some file systems.")
        return message % {"slug": brand.slug}
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
    """Return the brand's innermost folder around `target`; None if another brand's lies between them or below."""
    holding = [folder for folder in _own_folders(brand) if target.is_relative_to(folder)]
    if not holding:
        return None
    own = max(holding, key=lambda folder: len(folder.parts))
    for folder in (folder for slug, folder in _entries() if slug != brand.slug):
        lies_between = target.is_relative_to(folder) and folder.is_relative_to(own)
        if lies_between or folder.is_relative_to(target):
            return None
    return own
