"""Rewrite products from the JSON of shop APIs into plain items: key, name, attributes, images, variants.

It knows Shopify's `/products.json` and Admin REST API (https://shopify.dev/docs/api/admin-rest/latest/resources/product),
WooCommerce's REST API (https://woocommerce.github.io/woocommerce-rest-api-docs/#products) and Magento's
(https://developer.adobe.com/commerce/webapi/rest/). Each product gets the same key as in the shop's CSV export.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from campaigns.feeds import vocabulary
from campaigns.feeds.base import NumberText, normalise_heading
from campaigns.feeds.cells import shorten_key

Value = Mapping[str, Any]
_DEFAULT = "Default Title"
_SHOPIFY_PRODUCT = {
    "body_html": "description", "vendor": "vendor", "product_type": "type", "tags": "tags", "status": "status"
}  # fmt: skip
_SHOPIFY_VARIANT = ("price", "compare_at_price", "barcode", "grams")
_WOO_TEXTS = ("description", "short_description", "status")
_MAGENTO_LEFT_OUT = frozenset(
    ("image", "small_image", "thumbnail", "swatch_image", "url_key", "url_path", "options_container",
     "tax_class_id", "category_ids", "required_options", "has_options", "gift_message_available", "page_layout",
     "custom_layout", "custom_design", "msrp_display_actual_price_type", "meta_keyword")
)  # fmt: skip
_MAGENTO_HIDDEN = "1"  # `visibility` of a product that shows only as part of another


class ShopItemConverter:
    """Rewrites the items of one file. Remembers by the shop's ids which variants belong to which product."""

    def __init__(self) -> None:
        self._sku_of: dict[str, str] = {}
        self._parent_of: dict[str, str] = {}

    def convert(self, item: Value) -> Value:
        """Return the item as a plain item. An item of an unknown shop stays as it is."""
        names = item.keys()
        if names & {"handle", "body_html"} and any("option1" in variant for variant in _objects(item.get("variants"))):
            return _shopify(item)
        if "regular_price" in names and names & {"permalink", "catalog_visibility", "stock_status"}:
            return self._woocommerce(item)
        if {"type_id", "sku"} <= names and names & {"custom_attributes", "attribute_set_id"}:
            return self._magento(item)
        return item

    def _woocommerce(self, item: Value) -> Value:
        key = self._sku_of[_text(item.get("id"))] = _woocommerce_key(item)
        is_variable = item.get("type") == "variable"
        product: dict[str, Any] = {"sku": key, "name": item.get("name"), "images": _sources(item), "alt": _alt(item)}
        product |= {name: item.get(name) for name in _WOO_TEXTS} | _woocommerce_prices(item)
        product["price"] = product["price"] or ("" if is_variable else item.get("price"))
        for heading, name in (("categories", "category"), ("tags", "tags"), ("brands", "brand")):
            product[name] = _names(item.get(heading))
        parent = _text(item.get("parent_id"))
        if item.get("type") == "variation" or ("type" not in item and parent not in ("", "0")):
            return _variation(product, item, self._sku_of.get(parent, f"id:{parent}"))
        for attribute in _objects(item.get("attributes")):
            values = attribute.get("options")
            texts = [_text(value) for value in values] if isinstance(values, list) else []
            # An attribute in which the variations differ is not an attribute of the variable product.
            if texts and not (is_variable and attribute.get("variation") is True and len(texts) > 1):
                product[_text(attribute.get("name"))] = ", ".join(texts)
        product["variants"] = []
        for variant in _objects(item.get("variations")):
            values = {"sku": _woocommerce_key(variant), "images": _sources(variant)}
            product["variants"].append(_variation(values, variant, key) | _woocommerce_prices(variant))
        return product

    def _magento(self, item: Value) -> Value:
        key = _text(item.get("sku"))
        extension = item.get("extension_attributes")
        extension = extension if isinstance(extension, dict) else {}
        links = extension.get("configurable_product_links")
        for number in links if isinstance(links, list) else []:
            self._parent_of[_text(number)] = key
        product: dict[str, Any] = {"sku": key, "name": item.get("name"), "price": item.get("price")}
        # A configurable product has the price zero: its children have the prices.
        if item.get("type_id") == "configurable" and _text(product["price"]) in ("0", "0.0", "0.00"):
            product["price"] = ""
        entries = _in_order(item.get("media_gallery_entries"))
        gallery = [image for image in entries if image.get("disabled") is not True]
        product["images"] = [
            _text(image.get("file")) for image in gallery if image.get("media_type") in (None, "image")
        ]
        product["alt"] = _text(gallery[0].get("label")) if gallery else ""
        for attribute in _objects(item.get("custom_attributes")):
            code, value = _text(attribute.get("attribute_code")), attribute.get("value")
            if code and code not in _MAGENTO_LEFT_OUT and not isinstance(value, (dict, list)):
                product[code] = value
        parent = self._parent_of.get(_text(item.get("id")), "")
        is_hidden = _text(item.get("visibility")) == _MAGENTO_HIDDEN
        return product | {"parent_sku": parent if is_hidden else ""}


