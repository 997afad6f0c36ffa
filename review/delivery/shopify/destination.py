"""The destination "shopify": images of products and variants, in their place, replaced, recalled and put back."""

from __future__ import annotations

import builtins
import json
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from pydantic import field_validator

from core.plugin_config import Config, Source, setting
from review.delivery import http
from review.delivery.base import (
    DeliveryError,
    DeliveryFile,
    Destination,
    Limiter,
    Package,
    Receipt,
    Session,
)
from review.delivery.shopify import operations as ops
from review.delivery.shopify.client import ShopClient, ShopRefusal

READY_SECONDS = 90.0
"""How long a file may be processed by the shop during one attempt."""
MAX_IMAGES = 250  # of one product
MAX_BYTES = 20_000_000
MAX_PIXELS = 20_000_000
MAX_ALT = 512
FIND_BY = ("sku", "barcode", "handle", "metafield")
GONE = frozenset({"FILE_DOES_NOT_EXIST", "MEDIA_DOES_NOT_EXIST", "INVALID"})


class ShopifyConfig(Config):
    url: str = setting("Address of the shop", needed="Give it.", example="https://acme.myshopify.com")
    client_id: str = setting(
        "Client id of the app", "Empty: the secret is an access token (shpat_…).", default="", example="8fd3…"
    )
    find_by: str = setting("Find products by", "sku, barcode, handle or metafield", default="sku")
    metafield: str = setting("Metafield", "For products that are found by one.", default="", example="custom.sku")
    position: int = setting("Place among the images", "1 is the first; 0 is the last.", default=0, minimum=0)
    on_variant: bool = setting("As the variant’s image, too", "Where a variant was found.", default=True)
    products: str = setting(
        "Products by hand", "JSON: SKU and product id, for what was not found.", default="",
        example='{"MUG-1": "gid://shopify/Product/1"}',
    )  # fmt: skip
    allow_private: bool = setting(
        "Private addresses, too", "If the operator allows them for this server.", default=False
    )
    ready_seconds: float = setting("Patience, s", source=Source.PROGRAM, default=READY_SECONDS)

    @field_validator("find_by")
    @classmethod
    def _ensure_known(cls, name: str) -> str:
        if name not in FIND_BY:
            raise ValueError(f"{name!r} is not known; choose {', '.join(FIND_BY)}.")
        return name

    @field_validator("products")
    @classmethod
    def _ensure_products(cls, text: str) -> str:
        try:
            known = json.loads(text or "{}")
        except ValueError:
            known = None
        if not isinstance(known, dict) or not all(isinstance(value, str) for value in known.values()):
            raise ValueError('Give a JSON object such as {"MUG-1": "gid://shopify/Product/1"}.')
        return text


