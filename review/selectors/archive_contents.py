"""Approved images for an archive: which files there are, and how large it will be."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Exists, F, Func, OuterRef, QuerySet, Sum, TextField, Value
from django.db.models.functions import Coalesce

from generation.choices import AssetState
from generation.models import Asset, Rendition
from review.models import Decision, Delivery


@dataclass(frozen=True)
class SpecSize:
    """The approved files of one output spec: how many, and their bytes together, with marks once they have them."""

    slug: str
    files: int
    bytes: int


def approved(assets: QuerySet[Asset]) -> QuerySet[Asset]:
    """Return those of the assets whose current version is approved."""
    return assets.filter(state=AssetState.APPROVED)


def approved_renditions(assets: QuerySet[Asset]) -> QuerySet[Rendition]:
    """Return the files that a valid approval of these assets' current versions is pinned to."""
    pinned: Any = Func(
        F("pinned"), Value("renditions"), OuterRef("output_spec__slug"),
        function="jsonb_extract_path_text", output_field=TextField(),
    )  # fmt: skip
    approvals = Decision.objects.valid_approvals().filter(version=OuterRef("version"))
    approvals = approvals.annotate(pinned_sha256=pinned).filter(pinned_sha256=OuterRef("sha256"))
    return Rendition.objects.filter(
        Exists(approvals), version__in=approved(assets).order_by().values("current_version")
    )


def list_spec_sizes(assets: QuerySet[Asset]) -> list[SpecSize]:
    """Return the size of each output spec that has approved files, by slug, in one query."""
    rows = approved_renditions(assets).order_by().values("output_spec__slug")
    rows = rows.annotate(files=Count("pk"), size=Sum(Coalesce("marked_file__bytes", "bytes"))).order_by(
        "output_spec__slug"
    )
    return [SpecSize(row["output_spec__slug"], row["files"], row["size"]) for row in rows]


def has_files(assets: QuerySet[Asset], specs: Collection[str]) -> bool:
    return approved_renditions(assets).filter(output_spec__slug__in=specs).exists()


def alt_texts(asset_ids: Iterable[int]) -> dict[int, str]:
    """Return the alt text that people wrote last for each of these assets, at any of its destinations."""
    rows = Delivery.objects.filter(asset__in=asset_ids).exclude(alt_text="")
    return dict(rows.order_by("changed_at").values_list("asset", "alt_text"))
