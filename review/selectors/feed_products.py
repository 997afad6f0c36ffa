"""Read the products of an image feed with their approved images, in chunks of constant cost, and its content's tag."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db.models import (
    BigIntegerField,
    Count,
    DecimalField,
    Exists,
    F,
    Func,
    Max,
    OuterRef,
    QuerySet,
    Subquery,
    Sum,
    TextField,
    Value,
)
from django.db.models.functions import Cast, Coalesce

from campaigns.choices import SubjectKind
from campaigns.models import OutputSpec, Subject, Variant
from core import stored_files
from generation.models import Asset, Endpoint, MarkedFile, Rendition
from generation.selectors.images import DISCLAIMER_OF_ASSET
from review.choices import ObservedState
from review.image_feeds import choosing
from review.image_feeds.base import LAYOUTS, FeedImage, FeedProduct, FeedVariant, ImageFeedLayout
from review.models import Delivery, ImageFeed
from review.selectors import image_feeds, public_files, staleness, usable_assets

CHUNK = 250
"""Products that are read at a time, with all their images."""
FORMAT = 1
"""Raise it when the same rows give another file, so that receivers fetch it again."""


@dataclass(frozen=True)
class FeedEntry:
    """One product of a feed. identifiers: the ids of it or its variants at the receiver; without one it is left out."""

    identifiers: Sequence[str]
    product: FeedProduct
    problems: Sequence[choosing.FeedProblem]

    @property
    def is_included(self) -> bool:
        return bool(self.identifiers and self.product.images)


def choice_of(feed: ImageFeed, layout: type[ImageFeedLayout]) -> choosing.Choice:
    return choosing.Choice(
        main=feed.main_spec,
        additional=feed.additional_specs,
        limits=layout.limits,
        most=layout.most_images,
        receiver=layout.receiver or "This layout",
        takes_disclaimers=feed.takes_disclaimers,
    )


def iter_entries(feed: ImageFeed, *, most: int | None = None) -> Iterator[FeedEntry]:
    """Yield the active products that have approved images, oldest first, in at most five statements for each CHUNK.

    most: stop after so many products. Entries that are not included say why.
    """
    layout, after, count = LAYOUTS.get(feed.layout), 0, 0
    choice = choice_of(feed, layout)
    while most is None or count < most:
        size = CHUNK if most is None else min(CHUNK, most - count)
        subjects = list(_subjects(feed).filter(pk__gt=after).order_by("pk")[:size])
        images = _images_by_subject(feed, subjects, choice)
        variants = _variants_by_subject(list(images)) if layout.reads_variants else {}
        for subject in subjects:
            if candidates := images.get(subject.pk):
                product = FeedProduct(
                    subject.key, subject.name, subject.attributes, candidates, variants.get(subject.pk, ())
                )
                chosen = choosing.choose(product, choice)
                ids, problems = choosing.identify(chosen.product, layout, feed.id_attribute)
                yield FeedEntry(ids, chosen.product, [*chosen.problems, *problems])
        if len(subjects) < size:
            return
        after, count = subjects[-1].pk, count + size


def _assets(feed: ImageFeed) -> QuerySet[Asset]:
    """Return the published assets of the feed's brand or campaign; whether an approval is in effect is not asked."""
    assets = Asset.objects.filter(staleness.PUBLISHED_ASSETS, brand=feed.brand_id, is_sandbox=False)
    return assets.filter(campaign=feed.campaign_id) if feed.campaign_id else assets


def _subjects(feed: ImageFeed) -> QuerySet[Subject]:
    products = Subject.objects.filter(brand=feed.brand_id, kind=SubjectKind.PRODUCT, is_active=True)
    return products.filter(Exists(_assets(feed).filter(subject=OuterRef("pk"))))


def _images_by_subject(
    feed: ImageFeed, subjects: Sequence[Subject], choice: choosing.Choice
) -> dict[int, list[FeedImage]]:
    """Return the files of the approved images of these products, the newest image first, by product.

    Rows are read as dicts: models that refer to each other stay in memory until Python looks for cycles.
    """
    names = {subject.pk: subject.name for subject in subjects}
    assets = usable_assets.with_alt_texts(usable_assets.released(_assets(feed).filter(subject__in=names)))
    rows = list(
        assets.order_by("-pk").values(
            *("pk", "subject_id", "current_version_id", "pinned", "last_alt_text"), disclaimer=DISCLAIMER_OF_ASSET
        )
    )
    files = _files_by_version([row["current_version_id"] for row in rows], choice.specs)
    addresses = _addresses_at_destination(feed, [row["pk"] for row in rows])
    hashes = _possible_hashes(files) if addresses else {}
    images: dict[int, list[FeedImage]] = {}
    for row in rows:
        found = images.setdefault(row["subject_id"], [])
        for file in files.get(row["current_version_id"], ()):
            if usable_assets.is_pinned(row["pinned"], file["output_spec__slug"], file["sha256"]):
                places = [(row["pk"], file["output_spec__slug"], sha256) for sha256 in hashes.get(file["pk"], ())]
                address = next((addresses[place] for place in places if place in addresses), "")
                found.append(_image(row, names[row["subject_id"]], file, address))
    return images


def _variants_by_subject(subject_ids: Sequence[int]) -> dict[int, list[FeedVariant]]:
    """Return the variants of these products in their order, by product."""
    rows = Variant.objects.filter(subject__in=subject_ids).order_by("subject", "position", "key")
    variants: dict[int, list[FeedVariant]] = {}
    for subject_id, key, attributes in rows.values_list("subject_id", "key", "attributes"):
        variants.setdefault(subject_id, []).append(FeedVariant(key, attributes))
    return variants


