"""The mutations of the tests' Shopify shop, with the user errors of recorded answers of a development shop."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from graphql import GraphQLError

from tests.support.shopify_shop import Payload, Product, Reorder, Shop, ShopFile, Variant

MAX_MEDIA = 250
MAX_FILES = 250
MAX_ALT = 512
MUTATIONS = (
    "stagedUploadsCreate", "fileCreate", "fileUpdate", "fileDelete", "productVariantAppendMedia",
    "productVariantDetachMedia", "productReorderMedia",
)  # fmt: skip


class UserErrors(Exception):
    """The user errors of a mutation: [{"field", "message", "code"}]."""

    def __init__(self, code: str, message: str, *place: str) -> None:
        self.errors = [{"field": list(place), "message": message, "code": code}]
        super().__init__(message)


class Changes:
    """The mutations of one shop."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop

    def resolvers(self) -> dict[str, Callable[..., Payload]]:
        """Return the resolvers by name of the mutation; they answer with user errors instead of raising them."""
        return {name: _with_user_errors(getattr(self, name)) for name in MUTATIONS}

    def stagedUploadsCreate(self, _info: Any, input: list[Mapping[str, Any]]) -> Payload:
        self.shop.need("write_files", "Access denied for stagedUploadsCreate field.")
        for number, wish in enumerate(input):
            if wish["mimeType"] not in {"image/jpeg", "image/png", "image/webp"}:
                message = f"{wish['filename']}: ({wish['mimeType']}) is not a recognized format"
                raise UserErrors("", message, "input", str(number), "mimeType")
        return {"stagedTargets": [self.shop.stage(wish) for wish in input]}

    def fileCreate(self, _info: Any, files: list[Mapping[str, Any]]) -> Payload:
        self.shop.need("write_files", "Access denied for fileCreate field.")
        if len(files) > MAX_FILES:
            message = f"The input array size of {len(files)} is greater than the maximum allowed of 250."
            raise GraphQLError(message, extensions={"code": "MAX_INPUT_SIZE_EXCEEDED"})
        for number, wish in enumerate(files):
            self._ensure_valid(wish, str(number))
        return {"files": [self._create(wish) | {"fileStatus": "UPLOADED", "image": None} for wish in files]}

    def _ensure_valid(self, wish: Mapping[str, Any], number: str) -> None:
        source, name = wish["originalSource"], wish["filename"]
        if "://" not in source:
            raise UserErrors("INVALID_IMAGE_SOURCE_URL", "File URL is invalid", "files", number, "originalSource")
        if source.rpartition(".")[2] != name.rpartition(".")[2]:
            message = "Provided filename extension must match original source."
            raise UserErrors("MISMATCHED_FILENAME_AND_ORIGINAL_SOURCE", message, "files", number, "filename")
        self._ensure_alt(wish.get("alt") or "", number)
        is_taken = any(file.name == name for file in self.shop.files.values())
        if is_taken and wish["duplicateResolutionMode"] == "RAISE_ERROR" and not self.shop.duplicates_fail_later:
            message = "The provided filename already exists."
            raise UserErrors("FILENAME_ALREADY_EXISTS", message, "files", number, "filename")

    def _create(self, wish: Mapping[str, Any]) -> Payload:
        name, content = wish["filename"], self.shop.staged.pop(wish["originalSource"], None)
        error = "IMAGE_DOWNLOAD_FAILURE" if content is None else ""
        if any(file.name == name for file in self.shop.files.values()):
            if wish["duplicateResolutionMode"] == "RAISE_ERROR":
                error = "DUPLICATE_FILENAME_ERROR"
            else:
                stem, _dot, extension = name.rpartition(".")
                name = f"{stem}_{uuid.uuid4()}.{extension}"
        if not error and self.shop.failures:
            error = self.shop.failures.popleft()
        return self.shop.describe_file(
            self.shop.add_file(name, content or b"", wish.get("alt") or "", error_code=error)
        )

    def fileUpdate(self, _info: Any, files: list[Mapping[str, Any]]) -> Payload:
        self.shop.need("write_files", "Access denied for fileUpdate field.")
        if any(wish.get("referencesToAdd") or wish.get("referencesToRemove") for wish in files):
            self.shop.need("write_products", "Access denied: Missing permission to manage products.")
        missing = [wish["id"] for wish in files if wish["id"] not in self.shop.files]
        if missing:
            raise UserErrors("FILE_DOES_NOT_EXIST", f'File id ["{missing[0]}"] does not exist.', "files")
        if any(self.shop.status(self.shop.files[wish["id"]]) != "READY" for wish in files):
            raise UserErrors("NON_READY_STATE", "Non-ready files cannot be updated.", "files")
        for number, wish in enumerate(files):
            self._update(self.shop.files[wish["id"]], wish, str(number))
        return {"files": [self.shop.describe_file(self.shop.files[wish["id"]]) for wish in files]}

    def _update(self, file: ShopFile, wish: Mapping[str, Any], number: str) -> None:
        added, removed = wish.get("referencesToAdd") or [], wish.get("referencesToRemove") or []
        if any(product not in self.shop.products for product in [*added, *removed]):
            raise UserErrors("REFERENCE_TARGET_DOES_NOT_EXIST", "The reference target does not exist", "files")
        for product in (self.shop.products[id] for id in added):
            if file.id not in product.media:
                if len(product.media) >= MAX_MEDIA:
                    message = "Exceeded the limit of media per product."
                    raise UserErrors("PRODUCT_MEDIA_LIMIT_EXCEEDED", message, "files")
                product.media.append(file.id)
        for product in (self.shop.products[id] for id in removed):
            _take_off(product, file.id)
        if wish.get("alt") is not None:
            self._ensure_alt(wish["alt"], number)
            file.alt = wish["alt"]

    def _ensure_alt(self, alt: str, number: str) -> None:
        if len(alt) > MAX_ALT:
            message = "The alt value exceeds the maximum limit of 512 characters."
            raise UserErrors("ALT_VALUE_LIMIT_EXCEEDED", message, "files", number, "alt")

    def fileDelete(self, _info: Any, fileIds: list[str]) -> Payload:
        self.shop.need("write_files", "Access denied for fileDelete field.")
        for id in fileIds:
            if id not in self.shop.files:
                raise UserErrors("FILE_DOES_NOT_EXIST", f"File id {id} does not exist.", "fileIds")
        for id in fileIds:
            del self.shop.files[id]
            for product in self.shop.products.values():
                _take_off(product, id)
        return {"deletedFileIds": fileIds}

    def productVariantAppendMedia(self, _info: Any, productId: str, variantMedia: list[Mapping[str, Any]]) -> Payload:
        self.shop.need("write_products", "Access denied: Missing permission to manage products.")
        for number, pair in enumerate(variantMedia):
            place = ("variantMedia", str(number), "mediaIds")
            product, variant, media = self._pair(productId, pair, place)
            if media not in product.media:
                message = "Media does not exist on the specified product."
                raise UserErrors("MEDIA_DOES_NOT_EXIST_ON_PRODUCT", message, *place)
            if self.shop.status(self.shop.files[media]) != "READY":
                raise UserErrors("NON_READY_MEDIA", "Non-ready media cannot be attached to variants.", *place)
            if variant.media:
                message = "The given variant already has attached media."
                raise UserErrors("PRODUCT_VARIANT_ALREADY_HAS_MEDIA", message, *place[:2], "variantId")
            variant.media = media
        return {}

    def productVariantDetachMedia(self, _info: Any, productId: str, variantMedia: list[Mapping[str, Any]]) -> Payload:
        self.shop.need("write_products", "Access denied: Missing permission to manage products.")
        for number, pair in enumerate(variantMedia):
            place = ("variantMedia", str(number), "mediaIds")
            _product, variant, media = self._pair(productId, pair, place)
            if variant.media != media:
                message = "The specified media is not attached to the specified variant."
                raise UserErrors("MEDIA_IS_NOT_ATTACHED_TO_VARIANT", message, *place[:2], "variantId")
            variant.media = ""
        return {}

    def productReorderMedia(self, _info: Any, id: str, moves: list[Mapping[str, Any]]) -> Payload:
        self.shop.need("write_products", "Access denied: Missing permission to manage products.")
        if any(move["id"] not in self.shop.products[id].media for move in moves):
            raise UserErrors("MEDIA_DOES_NOT_EXIST_ON_PRODUCT", "Media does not exist on the given product.", "moves")
        due_at = time.monotonic() + self.shop.reorder_seconds
        job = Reorder(f"gid://shopify/Job/{uuid.uuid4()}", self.shop.products[id], moves, due_at)
        self.shop.reorders[job.id] = job
        return {"job": {"id": job.id, "done": False}}

    def _pair(self, product_id: str, pair: Mapping[str, Any], place: tuple[str, ...]) -> tuple[Product, Variant, str]:
        if len(pair["mediaIds"]) != 1:
            raise UserErrors("TOO_MANY_MEDIA_PER_INPUT_PAIR", "Only one mediaId is allowed per media input.", *place)
        product = self.shop.products[product_id]
        for variant in product.variants:
            if variant.id == pair["variantId"]:
                return product, variant, pair["mediaIds"][0]
        message = "Variant does not exist on the specified product."
        raise UserErrors("PRODUCT_VARIANT_DOES_NOT_EXIST_ON_PRODUCT", message, *place[:2], "variantId")


def _take_off(product: Product, media: str) -> None:
    if media in product.media:
        product.media.remove(media)
    for variant in product.variants:
        if variant.media == media:
            variant.media = ""


def _with_user_errors(change: Callable[..., Payload]) -> Callable[..., Payload]:
    """Return a resolver that answers with user errors instead of raising them."""

    def resolve(info: Any, **arguments: Any) -> Payload:
        try:
            return {"userErrors": [], "mediaUserErrors": []} | change(info, **arguments)
        except UserErrors as refusal:
            return {"userErrors": refusal.errors, "mediaUserErrors": refusal.errors, "files": []}

    return resolve
