"""The interface of the layouts of image feeds and their registry: a layout writes the images of products as one file.

A layout knows no models: it gets products with the addresses of their images, and yields text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from core.registry import Registry

SCENE_TYPES: Final = frozenset({"scene", "lifestyle"})
"""Asset types of output specs whose images show the product in a staged scene."""


@dataclass(frozen=True)
class FeedImage:
    """One file of an approved image. url: opens it without a login. asset_type: that of its output spec.

    file_id: its number in the API. sha256, bytes: of the file as approved. served_sha256, served_bytes: of the file at
    url, with its marks of origin; None until they are made, and if a destination serves it.
    """

    asset_id: int
    file_id: int
    spec: str
    url: str
    sha256: str
    media_type: str
    width: int
    height: int
    bytes: int
    asset_type: str = ""
    alt_text: str = ""
    disclaimer: str = ""
    served_sha256: str | None = None
    served_bytes: int | None = None

    @property
    def is_scene(self) -> bool:
        return self.asset_type in SCENE_TYPES

    @property
    def pixels(self) -> int:
        return self.width * self.height


@dataclass(frozen=True)
class FeedVariant:
    """A sellable variant of a product. key: its SKU, or the id of its entry in the product feed."""

    key: str
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FeedProduct:
    """A product with its images, the main image first. attributes: the values of its product feed.

    variants: only for layouts that read them.
    """

    key: str
    name: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    images: Sequence[FeedImage] = ()
    variants: Sequence[FeedVariant] = ()


@dataclass(frozen=True)
class FeedHeading:
    """What a file says of itself. link: the site that it comes from."""

    title: str
    link: str
    brand: str


@dataclass(frozen=True)
class Limits:
    """What a receiver takes. Larger files and other types are left out; smaller sides are only warned about.

    advice: the sentence about images with a side below `least_side`. Sides and pixels are of the image, 0: no limit.
    """

    media_types: frozenset[str] = frozenset()
    most_bytes: int = 0
    most_pixels: int = 0
    most_side: int = 0
    least_side: int = 0
    advice: str = ""


class ImageFeedLayout:
    """One layout of a file. label: its name for people. most_images: of one product, the main image included.

    default_id: the attribute of a product by which the receiver knows it, where people chose no other; the product's
    key stands in for it. has_variant_ids: the receiver knows each variant by an id of its own. reads_variants: products
    come with their variants. states_hashes: it writes the sha256 of the served files, so marks of origin change it.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    description: ClassVar[str]
    media_type: ClassVar[str]
    suffix: ClassVar[str]
    receiver: ClassVar[str] = ""
    limits: ClassVar[Limits] = Limits()
    most_images: ClassVar[int] = 250
    default_id: ClassVar[str] = ""
    has_variant_ids: ClassVar[bool] = False
    reads_variants: ClassVar[bool] = False
    states_hashes: ClassVar[bool] = False

    def begin(self, heading: FeedHeading) -> str:
        """Return the text before the first product."""
        return ""

    def product(self, product: FeedProduct, identifiers: Sequence[str]) -> str:
        """Return the text of one product with at least one image.

        identifiers: the id that the receiver knows; with `has_variant_ids` that of each variant.
        """
        raise NotImplementedError

    def end(self) -> str:
        """Return the text after the last product."""
        return ""


LAYOUTS: Final[Registry[type[ImageFeedLayout]]] = Registry(
    "image feed layout",
    "proofline.image_feeds",
    {
        "google_merchant": "review.image_feeds.google_merchant:GoogleMerchantLayout",
        "google_merchant_tsv": "review.image_feeds.google_merchant:GoogleMerchantTableLayout",
        "shopify_csv": "review.image_feeds.shopify_csv:ShopifyLayout",
        "shopify_csv_legacy": "review.image_feeds.shopify_csv:LegacyShopifyLayout",
        "json": "review.image_feeds.json_file:JsonLayout",
    },
)
"""All layouts, in the order in which people choose them."""
