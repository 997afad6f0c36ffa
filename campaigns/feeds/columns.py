"""The fields that a column can be mapped to, and the usual headings of each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from campaigns.feeds import vocabulary
from campaigns.feeds.base import FeedRefused, Header, file_refusal, normalise_heading


@dataclass(frozen=True)
class Field:
    """A field that a column can be mapped to. A name that ends in a colon takes a text: `attribute:colour`."""

    name: str
    label: str
    help: str


KEY, NAME, KIND, PARENT, ALT, HEX = "key", "name", "kind", "parent", "alt", "hex"
PHOTO, PHOTOS_MORE, IGNORE, LAYOUT = "photo", "photos_more", "ignore", "layout"
OPTION, ATTRIBUTE = "option:", "attribute:"

FIELDS: tuple[Field, ...] = (
    Field(KEY, "SKU or key", "What names the product in every file. Once per file."),
    Field(NAME, "Name or title", "What people call it; of an article or concept, its title."),
    Field(PHOTO, "Front photo", "Web address or file name of the photo that shows it from the front."),
    Field(PHOTOS_MORE, "More photos", "One or several photos, separated by | or line breaks (addresses: by commas)."),
    Field(ALT, "Alt text", "What the front photo shows, in words."),
    Field(ATTRIBUTE, "Attribute", "What prompts can name: colour, material, price …"),
    Field(HEX, "Hex colour", "The product's colour as #7a8f6a."),
    Field(PARENT, "Parent product", "The SKU of the product that this row is a variant of; empty for the product."),
    Field(OPTION, "Variant option", "What tells variants of a product apart: size, colour …"),
    Field(KIND, "Kind", "product, article or concept, if the file mixes them."),
    Field(LAYOUT, "As the shop's export means it", "Read by the rules of the export that this file comes from."),
    Field(IGNORE, "Leave out", "The column is not imported."),
)
# Prefixes that nested data gives to the columns of a table.
_INNER = re.compile(r"^(?:options|attributes)_")
_IMAGE = re.compile(r"(?:images?|photos?|pictures?|media)(?:_(?:image|photo|picture))?_(?:urls?|src|links?|href|file)")
_ONCE = {KEY, NAME, KIND, PARENT, ALT, HEX}
_PLAIN = {field.name for field in FIELDS if not field.name.endswith(":")}
PHOTO_ROLES = {PHOTO: "front", PHOTOS_MORE: "angle", "photo:inner": "inner", "photo:detail": "detail"}


def is_field(name: str) -> bool:
    """Return True for a plain field, a photo role, and `option:` or `attribute:` with a text after the colon."""
    prefix, colon, text = name.partition(":")
    if not colon:
        return name in _PLAIN
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
        role = vocabulary.PHOTO_ROLES[name]
        return next(field for field, candidate in PHOTO_ROLES.items() if candidate == role)
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
            names = ", ".join(each.name + ("…" if each.name.endswith(":") else "") for each in FIELDS)
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
