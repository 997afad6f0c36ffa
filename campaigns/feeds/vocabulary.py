"""The headings that feeds use for the same field, normalised. All other headings become attributes."""

from __future__ import annotations

KEY = (
    "sku", "article_number", "item_number", "product_number", "product_code", "item_code", "artikelnummer",
    "artikel_nr", "art_nr", "variant_sku", "product_id", "id", "key", "code", "handle", "url_handle", "slug",
)  # fmt: skip
NAME = (
    "name", "title", "product_name", "product_title", "item_name", "bezeichnung", "produktname", "artikelname",
    "titel", "headline",
)  # fmt: skip
KIND = ("kind", "subject_kind")
KINDS = ("product", "article", "concept")
PARENT = (
    "parent_sku", "parent_key", "item_group_id", "parent", "parent_id", "parent_code", "master_sku", "group_id",
    "hauptartikel", "hauptartikelnummer",
)  # fmt: skip
PHOTO = (
    "photo", "image", "image_link", "photo_url", "image_url", "image_src", "picture", "photo_file", "image_file",
    "main_image", "base_image", "bild", "foto", "photos", "images", "pictures", "image_urls", "image_links",
    "photo_urls", "picture_url", "main_image_url", "main_image_link", "primary_image", "primary_image_url",
    "featured_image", "product_image", "product_images", "bilder", "bild_url", "bildlink", "produktbild",
    "produktbilder", "fotos", "foto_url", "imagen", "imagenes", "imágenes", "immagine", "immagini", "afbeelding",
    "afbeeldingen", "zdjęcie", "zdjęcia", "zdjecie", "zdjecia", "imagem", "imagens", "изображение", "изображения",
    "фото", "картинка", "картинки",
)  # fmt: skip
MORE_PHOTOS = (
    "additional_image_link", "additional_image_links", "additional_images", "more_photos", "more_images",
    "weitere_bilder",
)  # fmt: skip
ROLES = ("front", "angle", "inner", "detail")
#: Heading -> role of its images; images of other headings are front views.
PHOTO_ROLES = {
    **{f"{noun}_{role}": role for noun in ("photo", "image", "picture") for role in ROLES},
    **{f"{role}_{noun}": role for noun in ("photo", "image") for role in ROLES},
}
ALT = ("alt", "alt_text", "image_alt", "image_alt_text", "photo_alt")
POSITION = ("position", "image_position", "photo_position")
HEX = ("hex", "colour_hex", "color_hex", "hex_colour", "hex_color", "hex_code", "farbcode")
#: Heading -> attribute name, for attributes that placeholders read by one name.
ATTRIBUTES = {
    "colour": "colour", "color": "colour", "farbe": "colour", "colour_name": "colour", "color_name": "colour",
    "material": "material", "werkstoff": "material", "price": "price", "preis": "price", "price_eur": "price",
    "price_usd": "price", "price_gbp": "price",
}  # fmt: skip
#: Heading -> option, for columns that tell the variants of a product apart.
OPTIONS = {
    "size": "Size", "grösse": "Size", "größe": "Size", "groesse": "Size", "colour": "Colour", "color": "Colour",
    "farbe": "Colour", "material": "Material", "pattern": "Pattern", "muster": "Pattern", "style": "Style",
    "capacity": "Capacity",
}  # fmt: skip
#: Attribute names whose values are amounts of money.
PRICES = {
    "price", "sale_price", "special_price", "compare_at_price", "list_price", "retail_price", "msrp", "cost",
    "cost_per_item", "variant_price", "variant_compare_at_price",
}  # fmt: skip
KNOWN_HEADINGS = frozenset().union(
    KEY, NAME, KIND, PARENT, OPTIONS, PHOTO, MORE_PHOTOS, PHOTO_ROLES, ALT, POSITION, HEX, ATTRIBUTES, PRICES
)
