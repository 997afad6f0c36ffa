"""The scene of the destination "shopify"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

from review.delivery.shopify.client import _tokens
from tests.support.kill_scenes import Scene, Shown
from tests.support.shopify_server import CLIENT_ID, CLIENT_SECRET, FILES, serving_shop
from tests.support.shopify_shop import Product


class ShopifyScene(Scene):
    kind = "shopify"

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        super().__init__(stack, folder)
        self.server = stack.enter_context(serving_shop())
        self.shop = self.server.shop
        self.front = self.add_proxy(self.server.url)
        storage = self.server.storage
        storage.url = self.add_proxy(storage.url).url
        self.shop.files_url = storage.url + FILES
        self.products: dict[str, Product] = {}

    def settings(self) -> tuple[dict[str, Any], str]:
        return {"url": self.front.url, "client_id": CLIENT_ID, "allow_private": True}, CLIENT_SECRET

    def add_product(self, key: str) -> None:
        with self.shop.guard:
            product = self.shop.add_product(key, images=(f"front-{key}", f"back-{key}"))
            product.variants[0].media = product.media[0]
            self.products[key] = product

    def shown(self, key: str) -> Shown:
        product = self.products[key]
        with self.shop.guard:
            self.shop.images_of(product)  # settles what is under way
            shown = [self.shop.files[media] for media in product.media]
            return [(self.identify(file.content), file.alt) for file in shown]

    def stored(self) -> Counter[str]:
        with self.shop.guard:
            return Counter(self.identify(file.content) for file in self.shop.files.values())

    def problems(self, key: str, ours: Sequence[str]) -> list[str]:
        product = self.products[key]
        with self.shop.guard:
            media = self.shop.files.get(product.variants[0].media)
            shown = media and self.identify(media.content)
            expected = ours[0] if ours else self.identify(f"front-{key}".encode())
        return [] if shown == expected else [f"the variant shows {shown} instead of {expected}"]

    def disturb(self, key: str, chance: Random) -> None:
        with self.shop.guard:
            chance.shuffle(self.products[key].media)
            own = [self.shop.files[media] for media in self.products[key].media if not self._is_ours(media)]
            chance.choice(own).alt = "changed since"

    def _is_ours(self, media: str) -> bool:
        return not self.shop.files[media].name.startswith(("front-", "back-"))

    def own_faults(self) -> Mapping[str, Callable[[], object]]:
        return {
            "throttled": lambda: self.server.bucket.drain(rate=1000.0),
            "tokens expired": self.server.tokens.clear,
            "token forgotten": _tokens.clear,
            "slow processing": lambda: setattr(self.shop, "processing_seconds", 0.3),
            "search lags": lambda: setattr(self.shop, "index_seconds", 0.3),
            "failed later": lambda: setattr(self.shop, "duplicates_fail_later", True),
            "processing fails": lambda: self.shop.failures.append("IMAGE_PROCESSING_FAILURE"),
        }

    def heal(self) -> None:
        super().heal()
        self.server.bucket.rate, self.server.bucket.available = 1000.0, 2000.0
        self.shop.processing_seconds = self.shop.index_seconds = 0.0
        self.shop.duplicates_fail_later = False
        self.shop.failures.clear()
