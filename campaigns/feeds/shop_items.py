"""Products as the APIs of shops give them in JSON, rewritten into plain items: key, name, attributes, images, variants.

Known are Shopify's `/products.json` and Admin REST API (https://shopify.dev/docs/api/admin-rest/latest/resources/product),
WooCommerce's REST API (https://woocommerce.github.io/woocommerce-rest-api-docs/#products) and Magento's
(https://developer.adobe.com/commerce/webapi/rest/). Each product has the key that the shop's CSV export gives it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from campaigns.feeds import vocabulary
from campaigns.feeds.base import Number, normalised
from campaigns.feeds.cells import shortened

Value = Mapping[str, Any]
_DEFAULT = "Default Title"
_SHOPIFY_PRODUCT = {
    "body_html": "description", "vendor": "vendor", "product_type": "type", "tags": "tags", "status": "status"
}  # fmt: skip
_SHOPIFY_VARIANT = ("price", "compare_at_price", "barcode", "grams")
_WOO_TEXTS = ("description", "short_description", "status")
_WOO_PRICES = {"regular_price": "price", "sale_price": "sale_price"}
_MAGENTO_LEFT_OUT = frozenset(
    ("image", "small_image", "thumbnail", "swatch_image", "url_key", "url_path", "options_container",
     "tax_class_id", "category_ids", "required_options", "has_options", "gift_message_available", "page_layout",
     "custom_layout", "custom_design", "msrp_display_actual_price_type", "meta_keyword")
)  # fmt: skip
_MAGENTO_HIDDEN = "1"
"""`visibility` of a product that shows only as part of another."""


class Shapes:
    """Rewrites the items of one file, and remembers which variants belong to which product, by the shops' numbers."""

    def __init__(self) -> None:
        self._sku_of: dict[str, str] = {}
        self._parent_of: dict[str, str] = {}

    def plain(self, item: Value) -> Value:
        """Return the item as a plain one; an item of no known shop stays as it is."""
        if _is_shopify(item):
            return _shopify(item)
        if _is_woocommerce(item):
            return self._woocommerce(item)
        if "type_id" in item and "sku" in item and ("custom_attributes" in item or "attribute_set_id" in item):
            return self._magento(item)
        return item

    def _woocommerce(self, item: Value) -> Value:
        key = _text(item.get("sku")) or f"id:{_text(item.get('id'))}"
        self._sku_of[_text(item.get("id"))] = key
        variants = _objects(item.get("variations"))
        is_variable = item.get("type") == "variable"
        found: dict[str, Any] = {"sku": key, "name": item.get("name"), "images": _sources(item), "alt": _alt(item)}
        found |= {name: item.get(name) for name in _WOO_TEXTS}
        found |= {name: item.get(heading) or "" for heading, name in _WOO_PRICES.items()}
        found["price"] = found["price"] or ("" if is_variable else item.get("price"))
        found["category"] = _names(item.get("categories"))
        found["tags"] = _names(item.get("tags"))
        found["brand"] = _names(item.get("brands"))
        parent = _text(item.get("parent_id"))
        if item.get("type") == "variation" or ("type" not in item and parent not in ("", "0")):
            return _variation(found, item, self._sku_of.get(parent, f"id:{parent}"))
        for attribute in _objects(item.get("attributes")):
            values = attribute.get("options")
            several = [_text(value) for value in values] if isinstance(values, list) else []
            # What its variations differ in is no attribute of a variable product.
            if several and not (is_variable and attribute.get("variation") is True and len(several) > 1):
                found[_text(attribute.get("name"))] = ", ".join(several)
        found["variants"] = [
            _variation(
                {"sku": _text(one.get("sku")) or f"id:{_text(one.get('id'))}", "images": _sources(one)}, one, key
            )
            | {name: one.get(heading) or "" for heading, name in _WOO_PRICES.items()}
            for one in variants
        ]
        return found

    def _magento(self, item: Value) -> Value:
        key = _text(item.get("sku"))
        extension = item.get("extension_attributes")
        extension = extension if isinstance(extension, dict) else {}
        links = extension.get("configurable_product_links")
        for number in links if isinstance(links, list) else []:
            self._parent_of[_text(number)] = key
        found: dict[str, Any] = {"sku": key, "name": item.get("name"), "price": item.get("price")}
        # A configurable product has the price zero, as its children have theirs.
        if item.get("type_id") == "configurable" and _text(found["price"]) in ("0", "0.0", "0.00"):
            found["price"] = ""
        gallery = [one for one in _objects(item.get("media_gallery_entries")) if one.get("disabled") is not True]
        gallery.sort(key=lambda one: _number(one.get("position")))
        found["images"] = [_text(one.get("file")) for one in gallery if one.get("media_type") in (None, "image")]
        found["alt"] = _text(gallery[0].get("label")) if gallery else ""
        for attribute in _objects(item.get("custom_attributes")):
            code, value = _text(attribute.get("attribute_code")), attribute.get("value")
            if code and code not in _MAGENTO_LEFT_OUT and not isinstance(value, (dict, list)):
                found[code] = value
        parent = self._parent_of.get(_text(item.get("id")), "")
        is_hidden = _text(item.get("visibility")) == _MAGENTO_HIDDEN
        return found | {"parent_sku": parent if is_hidden else ""}


