"""A JSON file with all that Proofline knows of the images of each product, for programs of one's own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from review.image_feeds.base import FeedHeading, FeedImage, FeedProduct, ImageFeedLayout


class JsonLayout(ImageFeedLayout):
    """{"version", "title", "brand", "products": [{"id", "key", "name", "variants", "images": [{"url", …}]}]}."""

    name = "json"
    label = "JSON"
    description = "Every product with its images: address, size, sha256, alternative text, output and disclaimer."
    media_type = "application/json"
    suffix = "json"
    reads_variants = states_hashes = True

    def __init__(self) -> None:
        self._separator = "\n"

    def begin(self, heading: FeedHeading) -> str:
        facts = {"version": 1, "title": heading.title, "brand": heading.brand, "link": heading.link}
        return json.dumps(facts, ensure_ascii=False)[:-1] + ', "products": ['

    def product(self, product: FeedProduct, identifiers: Sequence[str]) -> str:
        images = [_image(image, "additional" if number else "main") for number, image in enumerate(product.images)]
        entry = {
            "id": identifiers[0],
            "key": product.key,
            "name": product.name,
            "variants": [variant.key for variant in product.variants],
            "images": images,
        }
        separator, self._separator = self._separator, ",\n"
        return separator + json.dumps(entry, ensure_ascii=False)

    def end(self) -> str:
        return "\n]}\n"


def _image(image: FeedImage, role: str) -> dict[str, Any]:
    return {
        "url": image.url,
        "role": role,
        "is_scene": image.is_scene,
        "alt_text": image.alt_text,
        "media_type": image.media_type,
        "width": image.width,
        "height": image.height,
        "bytes": image.served_bytes,
        "sha256": image.served_sha256,
        "output": image.spec,
        "asset": image.asset_id,
        "file": image.file_id,
        "disclaimer": image.disclaimer,
    }
