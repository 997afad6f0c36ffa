"""The destination "shopify": images of products and variants, in their place, replaced, recalled and put back."""

from __future__ import annotations

import builtins
from collections.abc import Container, Mapping, Sequence
from functools import partial
from typing import Any

from review.delivery.base import DeliveryError, Destination, Package, Product, Receipt, Session, Step
from review.delivery.marks_advice import MarksAdvice
from review.delivery.names import remote_name
from review.delivery.shopify import operations as ops
from review.delivery.shopify.client import ShopClient
from review.delivery.shopify.config import ShopifyConfig
from review.delivery.shopify.files import MAX_ALT, MAX_IMAGES, Files, describe_full_product
from review.delivery.shopify.products import Products

MAX_BYTES = 20_000_000
MAX_PIXELS = 20_000_000
FORMATS = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WebP"}
"""The formats of Proofline that Shopify's documentation lists for product images."""
WRITES_FILES = frozenset({"write_files", "write_images", "write_themes"})
READS_FILES = WRITES_FILES | {"read_files", "read_images", "read_themes"}


class Shopify(Destination):
    """Shopify's Admin GraphQL API (https://shopify.dev/docs/api/admin-graphql), in the version of operations.py.

    Journal keys, all with the file's sha256: "file:" it was uploaded, "attach:" to which product, "variant:" of which
    variant it became the image, "place:" it was put in its place, from where people in the shop may move it.
    """

    kind = "shopify"
    label = "Shopify"
    description = "Images of products and variants in a Shopify shop."
    config = ShopifyConfig
    receiver_settings = ("url", "client_id")
    product_setting = "products"
    credentials_hint = "The app’s client secret, or an access token (shpat_…)."
    marks_advice = MarksAdvice(
        "Shopify may serve an image that was saved again, and does not say whether its CDN keeps"
        " marks, so each file is checked after it is published.",
        "No setting of Shopify is known that keeps the marks. Say on the product’s page that the image was"
        " made by AI, and give feeds the addresses of Proofline’s image feeds.",
    )

    def __init__(self, config: Mapping[str, Any], secret: str) -> None:
        self.given = ShopifyConfig.read(config)
        self.secret = secret
        self.shop = ShopClient(self.given.url, self.given.client_id, secret, allow_private=self.given.allow_private)

    def validate(self) -> list[str]:
        problems = self.shop.http.validate()
        if not self.secret:
            problems.append(f"secret: expected one. {self.credentials_hint}")
        if self.given.find_by == "metafield" and "." not in self.given.metafield:
            problems.append("metafield: expected namespace and key, such as custom.sku.")
        return problems

    def test_connection(self, session: Session) -> list[str]:
        """Return the permissions that the app lacks."""
        data = self.shop.run(ops.SHOP, session.limiter)
        scopes = {scope["handle"] for scope in data["currentAppInstallation"]["accessScopes"]}
        sentences = []
        if not scopes & {"read_products", "write_products"}:
            sentences.append("The app may not read products: give it the scope read_products.")
        if "write_products" not in scopes:
            sentences.append("The app may not change products: give it the scope write_products.")
        if not scopes & WRITES_FILES:
            sentences.append("The app may not upload files: give it the scope write_files.")
        if not scopes & READS_FILES:
            sentences.append("The app may not look files up: give it the scope read_files.")
        return sentences

    def plan(self, package: Package, session: Session) -> list[str]:
        _ensure_acceptable(package)
        products = Products(self.shop, self.given, session.limiter)
        product, variant = products.find(package)
        images = [image["id"] for image in products.images(product)]
        delivered = {step.key.split(":")[1]: step for step in session.journal.steps("file:") if step.is_done}
        new = [file for file in package.files if file.sha256 not in delivered]
        old = [step for sha256, step in delivered.items() if sha256 not in {file.sha256 for file in package.files}]
        place = self._place(images, {str(step.result.get("id")) for step in old}) + 1
        sentences = [
            f"Upload {remote_name(package.asset_id, file.name, file.sha256)} as image {place + index} of {product}."
            for index, file in enumerate(new)
        ]
        if variant and self.given.on_variant and package.files[0] in new:
            sentences.append(f"Make it the image of the variant {variant}.")
        sentences += [f"Delete the earlier image {step.result.get('name', step.key)}." for step in old]
        return sentences or [f"Nothing to do: {product} has the image already."]

    def find_products(self, text: str, session: Session) -> list[Product]:
        return Products(self.shop, self.given, session.limiter).search(text)

    def push(self, package: Package, session: Session) -> Receipt:
        _ensure_acceptable(package)
        products = Products(self.shop, self.given, session.limiter)
        product, variant = products.find(package)
        _keep_before(products, product, variant, len(package.files), session)
        files = Files(self.shop, products, package, session)
        created = {file.sha256: files.create(file) for file in package.files}  # the shop processes them together
        delivered, alt_texts = list[dict[str, str]](), dict[str, str]()
        for file in package.files:
            ready = files.wait_until_ready(file.sha256, created[file.sha256]["id"], self.given.ready_seconds)
            files.attach(file.sha256, ready["id"], product)
            if ready["alt"] != package.alt_text[:MAX_ALT]:
                alt_texts[ready["id"]] = package.alt_text
            entry = {"spec": file.spec, "name": file.name, "sha256": file.sha256}
            delivered.append({**entry, "id": ready["id"], "url": ready["url"]})
        files.set_alt(alt_texts)
        old = [step for step in session.journal.steps("file:") if step.key.partition(":")[2] not in created]
        self._put_in_place(files, product, delivered, old)
        if variant and self.given.on_variant:
            image, key = delivered[0]["id"], f"variant:{delivered[0]['sha256']}:{variant}"
            session.journal.once(
                key,
                partial(products.set_variant_image, product, variant, image),
                lambda: None,  # it looks itself
            )
        files.delete(old)
        return Receipt(files=delivered)

    def recall(self, package: Package, session: Session) -> Receipt:
        products = Products(self.shop, self.given, session.limiter)
        count = self._delete_all(package, products, session)
        before = session.journal.before
        if before and (images := products.images_if_any(str(before["product"]))) is not None:
            _put_variant_image_back(products, before, {image["id"] for image in images})
        return Receipt(message=_count_deleted(count))

    def restore(self, package: Package, session: Session) -> Receipt:
        products = Products(self.shop, self.given, session.limiter)
        deleted = _count_deleted(self._delete_all(package, products, session))
        before = session.journal.before
        if not before:
            return Receipt(message=deleted)
        product = str(before["product"])
        images = products.images_if_any(product)
        if images is None:
            return Receipt(message=f"{deleted}; the product is no longer in the shop.")
        alt_texts = {image["id"]: image["alt"] or "" for image in images}
        old = {image["id"]: image["alt"] or "" for image in before["images"] if image["id"] in alt_texts}
        changed = {image: text for image, text in old.items() if alt_texts[image] != text}
        Files(self.shop, products, package, session).set_alt(changed)
        _put_variant_image_back(products, before, set(alt_texts))
        products.arrange(product, list(old))
        lost = len(before["images"]) - len(old)
        message = f"{deleted}; the product has {len(old)} of its {len(before['images'])} earlier images as before."
        return Receipt(message=message + (f" The shop has deleted {lost}." if lost else ""))

    def read_delivered(self, file: Mapping[str, str]) -> builtins.bytes | None:
        return self.shop.storage.read(file["url"]) if file.get("url") else None

    # -- inside --------------------------------------------------------------------------------------------------------

    def _place(self, images: Sequence[str], replaced: set[str]) -> int:
        """Return the index for our images among the others: where the replaced ones are, else by the settings."""
        indexes = [index for index, image in enumerate(images) if image in replaced]
        if indexes:
            return indexes[0]
        return min(self.given.position - 1, len(images)) if self.given.position else len(images)

    def _put_in_place(
        self, files: Files, product: str, delivered: Sequence[Mapping[str, str]], old: Sequence[Step]
    ) -> None:
        """Put our images in their place, once, so that people may move them later."""
        ours = list(dict.fromkeys(entry["id"] for entry in delivered))
        images = files.ensure_attached(product, ours)
        keys = [f"place:{entry['sha256']}:{product}" for entry in delivered]
        if {step.key for step in files.journal.steps("place:") if step.is_done}.issuperset(keys):
            return
        others = [image for image in images if image not in ours]
        place = self._place(others, {str(step.result.get("id")) for step in old if step.is_done})
        files.products.arrange(product, [*others[:place], *ours, *others[place:]], current=images)
        for key in keys:
            files.journal.once(key, dict, dict)

    def _delete_all(self, package: Package, products: Products, session: Session) -> int:
        """Delete the files that the journal or the last receipt names; return how many were there."""
        files = Files(self.shop, products, package, session)
        steps = session.journal.steps("file:")
        ids = {step.result.get("id") for step in steps}
        count = files.delete(steps)
        return count + sum(
            files.delete_by_id(entry["id"]) for entry in package.previous if entry.get("id") and entry["id"] not in ids
        )


