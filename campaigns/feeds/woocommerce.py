"""WooCommerce's product export: variable products and their variations in one file, attributes in numbered columns.

https://woocommerce.com/document/product-csv-importer-exporter/. Headings are in the language of the shop's admin. A
variation names its product in `Parent`, by SKU or as `id:12`. A product without a SKU also has the key `id:12`. While
reading, only the id and key of each variable product are kept in memory.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from campaigns.feeds import cells, columns
from campaigns.feeds.base import FeedRow, Header, normalise_heading
from campaigns.feeds.cells import Row
from campaigns.feeds.generic import GenericLayout, PlainTable, attribute

MARKERS = {"regular_price", "attribute_1_name", "is_featured", "visibility_in_catalog", "in_stock", "tax_status"}
ATTRIBUTES = {
    "regular_price": "price", "sale_price": "sale_price", "description": "description",
    "short_description": "short_description", "categories": "category", "tags": "tags", "brands": "brand",
    "gtin_upc_ean_or_isbn": "gtin",
}  # fmt: skip
STATES = {"1": "published", "0": "private", "-1": "draft"}
_IMAGES = re.compile(r",\s")
_VALUES = re.compile(r"(?<!\\),\s*")
_FIELD = re.compile(r"attribute_(\d+)_(name|value_s)")
# The headings that are read, or by which the export is recognised, in German, French, Spanish, Italian, Dutch, Polish,
# Portuguese and Russian. Translations have changed over the years, so a heading may have several.
_WORDS = {
    "type": "Typ, Type, Tipo, Тип",
    "sku": "Artikelnummer, Art.-Nr., SKU, UGS, Référence, COD, REF, Артикул",
    "name": "Name, Nom, Nombre, Nome, Naam, Nazwa, Имя, Название, Наименование",
    "published": "Veröffentlicht, Publié, Publicado, Pubblicato, Gepubliceerd, Opublikowano, Opublikowany, "
    "Опубликован, Опубликовано",
    "is_featured": "Ist hervorgehoben?, Hervorgehoben?, Empfohlen?, Mis en avant ?, ¿Está destacado?, In primo piano?, "
    "È in primo piano?, In evidenza?, Uitgelicht?, Is uitgelicht?, Wyróżniony produkt?, Wyróżniony?, Polecany?, "
    "Em destaque?, É destaque?, Рекомендуемый?, Избранный?",
    "visibility_in_catalog": "Sichtbarkeit im Katalog, Katalogsichtbarkeit, Visibilité dans le catalogue, "
    "Visibilidad en el catálogo, Visibilità nel catalogo, Zichtbaarheid in catalogus, Widoczność w katalogu, "
    "Visibilidade no catálogo, Видимость в каталоге",
    "short_description": "Kurzbeschreibung, Description courte, Descripción corta, Breve descrizione, "
    "Descrizione breve, Korte beschrijving, Korte omschrijving, Krótki opis, Descrição curta, Breve descrição, "
    "Краткое описание",
    "description": "Beschreibung, Description, Descripción, Descrizione, Beschrijving, Omschrijving, Opis, Descrição, "
    "Описание",
    "tax_status": "Steuerstatus, État de la TVA, Statut de la taxe, Estado del impuesto, Stato delle imposte, "
    "Stato imposta, Btw status, Belastingstatus, Status podatku, Status do imposto, Estado do imposto, Статус налога, "
    "Налоговый статус",
    "in_stock": "Vorrätig?, Auf Lager?, En stock ?, ¿En inventario?, ¿Existencias?, ¿Hay existencias?, In stock?, "
    "Disponibile?, In magazzino?, Op voorraad?, W magazynie?, Na stanie?, Em estoque?, Em stock?, В наличии?, Наличие?",
    "sale_price": "Angebotspreis, Tarif promo, Prix promo, Precio rebajado, Prezzo in offerta, Prezzo scontato, "
    "Actieprijs, Aanbiedingsprijs, Cena promocyjna, Preço promocional, Preço de promoção, Акционная цена, "
    "Цена распродажи",
    "regular_price": "Regulärer Preis, Normaler Preis, Preis, Tarif régulier, Tarif normal, Prix régulier, "
    "Prix normal, Precio normal, Precio regular, Prezzo di listino, Prezzo regolare, Prezzo normale, Reguliere prijs, "
    "Normale prijs, Cena regularna, Regularna cena, Cena, Preço normal, Preço regular, Preço, Базовая цена, "
    "Обычная цена, Цена",
    "categories": "Kategorien, Catégories, Categorías, Categorie, Categorieën, Kategorie, Categorias, Категории",
    "tags": "Schlagwörter, Schlagworte, Étiquettes, Etiquetas, Tag, Tags, Tagi, Метки",
    "brands": "Marken, Marques, Marcas, Marchi, Brand, Merken, Marki, Бренды",
    "images": "Bilder, Images, Imágenes, Immagini, Afbeeldingen, Obrazki, Obrazy, Imagens, Изображения",
    "parent": "Übergeordnetes Produkt, Übergeordnet, Elternprodukt, Eltern, Parent, Superior, Principal, Padre, "
    "Genitore, Hoofd, Bovenliggend, Element nadrzędny, Nadrzędny, Rodzic, Ascendente, Pai, Родительский, Родитель, "
    "Родительский товар",
    "attribute_0_name": "Attribut 0 Name, Nom de l’attribut 0, Nombre del atributo 0, Nome dell'attributo 0, "
    "Attributo 0 nome, Naam eigenschap 0, Eigenschap 0 naam, Nazwa atrybutu 0, Nome do atributo 0, Имя атрибута 0, "
    "Название атрибута 0",
    "attribute_0_value_s": "Attribut 0 Wert(e), Valeur(s) de l’attribut 0, Valor(es) del atributo 0, "
    "Valore(i) dell'attributo 0, Attributo 0 valore(i), Attributo 0 valuta(e), Waarde eigenschap 0, "
    "Waarde(n) eigenschap 0, Eigenschap 0 waarde(n), Wartości atrybutu 0, Wartość(ci) atrybutu 0, Wartość atrybutu 0, "
    "Valores do atributo 0, Valor(es) do atributo 0, Значение(-я) аттрибута(-ов) 0, Значение(-я) атрибута(-ов) 0, "
    "Значения атрибута 0",
}
_ENGLISH = {
    normalise_heading(unicodedata.normalize("NFC", word)): name
    for name, words in _WORDS.items()
    for word in words.split(",")
}
_DIGITS = re.compile(r"\d+")


def translate_headings(header: Header) -> Header:
    """Return the header with English names. Each is given once, to the first heading that means it."""
    names: list[str] = []
    for name in header.names:
        english = _english(name)
        names.append(name if english in header.names or english in names else english)
    return replace(header, names=tuple(names))


def _english(name: str) -> str:
    name = unicodedata.normalize("NFC", name)
    number = _DIGITS.search(name)
    if number is None:
        return _ENGLISH.get(name, name)
    english = _ENGLISH.get(_DIGITS.sub("0", name, count=1), "")
    return english.replace("0", number.group(), 1) if english else name


class WooCommerceTable(PlainTable):
    def __init__(self, header: Header, kind: str, fields: Mapping[int, str]) -> None:
        super().__init__(header, kind, fields)
        self.type, self.id = header.find(["type"]), header.find(["id"])
        self.published = header.find(["published"])
        indices = {match.groups(): i for i, name in enumerate(header.names) if (match := _FIELD.fullmatch(name))}
        self.pairs = [
            (index, indices[number, "value_s"])
            for (number, what), index in indices.items()
            if what == "name" and (number, "value_s") in indices
        ]
        self.names |= {"status"} if self.published is not None else set()
        self._keys: dict[str, str] = {}

    def key_of(self, row: Row, kind: str, name: str) -> str:
        number = row.read(self.id, str.strip, "")
        if row.has(self.indices.key):
            key = row.read(self.indices.key, cells.key, "")
        elif number:
            key = f"id:{number[:20]}"
        else:
            return super().key_of(row, kind, name)
        if number and self._type(row) == "variable":
            self._keys[number] = key
        return key

    def _type(self, row: Row) -> str:
        return row.read(self.type, str.strip, "").lower().partition(",")[0]

    def parent_of(self, row: Row) -> str:
        parent = super().parent_of(row)
        if parent.startswith("id:"):
            number = parent[3:].strip()
            return self._keys.get(number, f"id:{number}")
        return parent

    def rows_of(self, row: Row) -> Iterator[FeedRow]:
        index = self.indices.parent
        if index is not None and self._type(row) == "variation" and not row.has(index):
            sentence = "a variation has no parent; expected the SKU of its product, or id: and its number."
            row.add_issue(index, "parent_missing", sentence)
            return
        yield from super().rows_of(row)

    def variant(self, row: Row, kind: str, parent: str, key: str, name: str) -> FeedRow:
        # The name comes from the product's own row.
        return super().variant(row, kind, parent, key, "")

    def options(self, row: Row) -> dict[str, str]:
        taken = ((row.read(n, cells.text, ""), row.read(v, cells.text, "")) for n, v in self.pairs)
        return super().options(row) | {name: value for name, value in taken if name and value}

    def attributes(self, row: Row, names: Mapping[int, str]) -> dict[str, str]:
        attributes = super().attributes(row, names)
        if state := row.read(self.published, str.strip, ""):
            attributes["status"] = STATES.get(state, state)
        if names is not self.as_attributes:
            return attributes
        for index, values in self.pairs:
            name, value = row.read(index, cells.text, ""), row.read(values, cells.text, "")
            several = [part.replace("\\,", ",") for part in _VALUES.split(value) if part]
            # An attribute in which the variations differ is not an attribute of the variable product.
            if name and several and (len(several) == 1 or self._type(row) != "variable"):
                attributes[attribute(name)] = ", ".join(several)
            self.names |= {attribute(name)} if name else set()
        return attributes

    def reader(self, name: str) -> Callable[[str], str]:
        is_long = name in ("description", "short_description")
        return (lambda cell: cells.description(cell.replace("\\n", "\n"))) if is_long else cells.text

    def sources(self, cell: str) -> tuple[str, ...]:
        return cells.photos(_IMAGES.sub("\n", cell) if "//" not in cell else cell)


class WooCommerceLayout(GenericLayout):
    """SKU or ID, type, name, and at least two more of WooCommerce's headings."""

    name = "woocommerce"
    label = "WooCommerce"

    def matches(self, header: Header) -> bool:
        names = set(translate_headings(header).names)
        return {"type", "name"} <= names and bool({"sku", "id"} & names) and len(MARKERS & names) >= 2

    def suggest(self, header: Header) -> dict[int, str]:
        fields: dict[int, str] = {}
        simple = {"sku": columns.KEY, "name": columns.NAME, "parent": columns.PARENT, "images": columns.PHOTO}
        structure = {"id", "type", "published"}
        header = translate_headings(header)
        for index, name in enumerate(header.names):
            if name in simple:
                fields[index] = simple[name]
            elif name in structure or _FIELD.fullmatch(name):
                fields[index] = columns.LAYOUT
            elif name in ATTRIBUTES:
                fields[index] = columns.ATTRIBUTE + ATTRIBUTES[name]
            elif name:
                fields[index] = columns.PHOTOS_MORE if index in header.images else columns.IGNORE
        if "sku" not in header.names and (number := header.find(["id"])) is not None:
            fields[number] = columns.KEY
        return fields

    def bind(self, header: Header, kind: str, fields: Mapping[int, str]) -> WooCommerceTable:
        return WooCommerceTable(translate_headings(header), kind, fields)