class Shopify(Destination):
    kind = "shopify"
    label = "Shopify"
    config = ShopifyConfig
    receiver_settings = ("url", "client_id")
    product_setting = "products"
    credentials_hint = "The app’s client secret, or an access token (shpat_…)."

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
        if "write_products" not in scopes:
            sentences.append("The app may not change products: give it the scope write_products.")
        if not scopes & {"read_products", "write_products"}:
            sentences.append("The app may not read products: give it the scope read_products.")
        if not scopes & {"write_files", "write_images", "write_themes"}:
            sentences.append("The app may not upload files: give it the scope write_files.")
        return sentences

    def plan(self, package: Package, session: Session) -> list[str]:
        _ensure_acceptable(package)
        product, variant = self._locate(package, session.limiter)
        images = self._images(product, session.limiter)
        place = self.given.position or len(images) + 1
        sentences = [
            f"Upload {_remote_name(package, file)} and show it as image {place + index} of {product}."
            for index, file in enumerate(package.files)
        ]
        if variant and self.given.on_variant:
            sentences.append(f"Make the first of them the image of the variant {variant}.")
        new = {f"file:{file.sha256}" for file in package.files}
        old = [step for step in session.journal.steps("file:") if step.key not in new]
        return sentences + [f"Delete the earlier image {step.result.get('name', step.key)}." for step in old]

    def push(self, package: Package, session: Session) -> Receipt:
        _ensure_acceptable(package)
        product, variant = self._locate(package, session.limiter)
        self._keep(product, variant, session)
        made = [self._put(package, file, product, session) for file in package.files]
        if variant and self.given.on_variant:
            self._set_variant_image(product, variant, made[0]["id"], package.files[0].sha256, session)
        kept = {f"file:{file.sha256}" for file in package.files}
        for step in session.journal.steps("file:"):
            if step.key not in kept:
                self._delete(step.key, step.result, session)
        self._order(product, [entry["id"] for entry in made], session.limiter)
        return Receipt(files=made)

    def recall(self, package: Package, session: Session) -> Receipt:
        steps = session.journal.steps("file:")
        for step in steps:
            self._delete(step.key, step.result, session)
        return Receipt(message=f"{len(steps)} images deleted")

    def restore(self, package: Package, session: Session) -> Receipt:
        receipt = self.recall(package, session)
        before = session.journal.before
        if not before:
            return receipt
        product, limiter = str(before["product"]), session.limiter
        now = {image["id"]: image for image in self._images(product, limiter)}
        old = [image for image in before["images"] if image["id"] in now]
        changed = [image for image in old if (now[image["id"]]["alt"] or "") != (image["alt"] or "")]
        for image in changed:
            files = [{"id": image["id"], "alt": image["alt"] or ""}]
            self.shop.run(ops.UPDATE_FILE, limiter, result="fileUpdate", files=files)
        variant, shown = str(before.get("variant") or ""), str(before.get("variant_image") or "")
        if variant and shown in now and not self._variant_image(variant, limiter):
            self._append_to_variant(product, variant, shown, limiter)
        self._arrange(product, [image["id"] for image in old], limiter)
        lost = len(before["images"]) - len(old)
        return Receipt(message=f"{len(old)} images as before" + (f"; {lost} were deleted in the shop" if lost else ""))

    def read_delivered(self, file: Mapping[str, str]) -> builtins.bytes | None:
        return self.shop.storage.read(file["url"]) if file.get("url") else None

    # -- products ----------------------------------------------------------------------------------------------------

    def _locate(self, package: Package, limiter: Limiter) -> tuple[str, str]:
        """Return the ids of the product and of its variant ("" if none was found). Raises DeliveryError."""
        if product := json.loads(self.given.products or "{}").get(package.sku):
            return product, ""
        how, subject = self.given.find_by, package.subject
        value = str(subject.get(how) or (package.sku if how != "barcode" else ""))
        if not value:
            raise DeliveryError(f"{package.sku} has no {how} in its feed.", is_final=True)
        if how in {"sku", "barcode"}:
            search = f'{how}:"{_escaped(value)}"'
            nodes = self.shop.run(ops.PRODUCT_OF_VARIANT, limiter, search=search)["productVariants"]["nodes"]
            found = [node for node in nodes if (node[how] or "").casefold() == value.casefold()]
            if len({node["product"]["id"] for node in found}) > 1:
                raise DeliveryError(f"{len(found)} products of the shop have the {how} {value}.", is_final=True)
            if found:
                return found[0]["product"]["id"], found[0]["id"] if len(found) == 1 else ""
        else:
            identifier: dict[str, Any] = {"handle": value}
            if how == "metafield":
                namespace, _dot, key = self.given.metafield.partition(".")
                identifier = {"customId": {"namespace": namespace, "key": key, "value": value}}
            if node := self.shop.run(ops.PRODUCT, limiter, identifier=identifier)["productByIdentifier"]:
                return node["id"], ""
        raise DeliveryError(
            f"The shop has no product with the {how} {value}. Create it there, or choose one under “Products by hand”.",
            is_final=True,
        )

    def _images(self, product: str, limiter: Limiter) -> list[dict[str, Any]]:
        """Return the product's images, in their order: [{"id", "alt"}]."""
        found = self.shop.run(ops.PRODUCT_IMAGES, limiter, product=product)["product"]
        if found is None:
            raise DeliveryError(f"The shop has no product {product} any more.", is_final=True)
        return list(found["media"]["nodes"])

    def _keep(self, product: str, variant: str, session: Session) -> None:
        if session.journal.before is None:
            images = self._images(product, session.limiter)
            shown = self._variant_image(variant, session.limiter) if variant else ""
            before = {"product": product, "images": images, "variant": variant, "variant_image": shown}
            session.journal.keep(before)

    # -- files -------------------------------------------------------------------------------------------------------

    def _put(self, package: Package, file: DeliveryFile, product: str, session: Session) -> dict[str, str]:
        """Upload one file, wait until the shop has processed it, and attach it to the product."""
        name, limiter = _remote_name(package, file), session.limiter
        made = session.journal.once(
            f"file:{file.sha256}",
            partial(self._create, package, file, name, limiter),
            partial(self._find, name, limiter),
        )
        url = self._wait_until_ready(f"file:{file.sha256}", made["id"], session)
        session.journal.once(
            f"attach:{file.sha256}:{product}",
            partial(self._attach, made["id"], product, limiter),
            partial(self._find_attached, made["id"], product, limiter),
        )
        return {"spec": file.spec, "name": file.name, "sha256": file.sha256, "id": made["id"], "url": url}

    def _create(self, package: Package, file: DeliveryFile, name: str, limiter: Limiter) -> dict[str, Any]:
        content = file.read()
        target = {
            "resource": "IMAGE", "filename": name, "mimeType": file.media_type, "httpMethod": "POST",
            "fileSize": str(len(content)),
        }  # fmt: skip
        staged = self.shop.run(ops.STAGE, limiter, result="stagedUploadsCreate", input=[target])["stagedTargets"][0]
        self.shop.upload(staged, name, file.media_type, content)
        image = {
            "originalSource": staged["resourceUrl"], "contentType": "IMAGE", "filename": name,
            "alt": package.alt_text[:MAX_ALT], "duplicateResolutionMode": "RAISE_ERROR",
        }  # fmt: skip
        try:
            made = self.shop.run(ops.CREATE_FILE, limiter, result="fileCreate", files=[image])
        except ShopRefusal as refusal:
            if "FILENAME_ALREADY_EXISTS" in refusal.codes and (found := self._find(name, limiter)):
                return found
            raise
        return {"id": made["files"][0]["id"], "name": name}

    def _find(self, name: str, limiter: Limiter) -> dict[str, Any] | None:
        """Return the shop's file of exactly this name, whose name has the asset's number and the start of its hash."""
        search = f'filename:"{_escaped(name)}"'
        nodes = self.shop.run(ops.FILES_BY_NAME, limiter, search=search)["files"]["nodes"]
        stem = name.rpartition(".")[0]
        for node in nodes:
            url = ((node.get("image") or {}).get("url") or "").partition("?")[0]
            if node.get("fileStatus") != "FAILED" and (not url or url.rpartition("/")[2].startswith(stem)):
                return {"id": node["id"], "name": name}
        return None

    def _wait_until_ready(self, key: str, file_id: str, session: Session) -> str:
        """Return where the shop serves the file. Its image is null until it is READY; that is normal."""
        give_up_at, pause = time.monotonic() + self.given.ready_seconds, 0.5
        while True:
            node = self.shop.run(ops.FILE, session.limiter, id=file_id)["node"]
            if node is None:
                session.journal.undo(key)
                raise DeliveryError("The uploaded file is no longer in the shop; it is uploaded again.")
            if node["fileStatus"] == "READY" and node["image"]:
                return str(node["image"]["url"])
            if node["fileStatus"] == "FAILED":
                why = " ".join(error["message"] or error["code"] for error in node["fileErrors"])
                self._delete(key, {"id": file_id}, session)
                raise DeliveryError(f"The shop could not process the image: {why}", is_final=True)
            if time.monotonic() > give_up_at:
                raise DeliveryError("The shop is still processing the image.", retry_after_seconds=30)
            time.sleep(pause)
            pause = min(5.0, pause * 1.5)

    def _attach(self, file_id: str, product: str, limiter: Limiter) -> dict[str, Any]:
        files = [{"id": file_id, "referencesToAdd": [product]}]
        try:
            self.shop.run(ops.UPDATE_FILE, limiter, result="fileUpdate", files=files)
        except ShopRefusal as refusal:
            if "NON_READY_STATE" in refusal.codes:
                raise DeliveryError("The shop is still processing the image.", retry_after_seconds=10) from None
            raise
        return {"product": product}

    def _find_attached(self, file_id: str, product: str, limiter: Limiter) -> dict[str, Any] | None:
        is_there = any(image["id"] == file_id for image in self._images(product, limiter))
        return {"product": product} if is_there else None

    def _delete(self, key: str, result: Mapping[str, Any], session: Session) -> None:
        """Delete a file of ours from the shop, and with it its place at product and variant."""
        file_id = result.get("id")
        if not file_id:  # its upload was cut off: it may be there
            content = key.partition(":")[2]
            found = self._find_by_hash(content, session.limiter)
            file_id = found and found["id"]
        if file_id:
            try:
                self.shop.run(ops.DELETE_FILES, session.limiter, result="fileDelete", ids=[file_id])
            except ShopRefusal as refusal:
                if not refusal.codes & GONE:
                    raise
        sha256 = key.partition(":")[2]
        for step in [
            key,
            *(step.key for kind in ("attach", "variant") for step in session.journal.steps(f"{kind}:{sha256}")),
        ]:
            session.journal.undo(step)

    def _find_by_hash(self, sha256: str, limiter: Limiter) -> dict[str, Any] | None:
        nodes = self.shop.run(ops.FILES_BY_NAME, limiter, search=f"filename:*{sha256[:8]}*")["files"]["nodes"]
        return {"id": nodes[0]["id"]} if len(nodes) == 1 else None

    # -- order and variants ------------------------------------------------------------------------------------------

    def _order(self, product: str, ours: Sequence[str], limiter: Limiter) -> None:
        """Move our images to the place that the settings say, and look whether they are there."""
        others = [image["id"] for image in self._images(product, limiter) if image["id"] not in ours]
        place = min(self.given.position - 1, len(others)) if self.given.position else len(others)
        self._arrange(product, [*others[:place], *ours, *others[place:]], limiter)

    def _arrange(self, product: str, wanted: Sequence[str], limiter: Limiter) -> None:
        """Bring the product's images into this order. The shop does it in the background; look until it is done."""
        for _look in range(20):
            now = [image["id"] for image in self._images(product, limiter)]
            aim = [image for image in wanted if image in now]
            if [image for image in now if image in aim] == aim and now[: len(aim)] == aim:
                return
            moves = [{"id": image, "newPosition": str(place)} for place, image in enumerate(aim)]
            self.shop.run(ops.REORDER, limiter, result="productReorderMedia", product=product, moves=moves)
            time.sleep(0.5)
        raise DeliveryError("The shop has not put the images in order yet.", retry_after_seconds=30)

    def _variant_image(self, variant: str, limiter: Limiter) -> str:
        found = self.shop.run(ops.VARIANT_IMAGE, limiter, variant=variant)["productVariant"]
        nodes = found["media"]["nodes"] if found else []
        return str(nodes[0]["id"]) if nodes else ""

    def _set_variant_image(self, product: str, variant: str, image: str, sha256: str, session: Session) -> None:
        def look_up() -> dict[str, Any] | None:
            return {"image": image} if self._variant_image(variant, session.limiter) == image else None

        def send() -> dict[str, Any]:
            if old := self._variant_image(variant, session.limiter):
                media = [{"variantId": variant, "mediaIds": [old]}]
                self.shop.run(
                    ops.CLEAR_VARIANT_IMAGE, session.limiter, result="productVariantDetachMedia",
                    product=product, media=media,
                )  # fmt: skip
            self._append_to_variant(product, variant, image, session.limiter)
            return {"image": image}

        session.journal.once(f"variant:{sha256}:{variant}", send, look_up)

    def _append_to_variant(self, product: str, variant: str, image: str, limiter: Limiter) -> None:
        media = [{"variantId": variant, "mediaIds": [image]}]
        self.shop.run(ops.SET_VARIANT_IMAGE, limiter, result="productVariantAppendMedia", product=product, media=media)


def _remote_name(package: Package, file: DeliveryFile) -> str:
    """Return the file's name in the shop, which no other asset and no other bytes have."""
    stem, _dot, extension = file.name.rpartition(".")
    return http.ascii_name(f"{stem}-{package.asset_id}.{extension}", file.sha256)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


def _ensure_acceptable(package: Package) -> None:
    """Raise DeliveryError if the shop cannot take the files."""
    if not package.files:
        raise DeliveryError("There is no file to deliver: the approved version has no renditions.", is_final=True)
    for file in package.files:
        if file.bytes > MAX_BYTES or file.width * file.height > MAX_PIXELS:
            size = f"{file.width} × {file.height} px, {file.bytes / 1e6:.1f} MB"
            message = f"{file.name} is too large for Shopify ({size}): at most 20 megapixels and 20 MB."
            raise DeliveryError(message, is_final=True)
