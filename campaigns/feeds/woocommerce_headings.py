"""Translates the headings of WooCommerce's product export, which are in the language of the shop's admin.

Translations have changed over the years, so a heading may have several. Only headings that are read, or by which the
export is recognised, are listed.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace

from campaigns.feeds.base import Header, normalise_heading

# German, French, Spanish, Italian, Dutch, Polish, Portuguese, Russian.
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


def _composed(heading: str) -> str:
    return normalise_heading(unicodedata.normalize("NFC", heading))


_ENGLISH = {_composed(word): name for name, words in _WORDS.items() for word in words.split(",")}
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
