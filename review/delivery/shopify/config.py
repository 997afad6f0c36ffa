"""The settings of the destination "shopify"."""

from __future__ import annotations

import json
from typing import Literal

from pydantic import field_validator

from core.plugin_config import Config, Source, setting

READY_SECONDS = 90.0
_EXAMPLE = '{"MUG-1": "gid://shopify/Product/1"}'


class ShopifyConfig(Config):
    url: str = setting(
        "Address of the shop",
        needed="expected the shop's own address, such as https://acme.myshopify.com.",
        example="https://acme.myshopify.com",
    )
    client_id: str = setting(
        "Client id of the app", "Empty: the secret is an access token (shpat_…).", default="", example="8fd3…"
    )
    find_by: Literal["sku", "barcode", "handle", "metafield"] = setting("Find products by", default="sku")
    metafield: str = setting(
        "Metafield", "For products that are found by one: its key names the column of the feed.", default="",
        example="custom.sku",
    )  # fmt: skip
    position: int = setting("Place among the images", "1 is the first; 0 is the last.", default=0, minimum=0)
    on_variant: bool = setting("As the variant’s image, too", "Where a variant was found.", default=True)
    products: str = setting(
        "Products by hand", "JSON: SKU and product id, for what was not found.", default="", example=_EXAMPLE
    )
    allow_private: bool = setting(
        "Allow private addresses", "If the operator allows them for this server.", default=False, is_advanced=True
    )
    ready_seconds: float = setting(
        "Time for processing, s", "How long to wait in one attempt until the shop has processed a file.",
        source=Source.PROGRAM, default=READY_SECONDS,
    )  # fmt: skip

    @field_validator("products")
    @classmethod
    def _ensure_products(cls, text: str) -> str:
        read_products(text)
        return text

    def product_of(self, sku: str) -> str:
        """Return the id of the product that was chosen by hand; "" if none was."""
        return read_products(self.products).get(sku, "")


def read_products(text: str) -> dict[str, str]:
    """Return product id by SKU. The id may be given as its number alone. Raises ValueError."""
    try:
        chosen = json.loads(text or "{}")
    except ValueError:
        chosen = None
    if not isinstance(chosen, dict) or not all(isinstance(value, str | int) for value in chosen.values()):
        raise ValueError(f"Give a JSON object such as {_EXAMPLE}.")
    return {
        sku: f"gid://shopify/Product/{value}" if str(value).isdecimal() else str(value) for sku, value in chosen.items()
    }