def _woocommerce_key(item: Value) -> str:
    return _text(item.get("sku")) or f"id:{_text(item.get('id'))}"


def _woocommerce_prices(item: Value) -> dict[str, Any]:
    return {"price": item.get("regular_price") or "", "sale_price": item.get("sale_price") or ""}


def _shopify(item: Value) -> Value:
    key = _text(item.get("handle")) or _text(item.get("id"))
    variants = _objects(item.get("variants"))
    names = [_text(option.get("name")) for option in _objects(item.get("options"))]
    skus = [_text(variant.get("sku")) for variant in variants]
    product: dict[str, Any] = {"sku": key, "title": item.get("title"), "images": _sources(item), "alt": _alt(item)}
    for heading, name in _SHOPIFY_PRODUCT.items():
        value = item.get(heading)
        product[name] = ", ".join(map(_text, value)) if isinstance(value, list) else value
    first = variants[0]
    product |= {name: first.get(name) for name in _SHOPIFY_VARIANT}
    product["variants"] = []
    for variant, sku in zip(variants, skus, strict=True):
        options = {}
        for place in range(3):
            value = _text(variant.get(f"option{place + 1}"))
            if value:
                options[names[place] if place < len(names) and names[place] else f"Option{place + 1}"] = value
        if list(options.values()) == [_DEFAULT]:
            options = {}
        # A variant without a SKU of its own is named by its options, as in the shop's CSV export.
        is_own = sku and skus.count(sku) == 1
        if options or (sku and sku != key):
            variant_key = sku if is_own and sku != key else shorten_key("/".join([key, *options.values()]))
            attributes = {name: variant.get(name) for name in _SHOPIFY_VARIANT}
            product["variants"].append({"sku": variant_key, "options": options} | attributes)
    if len(set(filter(None, skus))) == 1:
        product["attributes"] = {"sku": next(filter(None, skus))}
    return product


def _variation(values: dict[str, Any], item: Value, parent: str) -> dict[str, Any]:
    options = {_text(option.get("name")): _text(option.get("option")) for option in _objects(item.get("attributes"))}
    options = {name: value for name, value in options.items() if name and value}
    return {name: value for name, value in values.items() if value} | {"options": options, "parent_sku": parent}


def _sources(item: Value) -> list[str]:
    """Return the addresses of the images in order. A variation has one image, in `image`."""
    entries = item.get("images")
    images = [*_in_order(entries), *_objects([item.get("image")])]
    texts = [_text(entry) for entry in entries if isinstance(entry, str)] if isinstance(entries, list) else []
    return list(dict.fromkeys([*filter(None, (_text(image.get("src")) for image in images)), *texts]))


def _alt(item: Value) -> str:
    return next((_text(image.get("alt")) for image in _in_order(item.get("images"))), "")


def _in_order(images: Any) -> list[Value]:
    return sorted(_objects(images), key=lambda image: _number(image.get("position")))


def _names(value: Any) -> str:
    return ", ".join(filter(None, (_text(part.get("name")) for part in _objects(value))))


def _objects(value: Any) -> list[Value]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _number(value: Any) -> int:
    text = _text(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0


def _text(value: Any) -> str:
    return str(value).strip() if isinstance(value, (str, NumberText)) else ""


def with_key(item: Value, variants: Iterable[Value]) -> Value:
    """Use the handle or id as the SKU of an item that has no SKU but whose variants have SKUs; keep other items."""
    sku_headings = ("sku", "variant_sku")
    if any(_text(value) for heading, value in item.items() if normalise_heading(heading) in sku_headings):
        return item
    if not any(normalise_heading(heading) in sku_headings for variant in variants for heading in variant):
        return item
    texts = {normalise_heading(heading): _text(value) for heading, value in item.items()}
    key = next((texts[name] for name in ("handle", "url_handle", "slug", *vocabulary.KEY) if texts.get(name)), "")
    return {heading: value for heading, value in item.items() if normalise_heading(heading) != "sku"} | {"sku": key}