def _is_shopify(item: Value) -> bool:
    variants = _objects(item.get("variants"))
    return bool(variants) and ("handle" in item or "body_html" in item) and any("option1" in one for one in variants)


def _is_woocommerce(item: Value) -> bool:
    return "regular_price" in item and bool({"permalink", "catalog_visibility", "stock_status"} & item.keys())


def _shopify(item: Value) -> Value:
    key = _text(item.get("handle")) or _text(item.get("id"))
    variants = _objects(item.get("variants"))
    names = [_text(one.get("name")) for one in _objects(item.get("options"))]
    skus = [_text(one.get("sku")) for one in variants]
    found: dict[str, Any] = {"sku": key, "title": item.get("title"), "images": _sources(item), "alt": _alt(item)}
    for heading, name in _SHOPIFY_PRODUCT.items():
        value = item.get(heading)
        found[name] = ", ".join(map(_text, value)) if isinstance(value, list) else value
    first = variants[0]
    found |= {name: first.get(name) for name in _SHOPIFY_VARIANT}
    found["variants"] = []
    for one, sku in zip(variants, skus, strict=True):
        options = {}
        for place in range(3):
            value = _text(one.get(f"option{place + 1}"))
            if value:
                options[names[place] if place < len(names) and names[place] else f"Option{place + 1}"] = value
        if list(options.values()) == [_DEFAULT]:
            options = {}
        # Without a SKU of its own, a variant is known by its options, as in the shop's CSV export.
        is_own = sku and skus.count(sku) == 1
        if options or (sku and sku != key):
            own = sku if is_own and sku != key else shortened("/".join([key, *options.values()]))
            found["variants"].append(
                {"sku": own, "options": options} | {name: one.get(name) for name in _SHOPIFY_VARIANT}
            )
    if len(set(filter(None, skus))) == 1:
        found["attributes"] = {"sku": next(filter(None, skus))}
    return found


def _variation(found: dict[str, Any], item: Value, parent: str) -> dict[str, Any]:
    options = {_text(one.get("name")): _text(one.get("option")) for one in _objects(item.get("attributes"))}
    options = {name: value for name, value in options.items() if name and value}
    return {name: value for name, value in found.items() if value} | {"options": options, "parent_sku": parent}


def _sources(item: Value) -> list[str]:
    """Return the addresses of the images in their order; a variation has one, in `image`."""
    several = item.get("images")
    images = sorted(_objects(several), key=lambda one: _number(one.get("position")))
    if isinstance(item.get("image"), dict):
        images.append(item["image"])
    texts = [_text(one) for one in several if isinstance(one, str)] if isinstance(several, list) else []
    return list(dict.fromkeys([*filter(None, (_text(one.get("src")) for one in images)), *texts]))


def _alt(item: Value) -> str:
    images = sorted(_objects(item.get("images")), key=lambda one: _number(one.get("position")))
    return _text(images[0].get("alt")) if images else ""


def _names(value: Any) -> str:
    return ", ".join(filter(None, (_text(one.get("name")) for one in _objects(value))))


def _objects(value: Any) -> list[Value]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _number(value: Any) -> int:
    text = _text(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0


def _text(value: Any) -> str:
    return str(value).strip() if isinstance(value, (str, Number)) else ""


def with_key(item: Value, variants: Iterable[str]) -> Value:
    """Give an item without a SKU, whose variants have some, its handle or number as SKU; others stay as they are."""
    names = {normalised(name) for name in item}
    own = ("sku", "variant_sku")
    name = next((name for name in variants if _objects(item.get(name))), "")
    if not name or any(_text(value) for heading, value in item.items() if normalised(heading) in own):
        return item
    if not any(normalised(heading) in own for one in _objects(item[name]) for heading in one):
        return item
    order = ("handle", "url_handle", "slug", *vocabulary.KEY)
    found = {normalised(heading): _text(value) for heading, value in item.items()}
    key = next((found[known] for known in order if known in names and found.get(known)), "")
    return {heading: value for heading, value in item.items() if normalised(heading) != "sku"} | {"sku": key}
