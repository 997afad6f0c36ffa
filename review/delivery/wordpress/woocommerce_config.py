"""The settings of the destination "woocommerce"."""

from __future__ import annotations

import json
import re

from pydantic import field_validator

from core.plugin_config import Config, setting


class WooCommerceConfig(Config):
    url: str = setting("Address of the shop", needed="Give it.", example="https://shop.example.com")
    position: int = setting("Place among the images", "1 is the first; 0 is the last.", default=0, minimum=0)
    on_product: bool = setting(
        "Of variations: at the product, too", "Else only the variation shows its image.", default=False
    )
    products: str = setting(
        "Products by hand", "JSON: SKU and product, or product/variation, for what was not found.", default="",
        example='{"MUG-1": "12", "MUG-1-BLUE": "12/15"}',
    )  # fmt: skip
    plain_links: bool = setting("Plain permalinks", "The site has no /wp-json/.", default=False)
    allow_private: bool = setting(
        "Allow private addresses", "If the operator allows them for this server.", default=False, is_advanced=True
    )

    @field_validator("products")
    @classmethod
    def _ensure_products(cls, text: str) -> str:
        try:
            choices = json.loads(text or "{}")
        except ValueError:
            choices = None
        if not isinstance(choices, dict) or not all(
            re.fullmatch(r"\d+(/\d+)?", str(each)) for each in choices.values()
        ):
            raise ValueError('Give a JSON object such as {"MUG-1": "12", "MUG-1-BLUE": "12/15"}.')
        return text
