"""Choose the images of one product for a feed, and say which images are left out and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from review.image_feeds.base import FeedImage, FeedProduct, FeedVariant, ImageFeedLayout, Limits


class ProblemKind(StrEnum):
    SMALL = "small"
    LARGE = "large"
    TYPE = "type"
    DISCLAIMER = "disclaimer"
    TOO_MANY = "too_many"
    NO_MAIN = "no_main"
    NO_ID = "no_id"


WARNINGS = frozenset({ProblemKind.SMALL})
"""Problems of images that are in the feed all the same."""


@dataclass(frozen=True)
class FeedProblem:
    """One problem of a product or of one of its images. asset_id: None if it concerns the whole product."""

    kind: ProblemKind
    key: str
    message: str
    asset_id: int | None = None

    @property
    def is_left_out(self) -> bool:
        return self.kind not in WARNINGS


@dataclass(frozen=True)
class Choice:
    """Which images of a product a feed has.

    main: the output spec of the main image, "" for any. additional: those of the others, in their order. most: images
    of one product.
    """

    main: str
    additional: Sequence[str]
    limits: Limits
    most: int
    receiver: str = ""
    takes_disclaimers: bool = False

    @property
    def specs(self) -> set[str]:
        """Return the output specs that are needed; empty for all."""
        return {self.main, *self.additional} if self.main else set()


@dataclass(frozen=True)
class ChosenImages:
    product: FeedProduct
    problems: Sequence[FeedProblem]


def identify(
    product: FeedProduct, layout: type[ImageFeedLayout], attribute: str
) -> tuple[list[str], list[FeedProblem]]:
    """Return the ids by which the receiver knows the product or each of its variants, and those that lack one.

    attribute: the column of the product feed that people chose, "" for the layout's own, else the key.
    """
    if layout.has_variant_ids and product.variants:
        ids = {variant.key: _id_of(variant, attribute, "") for variant in product.variants}
    else:
        ids = {product.key: _id_of(product, attribute, layout.default_id)}
    message = f"Its product feed has no value for {attribute}."
    problems = [FeedProblem(ProblemKind.NO_ID, key, message) for key, identifier in ids.items() if not identifier]
    return [identifier for identifier in ids.values() if identifier], problems


def _id_of(row: FeedProduct | FeedVariant, attribute: str, default: str) -> str:
    if attribute:
        return str(row.attributes.get(attribute) or "").strip()
    return str(row.attributes.get(default) or "").strip() or row.key


def choose(product: FeedProduct, choice: Choice) -> ChosenImages:
    """Return the product with the images of the feed, the main image first, and its problems.

    product.images: its candidates, the newest first. A product without a main image has no images at all.
    """
    problems: list[FeedProblem] = []
    images: list[FeedImage] = []
    seen: set[str] = set()
    for image in _in_order(product.images, choice):
        if image.sha256 in seen:
            continue
        seen.add(image.sha256)
        refusal = _refuse(image, choice)
        if refusal is None:
            images.append(image)
        else:
            problems.append(FeedProblem(refusal[0], product.key, refusal[1], image.asset_id))
    images = _put_main_first(images, choice)
    if not images:
        problems.append(FeedProblem(ProblemKind.NO_MAIN, product.key, _missing_main(choice)))
    problems += _list_warnings(product.key, images, choice)
    return ChosenImages(replace(product, images=images[: choice.most]), problems)


def _in_order(images: Sequence[FeedImage], choice: Choice) -> list[FeedImage]:
    """Return the candidates: those for the main image, then the others in the order of their output specs."""
    order = {spec: place for place, spec in enumerate(choice.additional)}
    candidates = [image for image in images if image.spec in order or choice.main in ("", image.spec)]
    return sorted(candidates, key=lambda image: (image.spec != choice.main, order.get(image.spec, -1)))


def _put_main_first(images: list[FeedImage], choice: Choice) -> list[FeedImage]:
    """Return the main image and the additional ones; nothing without a main image."""
    main = next((image for image in images if choice.main in ("", image.spec)), None)
    if main is None:
        return []
    return [main, *(image for image in images if image is not main and image.spec in choice.additional)]


def _refuse(image: FeedImage, choice: Choice) -> tuple[ProblemKind, str] | None:
    """Return why the receiver cannot take the image; None if it can."""
    limits, receiver = choice.limits, choice.receiver
    if image.disclaimer and not choice.takes_disclaimers:
        return ProblemKind.DISCLAIMER, f"It has the disclaimer “{image.disclaimer}”, and this feed takes none."
    if limits.media_types and image.media_type not in limits.media_types:
        return ProblemKind.TYPE, f"{receiver} does not take {image.media_type}."
    if limits.most_bytes and image.bytes > limits.most_bytes:
        size, most = image.bytes / 1e6, limits.most_bytes / 1e6
        return ProblemKind.LARGE, f"The file has {size:.1f} MB; {receiver} takes at most {most:g} MB."
    if limits.most_pixels and image.pixels > limits.most_pixels:
        pixels, most = image.pixels / 1e6, limits.most_pixels / 1e6
        return ProblemKind.LARGE, f"The image has {pixels:.1f} megapixels; {receiver} takes at most {most:g}."
    if limits.most_side and max(image.width, image.height) > limits.most_side:
        size_text = f"{image.width} × {image.height} px"
        return ProblemKind.LARGE, f"The image has {size_text}; {receiver} takes sides of at most {limits.most_side} px."
    return None


def _list_warnings(key: str, images: Sequence[FeedImage], choice: Choice) -> Iterator[FeedProblem]:
    for image in images[: choice.most]:
        if min(image.width, image.height) < choice.limits.least_side:
            message = f"The image has {image.width} × {image.height} px. {choice.limits.advice}"
            yield FeedProblem(ProblemKind.SMALL, key, message, image.asset_id)
    for image in images[choice.most :]:
        message = f"{choice.receiver} takes at most {choice.most} images of a product."
        yield FeedProblem(ProblemKind.TOO_MANY, key, message, image.asset_id)


def _missing_main(choice: Choice) -> str:
    return f"It has no usable image of the output {choice.main}." if choice.main else "It has no usable image."
