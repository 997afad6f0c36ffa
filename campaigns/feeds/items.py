"""Items of nested data (JSON, XML) as a flat table: one heading per name that any item has, one row of text per item.

Objects within an item become dotted headings, lists become lines of one cell, and each object of a list `variants`
becomes a row of its own that names its item in a column `parent_sku`.
Products from the JSON of shop APIs are first rewritten into plain items (key, name, attributes, images, variants), with
the same key as in the shop's CSV export: Shopify's `/products.json` and Admin REST API
(https://shopify.dev/docs/api/admin-rest/latest/resources/product), WooCommerce's REST API
(https://woocommerce.github.io/woocommerce-rest-api-docs/#products) and Magento's
(https://developer.adobe.com/commerce/webapi/rest/).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain, count, islice, repeat
from typing import Any

from campaigns.feeds import cells, vocabulary
from campaigns.feeds.base import FeedRefused, Header, Issue, NumberText, Record, file_refusal, normalise_heading

Item = tuple[int, dict[str, str]]
Value = Mapping[str, Any]
Texts = dict[str, list[str]]  # heading -> the texts of its cell, joined at the end, as appending takes quadratic time
Items = Callable[[], Iterator["Item | Issue"]]
"""Starts at the first item on each call; yields (number from 1, heading -> text) and issues."""

MAX_HEADINGS = 1000
MAX_DEPTH = 12
MAX_VALUES = 20_000  # values within one item, counting empty lists and objects. A product has a few hundred.
VARIANTS = ("variants", "children")
PARENT = "parent_sku"
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


class ItemTooLarge(ValueError):
    """An item is nested deeper, or holds more values, than is accepted; the message says which."""


def table(items: Items, *, place: str, what: str, limit: int | None = None) -> tuple[Header, Iterator[Record | Issue]]:
    """Return the header and the records of all items.

    place: how cells are named (base.Header.place). what: the format. limit: how many items are read for headings; all
    if it is None. Raises FeedRefused when there is no item.
    """
    seen: dict[str, str] = {}
    for item in islice(items(), limit):
        if isinstance(item, Issue):
            continue
        for heading in item[1]:
            if heading not in seen:
                seen[heading] = normalise_heading(heading)
        if len(seen) > MAX_HEADINGS:
            raise file_refusal(f"The {what} has more than {MAX_HEADINGS:,} names in its items; expected less.")
    if not seen:
        wrong = [item for item in islice(items(), 100) if isinstance(item, Issue)]
        if wrong:
            raise FeedRefused(*wrong)
        raise file_refusal(f"There are no items in this {what}; expected one per product.", cause="no_rows")
    spelled: dict[str, str] = {}
    for heading, name in seen.items():
        spelled.setdefault(name, heading)
    index_of = {name: index for index, name in enumerate(spelled)}
    columns = {heading: index_of[name] for heading, name in seen.items()}
    header = cells.read_header((0, list(spelled.values())))
    return replace(header, place=place), _records(items, columns, len(spelled))


def _records(items: Items, columns: Mapping[str, int], width: int) -> Iterator[Record | Issue]:
    for item in items():
        if isinstance(item, Issue):
            yield item
            continue
        row = [""] * width
        for heading, text in item[1].items():
            # A peek reads only the first items, so later items may have unknown headings.
            if (index := columns.get(heading)) is not None:
                row[index] = text
        yield item[0], row


def expand_variants(number: int, value: Value) -> Iterator[Item]:
    """Yield the item, and one more item for each of its variants."""
    variants: list[Mapping[str, Any]] = []
    for name in VARIANTS:
        part = value.get(name)
        if isinstance(part, list) and part and all(isinstance(element, dict) for element in part):
            variants = part
            value = _with_key({key: part for key, part in value.items() if key != name}, variants)
            break
    texts = flatten(value)
    yield number, texts
    by_name = {normalise_heading(heading): text for heading, text in texts.items()} if variants else {}
    parent = next((by_name[key] for key in vocabulary.KEY if by_name.get(key)), "")
    for variant in variants:
        yield number, flatten(variant) | {PARENT: parent}


def flatten(value: Value) -> dict[str, str]:
    """Return heading -> text of one object. Raises ItemTooLarge if it is nested too deep or holds too many values."""
    texts: Texts = {}
    numbers = count(1)

    def put(into: Texts, heading: str, part: Any, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise ItemTooLarge(f"objects within objects more than {MAX_DEPTH} deep; expected fewer levels")
        if next(numbers) > MAX_VALUES:
            raise ItemTooLarge(f"more than {MAX_VALUES:,} values in one item; expected those of one product")
        if isinstance(part, dict):
            for key, inner in part.items():
                put(into, f"{heading}.{key}", inner, depth + 1)
        elif isinstance(part, list):
            for element in part:
                inner_texts: Texts = {}
                put(inner_texts, heading, element, depth + 1)
                for name, text in join_texts(inner_texts).items():
                    add_text(into, name, text)
        else:
            into[heading] = [_text(part)]

    for key, part in value.items():
        put(texts, key, part, 0)
    return join_texts(texts)


def add_text(into: Texts, heading: str, text: str) -> None:
    texts = into.setdefault(heading, [])
    if texts == [""]:
        texts.clear()
    texts.append(text)


def join_texts(texts: Texts) -> dict[str, str]:
    """Return heading -> text of the cell, with one line per text."""
    # Joining would make a plain text of a number.
    return {heading: lines[0] if len(lines) == 1 else "\n".join(lines) for heading, lines in texts.items()}


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else NumberText(value)


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
        key = self._sku_of[_string(item.get("id"))] = _woocommerce_key(item)
        is_variable = item.get("type") == "variable"
        product: dict[str, Any] = {"sku": key, "name": item.get("name"), "images": _sources(item), "alt": _alt(item)}
        product |= {name: item.get(name) for name in _WOO_TEXTS} | _woocommerce_prices(item)
        product["price"] = product["price"] or ("" if is_variable else item.get("price"))
        for heading, name in (("categories", "category"), ("tags", "tags"), ("brands", "brand")):
            product[name] = _names(item.get(heading))
        parent = _string(item.get("parent_id"))
        if item.get("type") == "variation" or ("type" not in item and parent not in ("", "0")):
            return _variation(product, item, self._sku_of.get(parent, f"id:{parent}"))
        for attribute in _objects(item.get("attributes")):
            values = attribute.get("options")
            texts = [_string(value) for value in values] if isinstance(values, list) else []
            # An attribute in which the variations differ is not an attribute of the variable product.
            if texts and not (is_variable and attribute.get("variation") is True and len(texts) > 1):
                product[_string(attribute.get("name"))] = ", ".join(texts)
        product["variants"] = []
        for variant in _objects(item.get("variations")):
            values = {"sku": _woocommerce_key(variant), "images": _sources(variant)}
            product["variants"].append(_variation(values, variant, key) | _woocommerce_prices(variant))
        return product

    def _magento(self, item: Value) -> Value:
        key = _string(item.get("sku"))
        extension = item.get("extension_attributes")
        extension = extension if isinstance(extension, dict) else {}
        links = extension.get("configurable_product_links")
        for number in links if isinstance(links, list) else []:
            self._parent_of[_string(number)] = key
        product: dict[str, Any] = {"sku": key, "name": item.get("name"), "price": item.get("price")}
        # A configurable product has the price zero: its children have the prices.
        if item.get("type_id") == "configurable" and _string(product["price"]) in ("0", "0.0", "0.00"):
            product["price"] = ""
        entries = _in_order(item.get("media_gallery_entries"))
        gallery = [image for image in entries if image.get("disabled") is not True]
        product["images"] = [
            _string(image.get("file")) for image in gallery if image.get("media_type") in (None, "image")
        ]
        product["alt"] = _string(gallery[0].get("label")) if gallery else ""
        for attribute in _objects(item.get("custom_attributes")):
            code, value = _string(attribute.get("attribute_code")), attribute.get("value")
            if code and code not in _MAGENTO_LEFT_OUT and not isinstance(value, (dict, list)):
                product[code] = value
        parent = self._parent_of.get(_string(item.get("id")), "")
        return product | {"parent_sku": parent if _string(item.get("visibility")) == _MAGENTO_HIDDEN else ""}


def _woocommerce_key(item: Value) -> str:
    return _string(item.get("sku")) or f"id:{_string(item.get('id'))}"


def _woocommerce_prices(item: Value) -> dict[str, Any]:
    return {"price": item.get("regular_price") or "", "sale_price": item.get("sale_price") or ""}


def _shopify(item: Value) -> Value:
    key = _string(item.get("handle")) or _string(item.get("id"))
    variants = _objects(item.get("variants"))
    names = [_string(option.get("name")) for option in _objects(item.get("options"))]
    skus = [_string(variant.get("sku")) for variant in variants]
    product: dict[str, Any] = {"sku": key, "title": item.get("title"), "images": _sources(item), "alt": _alt(item)}
    for heading, name in _SHOPIFY_PRODUCT.items():
        value = item.get(heading)
        product[name] = ", ".join(map(_string, value)) if isinstance(value, list) else value
    product |= {name: variants[0].get(name) for name in _SHOPIFY_VARIANT}
    product["variants"] = []
    for variant, sku in zip(variants, skus, strict=True):
        options = {}
        for place, name in enumerate(islice(chain(names, repeat("")), 3), start=1):
            if value := _string(variant.get(f"option{place}")):
                options[name or f"Option{place}"] = value
        if list(options.values()) == [_DEFAULT]:
            options = {}
        # A variant without a SKU of its own is named by its options, as in the shop's CSV export.
        is_own = sku and skus.count(sku) == 1
        if options or (sku and sku != key):
            variant_key = sku if is_own and sku != key else cells.shorten_key("/".join([key, *options.values()]))
            attributes = {name: variant.get(name) for name in _SHOPIFY_VARIANT}
            product["variants"].append({"sku": variant_key, "options": options} | attributes)
    if len(set(filter(None, skus))) == 1:
        product["attributes"] = {"sku": next(filter(None, skus))}
    return product


def _variation(values: dict[str, Any], item: Value, parent: str) -> dict[str, Any]:
    pairs = ((_string(each.get("name")), _string(each.get("option"))) for each in _objects(item.get("attributes")))
    options = {name: value for name, value in pairs if name and value}
    return {name: value for name, value in values.items() if value} | {"options": options, "parent_sku": parent}


def _sources(item: Value) -> list[str]:
    """Return the addresses of the images in order. A variation has one image, in `image`."""
    entries = item.get("images")
    images = [*_in_order(entries), *_objects([item.get("image")])]
    texts = [_string(entry) for entry in entries if isinstance(entry, str)] if isinstance(entries, list) else []
    return list(dict.fromkeys([*filter(None, (_string(image.get("src")) for image in images)), *texts]))


def _alt(item: Value) -> str:
    return next((_string(image.get("alt")) for image in _in_order(item.get("images"))), "")


def _in_order(images: Any) -> list[Value]:
    return sorted(_objects(images), key=lambda image: _number(image.get("position")))


def _names(value: Any) -> str:
    return ", ".join(filter(None, (_string(part.get("name")) for part in _objects(value))))


def _objects(value: Any) -> list[Value]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _number(value: Any) -> int:
    text = _string(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0


def _string(value: Any) -> str:
    return str(value).strip() if isinstance(value, (str, NumberText)) else ""


def _with_key(item: Value, variants: Iterable[Value]) -> Value:
    """Use the handle or id as the SKU of an item that has no SKU but whose variants have SKUs; keep other items."""
    sku_headings = ("sku", "variant_sku")
    if any(_string(value) for heading, value in item.items() if normalise_heading(heading) in sku_headings):
        return item
    if not any(normalise_heading(heading) in sku_headings for variant in variants for heading in variant):
        return item
    texts = {normalise_heading(heading): _string(value) for heading, value in item.items()}
    key = next((texts[name] for name in ("handle", "url_handle", "slug", *vocabulary.KEY) if texts.get(name)), "")
    return {heading: value for heading, value in item.items() if normalise_heading(heading) != "sku"} | {"sku": key}