def _files_by_version(version_ids: Sequence[int], specs: Collection[str]) -> dict[int, list[dict[str, Any]]]:
    """Return the files of these versions, those of `specs` or all."""
    rows = Rendition.objects.filter(version__in=version_ids).order_by("output_spec_id", "-recipe_version")
    if specs:
        rows = rows.filter(output_spec__slug__in=specs)
    files: dict[int, list[dict[str, Any]]] = {}
    for file in rows.values(
        *("pk", "version_id", "sha256", "image_format", "width", "height", "bytes"),
        *("output_spec__slug", "output_spec__asset_type", "marked_file__sha256", "marked_file__bytes"),
    ):
        files.setdefault(file["version_id"], []).append(file)
    return files


def _possible_hashes(files: Mapping[int, Sequence[Mapping[str, Any]]]) -> dict[int, list[str]]:
    """Return the sha256 that each file may have at a destination, by its id: with marks of origin, or as approved."""
    hashes = {file["pk"]: [file["sha256"]] for of_version in files.values() for file in of_version}
    for number, sha256 in MarkedFile.objects.filter(rendition__in=hashes).values_list("rendition", "sha256"):
        hashes[number].append(sha256)
    return hashes


def _image(row: Mapping[str, Any], name: str, file: Mapping[str, Any], address: str) -> FeedImage:
    """Return one file of an asset. name: of the product, the alternative text if nobody wrote another.

    address: where a destination serves it, or "".
    """
    return FeedImage(
        asset_id=row["pk"],
        file_id=file["pk"],
        spec=file["output_spec__slug"],
        url=address or public_files.public_url(file["pk"], file["image_format"]),
        sha256=file["sha256"],
        media_type=stored_files.MEDIA_TYPES[file["image_format"]],
        width=file["width"],
        height=file["height"],
        bytes=file["bytes"],
        asset_type=file["output_spec__asset_type"],
        alt_text=row["last_alt_text"] or name[:512],
        disclaimer=row["disclaimer"] or "",
        served_sha256=None if address else file["marked_file__sha256"],
        served_bytes=None if address else file["marked_file__bytes"],
    )


def _addresses_at_destination(feed: ImageFeed, asset_ids: Sequence[int]) -> dict[tuple[int, str, str], str]:
    """Return (asset, output spec, sha256) -> address, for the files that are live at the feed's destination."""
    if feed.destination_id is None:
        return {}
    rows = Delivery.objects.filter(
        destination=feed.destination_id, asset__in=asset_ids, observed=ObservedState.PRESENT
    ).values_list("asset", "files")
    return {
        (asset_id, file.get("spec", ""), file.get("sha256", "")): file["url"]
        for asset_id, files in rows
        for file in files
        if str(file.get("url", "")).startswith(("https://", "http://"))
    }


def content_tag(feed: ImageFeed) -> str:
    """Return a digest of all rows that decide the file, in one statement. Another file has another tag.

    Sums of hashes, not the newest time of change: a transaction that ends late may have an earlier time than others.
    """
    rows = usable_assets.released(_assets(feed)).filter(subject__kind=SubjectKind.PRODUCT, subject__is_active=True)
    delivered = Delivery.objects.filter(
        destination=feed.destination_id, asset=OuterRef("pk"), observed=ObservedState.PRESENT
    )
    variants = Variant.objects.filter(subject=OuterRef("subject"))
    rows = usable_assets.with_alt_texts(rows).annotate(
        live=Cast(Subquery(delivered.values("files")[:1]), TextField()),
        variants=_sum_of(variants, "key", "position", _text("attributes")),
    )
    row = _hash(
        *("pk", "current_version", "approved_at", "subject", "subject__key", "subject__name", "last_alt_text", "live"),
        *("variants", _text("subject__attributes")),
        *([_marked_files()] if LAYOUTS.get(feed.layout).states_hashes else []),
    )
    sums = rows.annotate(row=row).aggregate(
        images=Count("pk"),
        content=Sum(Cast("row", DecimalField(max_digits=40, decimal_places=0))),
        specs=Max(_sum_of(OutputSpec.objects.filter(campaign__brand=feed.brand_id), "pk", "slug", "asset_type")),
        disclaimers=Max(_sum_of(Endpoint.objects.exclude(disclaimer=""), "pk", "disclaimer")),
    )
    parts = [FORMAT, settings.SITE_URL, feed.brand.name, image_feeds.describe(feed), *map(str, sums.values())]
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()[:32]


def _marked_files() -> Any:
    return _sum_of(Rendition.objects.filter(version=OuterRef("current_version")), "pk", "marked_file")


def _text(column: str) -> Cast:
    return Cast(column, TextField())


def _hash(*columns: Any) -> Func:
    text = Func(Value("|"), *columns, function="concat_ws", output_field=TextField())
    return Func(text, Value(0), function="hashtextextended", output_field=BigIntegerField())


def _sum_of(rows: QuerySet[Any], *columns: Any) -> Any:
    """Return a subquery with the sum of the hashes of these rows."""
    total = rows.order_by().annotate(row=_hash(*columns), all=Value(1)).values("all")
    total = total.annotate(total=Sum(Cast(F("row"), DecimalField(max_digits=40, decimal_places=0)))).values("total")
    return Coalesce(Subquery(total), Value(0), output_field=DecimalField(max_digits=40, decimal_places=0))
