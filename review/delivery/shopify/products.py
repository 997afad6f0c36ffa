"""The products of a shop: find one, read and change the order of its images, and the image of a variant."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from review.delivery.base import DeliveryError, Limiter, Need, Package, Product
from review.delivery.shopify import operations as ops
from review.delivery.shopify.client import ShopClient
from review.delivery.shopify.config import ShopifyConfig

REORDER_SECONDS = 20.0
"""The longest time, in seconds, that the shop may take to put images into a new order."""


class Products:
    """The products of one shop during one attempt."""

    def __init__(self, shop: ShopClient, config: ShopifyConfig, limiter: Limiter) -> None:
        self.shop, self.config, self.limiter = shop, config, limiter

    def find(self, package: Package) -> tuple[str, str]:
        """Return the ids of the product and of its variant ("" if none was found). Raises DeliveryError."""
        if product := self.config.product_of(package.sku):
            return product, ""
        how, value = self.config.find_by, self._value(package)
        if not value:
            raise DeliveryError(f"{package.sku} has no {how} in its feed.", is_final=True, needs=Need.PRODUCT)
        place = self._find_variant(how, value) if how in {"sku", "barcode"} else self._find_product(how, value)
        if place is None:
            message = f"The shop has no product with the {how} {value}."
            message += " Create it there, or choose one."
            raise DeliveryError(message, is_final=True, needs=Need.PRODUCT)
        return place

    def search(self, text: str) -> list[Product]:
        """Return the products that the shop's search finds for words, of which the last ones may be incomplete."""
        words = [word.strip("-") for word in re.findall(r"[\w.-]+", text)]
        search = " ".join(f"{word}*" for word in words if word)
        nodes = self._run(ops.PRODUCTS, search=search)["products"]["nodes"] if search else []
        return [_describe(node) for node in nodes]

    def _value(self, package: Package) -> str:
        how, subject = self.config.find_by, package.subject
        if how == "barcode":
            return str(subject.get(how) or "")
        column = self.config.metafield.rpartition(".")[2] if how == "metafield" else how
        return str(subject.get(column) or package.sku)

    def _find_variant(self, how: str, value: str) -> tuple[str, str] | None:
        search = f'{how}:"{_escaped(value)}"'
        nodes = self._run(ops.PRODUCT_OF_VARIANT, search=search)["productVariants"]["nodes"]
        matches = [node for node in nodes if (node[how] or "").casefold() == value.casefold()]
        products = {node["product"]["id"] for node in matches}
        if len(products) > 1:
            message = f"{len(products)} products of the shop have the {how} {value}. Choose one."
            raise DeliveryError(message, is_final=True, needs=Need.PRODUCT)
        if not matches:
            return None
        return matches[0]["product"]["id"], matches[0]["id"] if len(matches) == 1 else ""

    def _find_product(self, how: str, value: str) -> tuple[str, str] | None:
        identifier: dict[str, Any] = {"handle": value}
        if how == "metafield":
            namespace, _dot, key = self.config.metafield.partition(".")
            identifier = {"customId": {"namespace": namespace, "key": key, "value": value}}
        node = self._run(ops.PRODUCT, identifier=identifier)["productByIdentifier"]
        return (node["id"], "") if node else None

    # -- images --------------------------------------------------------------------------------------------------------

    def images(self, product: str) -> list[dict[str, Any]]:
        """Return the product's images, in their order: [{"id", "alt"}]. Raises DeliveryError."""
        images = self.images_if_any(product)
        if images is None:
            message = f"The shop has no product {product} any more."
            raise DeliveryError(message, is_final=True, needs=Need.PRODUCT)
        return images

    def images_if_any(self, product: str) -> list[dict[str, Any]] | None:
        """Return the product's images as `images` does; None if the product is no longer in the shop."""
        content = self._run(ops.PRODUCT_IMAGES, product=product)["product"]
        return None if content is None else list(content["media"]["nodes"])

    def arrange(self, product: str, order: Sequence[str], *, current: Sequence[str] = ()) -> None:
        """Bring the product's images into this order; images that are not named come after. Raises DeliveryError.

        The shop does it in the background. So the order is read again until it is right. current: their order, if it
        was read a moment ago.
        """
        for _attempt in range(3):
            current = current or [image["id"] for image in self.images(product)]
            named = [image for image in order if image in current]
            goal = named + [image for image in current if image not in named]
            if list(current) == goal:
                return
            moves = list_moves(current, goal)
            job = self._run(ops.REORDER, result="productReorderMedia", product=product, moves=moves)["job"]
            self._wait_for_job(job)
            current = ()
        raise DeliveryError("The shop has not put the images in order yet.", retry_after_seconds=30)

    def _wait_for_job(self, job: Mapping[str, Any] | None) -> None:
        pause, give_up_at = 0.2, time.monotonic() + REORDER_SECONDS
        while job is not None and not job["done"]:
            if time.monotonic() > give_up_at:
                raise DeliveryError("The shop has not put the images in order yet.", retry_after_seconds=30)
            time.sleep(pause)
            pause = min(2.0, pause * 1.5)
            job = self._run(ops.JOB, id=job["id"])["job"]

    # -- variants ------------------------------------------------------------------------------------------------------

    def variant_image(self, variant: str) -> str:
        """Return the id of the variant's image; "" if it has none."""
        content = self._run(ops.VARIANT_IMAGE, variant=variant)["productVariant"]
        nodes = content["media"]["nodes"] if content else []
        return str(nodes[0]["id"]) if nodes else ""

    def set_variant_image(self, product: str, variant: str, image: str) -> Mapping[str, Any]:
        """Make one of the product's images that of its variant, which takes only one; safe to repeat."""
        shown = self.variant_image(variant)
        if shown == image:
            return {"image": image}
        if shown:
            media = [{"variantId": variant, "mediaIds": [shown]}]
            self._run(ops.CLEAR_VARIANT_IMAGE, result="productVariantDetachMedia", product=product, media=media)
        media = [{"variantId": variant, "mediaIds": [image]}]
        self._run(ops.SET_VARIANT_IMAGE, result="productVariantAppendMedia", product=product, media=media)
        return {"image": image}

    def _run(self, operation: str, *, result: str = "", **variables: Any) -> Any:
        return self.shop.run(operation, self.limiter, result=result, **variables)


def list_moves(current: Sequence[str], goal: Sequence[str]) -> list[dict[str, str]]:
    """Return the moves from one order to another. Each position counts in the order that the moves before it left."""
    order, moves = list(current), []
    for place, image in enumerate(goal):
        if order[place] != image:
            order.remove(image)
            order.insert(place, image)
            moves.append({"id": image, "newPosition": str(place)})
    return moves


def _describe(node: Mapping[str, Any]) -> Product:
    preview = (node["featuredMedia"] or {}).get("preview") or {}
    skus = [variant["sku"] or "" for variant in node["variants"]["nodes"]]
    return Product(node["id"], node["title"], "".join(skus[:1]), str((preview.get("image") or {}).get("url") or ""))


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
