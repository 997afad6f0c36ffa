"""The fields that a column can be mapped to, found by the usual headings of each, and for images by the values."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from campaigns.feeds import addresses, vocabulary
from campaigns.feeds.base import FeedRefused, Header, Record, file_refusal, normalise_heading

KEY, NAME, KIND, PARENT, ALT, HEX = "key", "name", "kind", "parent", "alt", "hex"
PHOTO, PHOTOS_MORE, IGNORE, LAYOUT = "photo", "photos_more", "ignore", "layout"
OPTION, ATTRIBUTE = "option:", "attribute:"

FIELDS = {
    KEY: "SKU or key", NAME: "Name or title", PHOTO: "Front photo", PHOTOS_MORE: "More photos", ALT: "Alt text",
    ATTRIBUTE: "Attribute", HEX: "Hex colour", PARENT: "Parent product", OPTION: "Variant option", KIND: "Kind",
    LAYOUT: "As the shop's export means it", IGNORE: "Leave out",
}  # fmt: skip
"""Field -> its label. A name that ends in a colon takes a text: `attribute:colour`."""
# Prefixes that nested data gives to the columns of a table.
_INNER = re.compile(r"^(?:options|attributes)_")
_IMAGE = re.compile(r"(?:images?|photos?|pictures?|media)(?:_(?:image|photo|picture))?_(?:urls?|src|links?|href|file)")
_ONCE = {KEY, NAME, KIND, PARENT, ALT, HEX}
PHOTO_ROLES = {PHOTO: "front", PHOTOS_MORE: "angle", "photo:inner": "inner", "photo:detail": "detail"}

_IMAGE_WORDS = (
    "image", "img", "photo", "foto", "picture", "pic_", "bild", "imag", "immag", "afbeeld", "zdj", "obraz", "obráz",
    "media", "изобр", "фото", "картин", "billede", "kuva", "画像", "图片", "圖片", "이미지",
)  # fmt: skip
_OTHER_IMAGES = (
    "logo", "icon", "flag", "swatch", "thumb", "banner", "badge", "avatar", "chart", "label", "certif", "energy",
    "datasheet", "datenblatt", "manual", "video", "brand", "marke", "hersteller", "category", "kategorie",
)  # fmt: skip
"""Words in headings of images that do not show the product."""


def is_field(name: str) -> bool:
    """Return True for a plain field, a photo role, and `option:` or `attribute:` with a text after the colon."""
    prefix, colon, text = name.partition(":")
    if not colon:
        return name in FIELDS
    if prefix == "attribute":
        return bool(normalise_heading(text))
    return name in PHOTO_ROLES or (prefix == "option" and bool(text.strip()))


def suggest_fields(header: Header) -> dict[int, str]:
    """Return the field of each column by its heading; an unknown heading is an attribute of that name."""
    usual = {
        KEY: vocabulary.KEY, NAME: vocabulary.NAME, KIND: vocabulary.KIND, PARENT: vocabulary.PARENT,
        ALT: vocabulary.ALT, HEX: vocabulary.HEX, PHOTO: vocabulary.PHOTO,
    }  # fmt: skip
    fields = {index: field for field, aliases in usual.items() if (index := header.find(aliases)) is not None}
    has_variants = PARENT in fields.values()
    taken: set[str] = set()
    for index, name in enumerate(header.names):
        if name and index not in fields:
            has_front = PHOTO in fields.values()
            photo = _photo(name, has_front)
            if not photo and index in header.images:
                photo = PHOTOS_MORE if has_front else PHOTO
            fields[index] = photo or _detail(name, taken, has_variants=has_variants)
    return fields


def _photo(name: str, has_front: bool) -> str:
    if name in vocabulary.PHOTO_ROLES:
        return next(field for field, role in PHOTO_ROLES.items() if role == vocabulary.PHOTO_ROLES[name])
    if name in vocabulary.MORE_PHOTOS or name in vocabulary.PHOTO:
        return PHOTOS_MORE
    if name[-1:].isdigit() and name.rstrip("0123456789").rstrip("_") in vocabulary.PHOTO:
        return PHOTO if name.endswith("1") and not has_front else PHOTOS_MORE
    if _IMAGE.fullmatch(name):
        return PHOTOS_MORE if has_front else PHOTO
    return ""


def _detail(name: str, taken: set[str], *, has_variants: bool) -> str:
    bare = _INNER.sub("", name)
    if has_variants and (bare in vocabulary.OPTIONS or name.startswith("options_")):
        return OPTION + vocabulary.OPTIONS.get(bare, bare.capitalize())
    attribute = ATTRIBUTE + vocabulary.ATTRIBUTES.get(bare, bare)
    attribute = ATTRIBUTE + name if attribute in taken else attribute
    taken.add(attribute)
    return attribute


def apply_chosen_mapping(header: Header, suggested: Mapping[int, str], mapping: Mapping[str, str]) -> dict[int, str]:
    """Return the suggested fields, changed by the mapping that a person chose (heading as written -> field).

    Headings are compared normalised; headings that the file lacks are ignored. Raises FeedRefused for an unknown field,
    and for two columns with a field that allows only one.
    """
    requested = {normalise_heading(heading): field for heading, field in mapping.items()}
    fields = dict(suggested)
    for index, name in enumerate(header.names):
        field = requested.get(name, LAYOUT) if name else LAYOUT
        if field in (LAYOUT, ""):
            continue
        if not is_field(field):
            names = ", ".join(name + ("…" if name.endswith(":") else "") for name in FIELDS)
            raise header.refusal(index, "mapping", f"“{field[:40]}” is no field; expected one of {names}.")
        for other in [other for other, same in fields.items() if same == field and other != index]:
            if normalise_heading(header.cells[other]) not in requested:
                fields[other] = ATTRIBUTE + header.names[other]
            elif field in _ONCE:
                sentence = f"also “{header.cells[other][:60]}” is mapped to {field}; expected one column for it."
                raise header.refusal(index, "mapping", sentence)
        fields[index] = field
    return fields


def missing_column_refusal(header: Header, column: str, aliases: Iterable[str], hint: str = "") -> FeedRefused:
    """Return the refusal of a header that lacks a required column, with the accepted and the existing headings."""
    accepted = ", ".join(list(aliases)[:6])
    existing = ", ".join(name for name in header.cells if name)
    sentence = (
        f"There is no column for the {column}; expected one of the headings {accepted}.{hint} "
        f"{f'Row {header.row} has' if header.row else 'There are'}: {existing[:200]}."
    )
    return file_refusal(sentence, cause="column_missing", row=header.row, column=column, value=existing)


def image_columns(header: Header, rows: Sequence[Record]) -> frozenset[int]:
    """Return the indices of the columns that hold addresses of images of the product and nothing else."""
    return frozenset(
        index
        for index, name in enumerate(header.names)
        if name
        and not any(word in name for word in _OTHER_IMAGES)
        and (parts := _parts(rows, index))
        and (any(word in name for word in _IMAGE_WORDS) or all(map(addresses.is_image, parts)))
    )


def _parts(rows: Sequence[Record], index: int) -> list[str]:
    """Return the addresses in a column; an empty list if one of its values is not an address."""
    web_addresses: list[str] = []
    for _, cells in rows:
        if index >= len(cells) or not (cell := cells[index].strip()):
            continue
        parts = [addresses.add_scheme(part) for part in addresses.split_images(cell)] if "/" in cell else [cell]
        if not all(map(addresses.is_web_address, parts)):
            return []
        web_addresses += parts
    return web_addresses


def address_column_remarks(
    header: Header, fields: Mapping[int, str], rows: Sequence[Record], chosen: Collection[str]
) -> list[str]:
    """Return sentences about columns of addresses that become attributes.

    chosen: headings for which people chose the field; they get no remark. Addresses of web pages get one only if the
    file has no images at all.
    """
    has_images = any(field in PHOTO_ROLES for field in fields.values())
    sentences = []
    for index, heading in enumerate(header.cells):
        if heading in chosen or not fields.get(index, "").startswith(ATTRIBUTE):
            continue
        parts = _parts(rows, index)
        are_images = all(map(addresses.is_image, parts))
        if parts and (are_images or not has_images):
            kind = "images" if are_images else "web pages or files"
            sentences.append(
                f"The column “{heading[:80]}” holds addresses of {kind} and is imported as an attribute. If they show "
                "the product, choose “More photos” for it under “Which column is what”."
            )
    return sentences
