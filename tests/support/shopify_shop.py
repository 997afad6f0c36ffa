"""The state of the tests' Shopify shop, and its queries: products, files and their processing, the search index.

Mutations are in shopify_changes.py; HTTP, tokens and costs in shopify_server.py.
"""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from graphql import GraphQLError

Payload = dict[str, Any]


@dataclass
class ShopFile:
    id: str
    name: str
    content: bytes
    alt: str
    created_at: float
    error_code: str = ""
    """Why its processing fails; empty: it succeeds."""


@dataclass
class Variant:
    id: str
    sku: str
    barcode: str = ""
    media: str = ""


@dataclass
class Product:
    id: str
    handle: str
    variants: list[Variant]
    media: list[str] = field(default_factory=list)
    metafields: dict[str, str] = field(default_factory=dict)
    title: str = ""


@dataclass
class Reorder:
    id: str
    product: Product
    moves: list[Mapping[str, Any]]
    due_at: float
    is_done: bool = False


class Shop:
    """One shop. Times in seconds.

    processing_seconds: from a file's creation until it is READY. index_seconds: until a search finds it.
    reorder_seconds: until a new order counts. failures: error codes for the next files. duplicates_fail_later: an equal
    name is not refused at once; the file fails instead. scopes: the permissions of the app.
    """

    def __init__(self) -> None:
        self.processing_seconds = self.index_seconds = self.reorder_seconds = 0.0
        self.failures: deque[str] = deque()
        self.duplicates_fail_later = False
        self.scopes = {"read_products", "write_products", "read_files", "write_files"}
        self.guard = threading.RLock()
        self.products: dict[str, Product] = {}
        self.files: dict[str, ShopFile] = {}
        self.staged: dict[str, bytes] = {}
        self.reorders: dict[str, Reorder] = {}
        self.stage: Callable[[Mapping[str, Any]], Payload] = lambda _input: {}
        self.files_url = ""
        self._numbers = count(43989266563378, 32)

    # -- for tests -----------------------------------------------------------------------------------------------------

    def add_product(
        self, *skus: str, images: tuple[str, ...] = (), barcode: str = "", metafields: Mapping[str, str] | None = None
    ) -> Product:
        """Add a product with a variant for each SKU, and images whose alt texts are their names."""
        variants = [Variant(self._id("ProductVariant"), sku, barcode) for sku in skus]
        made = Product(
            self._id("Product"), f"handle-{len(self.products) + 1}", variants, metafields=dict(metafields or {})
        )
        self.products[made.id] = made
        for name in images:
            made.media.append(self.add_file(f"{name}.jpg", name.encode(), name, created_at=0.0).id)
        return made

    def images_of(self, product: Product) -> list[str]:
        """Return the names of the product's images, in their order."""
        with self.guard:
            self._settle()
            return [self.files[media].name for media in product.media]

    def status(self, file: ShopFile) -> str:
        if time.monotonic() < file.created_at + self.processing_seconds:
            return "PROCESSING"
        return "FAILED" if file.error_code else "READY"

    # -- queries -------------------------------------------------------------------------------------------------------

    def queries(self) -> Payload:
        """Return the resolvers of all queries."""
        return {name.removeprefix("query_"): getattr(self, name) for name in dir(self) if name.startswith("query_")}

    def query_shop(self, _info: Any) -> Payload:
        return {"name": "Test shop"}

    def query_currentAppInstallation(self, _info: Any) -> Payload:
        return {"accessScopes": [{"handle": scope} for scope in sorted(self.scopes)]}

    def query_productVariants(self, _info: Any, first: int, query: str) -> Payload:
        self.need("read_products", "Access denied for productVariants field.")
        name, value = re.fullmatch(r'(sku|barcode):"(.*)"', query).groups()  # type: ignore[union-attr]
        words = value.casefold().split("-")
        pairs = [(variant, product) for product in self.products.values() for variant in product.variants]
        return {
            "nodes": [
                self._variant(variant, product)
                for variant, product in pairs
                if getattr(variant, name).casefold().split("-")[: len(words)] == words  # it also finds longer ones
            ][:first]
        }

    def query_products(self, _info: Any, first: int, query: str, sortKey: str = "") -> Payload:
        """Find the products of which title, handle or SKU has each word, or begins with it ("mug*")."""
        self.need("read_products", "Access denied for products field.")
        found = []
        for product in self.products.values():
            texts = [product.title, product.handle, *(variant.sku for variant in product.variants)]
            known = " ".join(texts).casefold().split()
            if all(any(_matches(text, word) for text in known) for word in query.casefold().split()):
                found.append(self._product(product))
        return {"nodes": found[:first]}

    def query_productByIdentifier(self, _info: Any, identifier: Mapping[str, Any]) -> Payload | None:
        self.need("read_products", "Access denied for productByIdentifier field.")
        custom = identifier.get("customId") or {}
        key = f"{custom.get('namespace')}.{custom.get('key')}"
        for product in self.products.values():
            if product.handle == identifier.get("handle") or (
                custom and product.metafields.get(key) == custom["value"]
            ):
                return self._product(product)
        return None

    def query_product(self, _info: Any, id: str) -> Payload | None:
        self.need("read_products", "Access denied for product field.")
        self._settle()
        return self._product(self.products[id]) if id in self.products else None

    def query_productVariant(self, _info: Any, id: str) -> Payload | None:
        for product in self.products.values():
            for variant in product.variants:
                if variant.id == id:
                    return self._variant(variant, product)
        return None

    def query_node(self, _info: Any, id: str) -> Payload | None:
        return self.describe_file(self.files[id]) if id in self.files else None

    def query_job(self, _info: Any, id: str) -> Payload | None:
        self._settle()
        return {"id": id, "done": self.reorders[id].is_done} if id in self.reorders else None

    def query_files(self, _info: Any, first: int, query: str) -> Payload:
        self.need("read_files", "Access denied for files field.")
        name = re.fullmatch(r'filename:"?([^"*]*)(\*?)"?', query)
        assert name, f"the search {query!r} is not known to work"
        words = name[1].casefold()
        known = [file for file in self.files.values() if time.monotonic() >= file.created_at + self.index_seconds]
        found = [
            file
            for file in known
            if file.name.casefold() == words or (name[2] and file.name.casefold().startswith(words))
        ]
        return {"nodes": [self.describe_file(file) for file in found[:first]]}

    # -- inside --------------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Carry out the reorders that are due: each move counts on the order that the one before it left."""
        for job in self.reorders.values():
            if not job.is_done and time.monotonic() >= job.due_at:
                for move in job.moves:
                    if move["id"] in job.product.media:
                        job.product.media.remove(move["id"])
                        job.product.media.insert(int(move["newPosition"]), move["id"])
                job.is_done = True

    def need(self, scope: str, message: str) -> None:
        if scope not in self.scopes:
            documentation = "https://shopify.dev/api/usage/access-scopes"
            raise GraphQLError(message, extensions={"code": "ACCESS_DENIED", "documentation": documentation})

    def add_file(
        self, name: str, content: bytes, alt: str, *, created_at: float | None = None, error_code: str = ""
    ) -> ShopFile:
        moment = time.monotonic() if created_at is None else created_at
        made = ShopFile(self._id("MediaImage"), name, content, alt, moment, error_code)
        self.files[made.id] = made
        return made

    def describe_file(self, file: ShopFile) -> Payload:
        status = self.status(file)
        errors = [{"code": file.error_code, "message": f"({file.error_code})"}] if status == "FAILED" else []
        image = {"url": f"{self.files_url}{file.name}?v=1783036904"} if status == "READY" else None
        shown = {"id": file.id, "alt": file.alt, "fileStatus": status, "fileErrors": errors, "image": image}
        return {"__typename": "MediaImage", **shown}

    def _product(self, product: Product) -> Payload:
        files = [self.describe_file(self.files[id]) for id in product.media]
        image = files[0]["image"] and {"url": lambda _info, transform=None: files[0]["image"]["url"]} if files else None
        skus = [{"id": variant.id, "sku": variant.sku} for variant in product.variants]
        return {
            "id": product.id, "title": product.title or product.handle, "handle": product.handle,
            "media": {"nodes": files}, "featuredMedia": {"preview": {"image": image}} if files else None,
            "variants": lambda _info, first: {"nodes": skus[:first]},
        }  # fmt: skip

    def _variant(self, variant: Variant, product: Product) -> Payload:
        media = {"nodes": [self.describe_file(self.files[variant.media])] if variant.media else []}
        shown = {"id": variant.id, "sku": variant.sku, "barcode": variant.barcode or None, "media": media}
        return {**shown, "product": self._product(product)}

    def _id(self, kind: str) -> str:
        return f"gid://shopify/{kind}/{next(self._numbers)}"


def _matches(text: str, word: str) -> bool:
    return text.startswith(word[:-1]) if word.endswith("*") else text == word
