"""The destination "woocommerce": images of products and variations, in their place, replaced, recalled and put back.

Files go to the media library first; products get them by id. An address (`src`) would make the shop fetch and store
the image again with each call (https://woocommerce.github.io/woocommerce-rest-api-docs/, wc/v3).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from review.delivery.base import DeliveryError, Journal, Need, Package, Product, Receipt, Session
from review.delivery.media_library import Media, describe_deleted, flatten
from review.delivery.uploads import ensure_files
from review.delivery.wordpress.library import SiteDestination
from review.delivery.wordpress.site import SiteError
from review.delivery.wordpress.woocommerce_config import WooCommerceConfig

PRODUCT_RIGHTS = ("edit_products", "edit_others_products", "edit_published_products")


@dataclass(frozen=True)
class Target:
    """A product, and one of its variations (0: none)."""

    product: int
    variation: int = 0

    @property
    def variation_route(self) -> str:
        return f"wc/v3/products/{self.product}/variations/{self.variation}"

    def __str__(self) -> str:
        return f"{self.product}/{self.variation}" if self.variation else str(self.product)


class WooCommerce(SiteDestination):
    kind = "woocommerce"
    label = "WooCommerce"
    description = "Images of products and variations in a WooCommerce shop."
    config = WooCommerceConfig
    product_setting = "products"
    mark = "p"

    def test_connection(self, session: Session) -> list[str]:
        rights, problems = self.site.read_rights()
        if problems:
            return problems
        problems = self.find_missing_rights(rights)
        try:
            self.site.call("GET", "wc/v3/products", query={"per_page": 1})
        except SiteError as error:
            if error.code == "rest_no_route":
                return [*problems, "The site has no WooCommerce: install and activate it."]
            if error.status_code not in {401, 403}:
                raise
            return [*problems, f"The user {self.site.user} may not read products: give it the role Shop manager."]
        if not all(rights.get(right) for right in PRODUCT_RIGHTS):
            problems.append(f"The user {self.site.user} may not edit all products: give it the role Shop manager.")
        return problems

    def find_products(self, text: str, session: Session) -> list[Product]:
        """Return products whose SKU is the text, variations included, and those that the shop's search finds."""
        query = {"status": "any", "per_page": 12}
        rows = [
            row
            for by in ("sku", "search")
            for row in self.site.call("GET", "wc/v3/products", query={**query, by: text})
        ]
        return list({product.id: product for product in map(_describe, rows)}.values())[:12]

    def plan(self, package: Package, session: Session) -> list[str]:
        ensure_files(package)
        target = self._locate(package)
        sentences = self.plan_uploads(package)
        shown = self._shown_at_product(target, range(-len(package.files), 0))  # ids that no image has
        new = {file.sha256 for file in package.files}
        earlier = self.library.list_ours(package, session.journal, besides=new)
        if shown:
            images = self._arrange(self._images(target.product), shown, flatten(earlier))
            places = ", ".join(str(images.index(media_id) + 1) for media_id in shown)
            sentences.append(f"Show them as image {places} of product {target.product}.")
        if target.variation:
            sentences.append(f"Make the first of them the image of variation {target}.")
        return sentences + [f"Delete the earlier file {media_id}." for media_id in sorted(flatten(earlier))]

    def push(self, package: Package, session: Session) -> Receipt:
        ensure_files(package)
        journal, target = session.journal, self._locate(package)
        self._keep(target, journal)
        media = [self.library.put(package, file, journal) for file in package.files]
        earlier = self.library.list_ours(package, journal, besides={file.sha256 for file in package.files})
        with session.lock(self._name(target)):
            self._show(package, media, target, flatten(earlier), journal)
        self._take_down(_targets(journal) - {target}, flatten(earlier), session)
        self.library.delete(earlier, journal)
        return self.write_receipt(package, media)

    def recall(self, package: Package, session: Session) -> Receipt:
        journal = session.journal
        ours = self.library.list_ours(package, journal)
        self._take_down(_targets(journal), flatten(ours), session)
        return Receipt(message=describe_deleted(self.library.delete(ours, journal)))

    def restore(self, package: Package, session: Session) -> Receipt:
        receipt = self.recall(package, session)
        before = session.journal.before
        if not before:
            return receipt
        target = Target(int(before["product"]), int(before.get("variation") or 0))
        with session.lock(self._name(target)):
            return Receipt(message=f"{receipt.message}; {self._put_back(target, before)}")

    def _put_back(self, target: Target, before: Mapping[str, Any]) -> str:
        """Give the product the images that it had, with order and texts, before what was added since; return words."""
        images = self._read_images(target.product)
        if images is None:
            return f"product {target.product} is gone"
        now = {int(image["id"]): str(image.get("alt") or "") for image in images}
        old = [image for image in before["images"] if image["id"] in now or self.site.media(image["id"])]
        ids = [image["id"] for image in old]
        order = [*ids, *(media_id for media_id in now if media_id not in ids)]
        if order != list(now):
            self._set_images(target.product, order)
        for image in old:
            if now.get(image["id"], image["alt"]) != image["alt"]:
                self.site.set_texts(image["id"], {"alt_text": image["alt"]})
        self._put_variation_back(target, int(before.get("variation_image") or 0))
        lost = len(before["images"]) - len(old)
        return f"{len(old)} images as before" + (f"; {lost} were deleted in the shop" if lost else "")

    # -- products ----------------------------------------------------------------------------------------------------

    def _locate(self, package: Package) -> Target:
        """Return the product or variation with the package's SKU. Raises DeliveryError."""
        if package.subject.get("kind", "product") != "product":
            message = f"{package.sku} is not a product ({package.subject['kind']}): deliver it to WordPress."
            raise DeliveryError(message, is_final=True)
        if given := json.loads(self.given.products or "{}").get(package.sku):
            product, _slash, variation = str(given).partition("/")
            return Target(int(product), int(variation or 0))
        sku = str(package.subject.get("sku") or package.sku)
        query = {"sku": sku, "status": "any", "per_page": 100}
        rows = self.site.call("GET", "wc/v3/products", query=query)
        matches = [row for row in rows if str(row.get("sku") or "").casefold() == sku.casefold()]
        if len(matches) > 1:
            numbers = ", ".join(str(row["id"]) for row in matches)
            message = f"{len(matches)} products of the shop have the SKU {sku} ({numbers}). Choose one."
            raise DeliveryError(message, is_final=True, needs=Need.PRODUCT)
        if not matches:
            message = f"The shop has no product with the SKU {sku}. Create it there, or choose one."
            raise DeliveryError(message, is_final=True, needs=Need.PRODUCT)
        row = matches[0]
        if row.get("type") == "variation":
            return Target(int(row["parent_id"]), int(row["id"]))
        return Target(int(row["id"]))

    def _read_images(self, product: int) -> list[dict[str, Any]] | None:
        content = self.site.get(f"wc/v3/products/{product}")
        return [image for image in content.get("images") or [] if image.get("id")] if content else None

    def _find_images(self, product: int) -> list[int] | None:
        """Return the ids of the product's images, in their order; None if the product is gone."""
        images = self._read_images(product)
        return None if images is None else [int(image["id"]) for image in images]

    def _images(self, product: int) -> list[int]:
        images = self._find_images(product)
        if images is None:
            message = f"The shop has no product {product} any more."
            raise DeliveryError(message, is_final=True, needs=Need.PRODUCT)
        return images

    def _set_images(self, product: int, order: Sequence[int]) -> None:
        """Give the product exactly these images, by id; the first one is its main image. Check that it has them."""
        images = [{"id": media_id} for media_id in order]
        answer = self.site.call("PUT", f"wc/v3/products/{product}", data={"images": images})
        if [int(image["id"]) for image in answer.get("images") or [] if image.get("id")] != list(order):
            raise DeliveryError(f"The shop did not put the images of product {product} in order.")

    def _keep(self, target: Target, journal: Journal) -> None:
        if journal.before is None:
            images = self._read_images(target.product)
            if images is None:
                message = f"The shop has no product {target.product}."
                raise DeliveryError(message, is_final=True, needs=Need.PRODUCT)
            before: dict[str, Any] = {
                "product": target.product,
                "images": [{"id": int(image["id"]), "alt": str(image.get("alt") or "")} for image in images],
            }
            if target.variation:
                before |= {"variation": target.variation, "variation_image": self._variation_image(target)}
            journal.keep(before)

    # -- places ------------------------------------------------------------------------------------------------------

    def _shown_at_product(self, target: Target, ids: Sequence[int]) -> list[int]:
        """Return those that the product shows: a variation takes one image, and the product shows the others."""
        distinct = list(dict.fromkeys(ids))
        return distinct if not target.variation or self.given.on_product else distinct[1:]

    def _show(
        self, package: Package, media: Sequence[Media], target: Target, earlier: Collection[int], journal: Journal
    ) -> None:
        """Show the files at the product and its variation, in place of the earlier ones."""
        hashes = {each.id: file.sha256 for each, file in zip(media, package.files, strict=True)}
        shown = self._shown_at_product(target, [each.id for each in media])
        show = partial(self._show_at_product, target.product, shown, earlier)
        for media_id in shown:  # the first change shows all of them; the others name theirs in the journal
            key = f"attach:{hashes[media_id]}:{target.product}"
            journal.once(key, show, partial(self._find_shown, target.product, media_id))
        if shown or earlier:
            show()  # also when it was shown before: somebody may have removed it, and earlier files must go
        if target.variation:
            key = f"attach:{hashes[media[0].id]}:{target}"
            send = partial(self._set_variation_image, target, media[0].id)
            journal.once(key, send, lambda: None)  # setting the same image twice changes nothing
            if not self._variation_image(target):  # a recall was cut off after it took the place away
                send()

    def _show_at_product(self, product: int, ours: Sequence[int], earlier: Collection[int]) -> dict[str, Any]:
        now = self._images(product)
        order = self._arrange(now, ours, earlier)
        if order != now:
            self._set_images(product, order)
        return {"product": product}

    def _find_shown(self, product: int, media_id: int) -> dict[str, Any] | None:
        return {"product": product} if media_id in self._images(product) else None

    def _arrange(self, now: Sequence[int], ours: Sequence[int], earlier: Collection[int]) -> list[int]:
        """Return the product's images with ours: where ours or the earlier ones are, else at the place of the settings.

        The others keep their order. Ours stay where they are if all of them are there: somebody may have moved them.
        """
        others = [media_id for media_id in now if media_id not in ours and media_id not in earlier]
        if all(media_id in now for media_id in ours):
            return [media_id for media_id in now if media_id not in earlier]
        there = next((place for place, media_id in enumerate(now) if media_id in ours or media_id in earlier), None)
        if there is not None:
            place = sum(media_id in others for media_id in now[:there])
        else:
            place = min(self.given.position - 1, len(others)) if self.given.position else len(others)
        return [*others[:place], *ours, *others[place:]]

    def _variation_image(self, target: Target) -> int:
        """Return the variation's own image, 0 if it has none. The shop then answers with the product's main image."""
        content = self.site.get(target.variation_route)
        shown = int((content.get("image") or {}).get("id") or 0) if content else 0
        return 0 if shown in (self._find_images(target.product) or [])[:1] else shown

    def _set_variation_image(self, target: Target, media_id: int) -> dict[str, Any]:
        answer = self.site.call("PUT", target.variation_route, data={"image": {"id": media_id}})
        if media_id and int((answer.get("image") or {}).get("id") or 0) != media_id:
            raise DeliveryError(f"The shop did not change the image of variation {target}.")
        return {"variation": str(target)}

    def _name(self, target: Target) -> str:
        """Return the name of the lock of a product: the shop takes the whole list of its images with each change."""
        return f"{self.site.base_url} product {target.product}"

    def _take_down(self, targets: Collection[Target], ids: Collection[int], session: Session) -> None:
        """Remove images from products and variations; the others stay as they are."""
        for target in sorted(targets, key=str) if ids else ():
            with session.lock(self._name(target)):
                if target.variation:
                    self._clear_variation(target, ids)
                images = self._find_images(target.product) or []
                kept = [media_id for media_id in images if media_id not in ids]
                if kept != images:
                    self._set_images(target.product, kept)

    def _clear_variation(self, target: Target, ids: Collection[int]) -> None:
        content = self.site.get(target.variation_route)
        if content and int((content.get("image") or {}).get("id") or 0) in ids:
            self._set_variation_image(target, 0)

    def _put_variation_back(self, target: Target, earlier: int) -> None:
        if earlier and not self._variation_image(target) and self.site.media(earlier):
            self._set_variation_image(target, earlier)


def _targets(journal: Journal) -> set[Target]:
    """Return the products and variations that may show files of ours."""
    targets = set()
    for step in journal.steps("attach:"):
        product, _slash, variation = step.key.split(":", 2)[2].partition("/")
        targets.add(Target(int(product), int(variation or 0)))
    return targets


def _describe(row: Mapping[str, Any]) -> Product:
    is_variation = row.get("type") == "variation"
    target = Target(int(row["parent_id"]), int(row["id"])) if is_variation else Target(int(row["id"]))
    image: Mapping[str, Any] = next(iter(row.get("images") or []), {})
    address = image.get("thumbnail") or image.get("src") or ""
    return Product(str(target), str(row.get("name") or row["id"]), str(row.get("sku") or ""), str(address))