def _keep_before(products: Products, product: str, variant: str, count: int, session: Session) -> None:
    """Keep the product's images before the first change. Raises DeliveryError if it has no room for `count` more."""
    if session.journal.before is not None:
        return
    images = products.images(product)
    if len(images) + count > MAX_IMAGES:
        raise DeliveryError(describe_full_product(product), is_final=True)
    shown = products.variant_image(variant) if variant else ""
    session.journal.keep({"product": product, "images": images, "variant": variant, "variant_image": shown})


def _put_variant_image_back(products: Products, before: Mapping[str, Any], images: Container[str]) -> None:
    """Give the variant the image that it had before ours, unless it has one or the product has lost that image."""
    variant, shown = str(before.get("variant") or ""), str(before.get("variant_image") or "")
    if variant and shown and shown in images and not products.variant_image(variant):
        products.set_variant_image(str(before["product"]), variant, shown)


def _count_deleted(count: int) -> str:
    return f"{count} image{'' if count == 1 else 's'} deleted"


def _ensure_acceptable(package: Package) -> None:
    """Raise DeliveryError if the shop cannot take the files."""
    if not package.files:
        raise DeliveryError("There is no file to deliver: the approved version has no renditions.", is_final=True)
    for file in package.files:
        if file.media_type not in FORMATS:
            message = (
                f"{file.name} is {file.media_type}, which Shopify does not take for products: choose another format"
                f" ({', '.join(FORMATS.values())}) in the output spec {file.spec}, or leave it out by a rule."
            )
            raise DeliveryError(message, is_final=True)
        if file.bytes > MAX_BYTES or file.width * file.height > MAX_PIXELS:
            size = f"{file.width} × {file.height} px, {file.bytes / 1e6:.1f} MB"
            message = f"{file.name} is too large for Shopify ({size}): at most 20 megapixels and 20 MB."
            raise DeliveryError(message, is_final=True)
