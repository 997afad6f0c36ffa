"""Tests of exports from shops in other languages, with rows above the headings and group names."""

from __future__ import annotations

import pytest

from campaigns.feeds import cells, woocommerce
from campaigns.feeds.generic import strip_options
from tests.campaigns.test_feeds_markup import table
from tests.support.feed_files import only_issue, opened, parsed, xlsx

# ID, type, SKU, name, published, featured, visibility, short description, description, in stock, sale price,
# regular price, categories, tags, images, parent, name and values of attribute 1.
EXPORTS = {
    "German": (
        "ID,Typ,Artikelnummer,Name,Veröffentlicht,Ist hervorgehoben?,Sichtbarkeit im Katalog,Kurzbeschreibung,"
        "Beschreibung,Vorrätig?,Angebotspreis,Regulärer Preis,Kategorien,Schlagwörter,Bilder,Übergeordnetes Produkt,"
        "Attribut 1 Name,Attribut 1 Wert(e)"
    ),
    "French": (
        "ID,Type,UGS,Nom,Publié,Mis en avant ?,Visibilité dans le catalogue,Description courte,Description,En stock ?,"
        "Tarif promo,Tarif régulier,Catégories,Étiquettes,Images,Parent,Nom de l’attribut 1,Valeur(s) de l’attribut 1"
    ),
    "Spanish": (
        "ID,Tipo,SKU,Nombre,Publicado,¿Está destacado?,Visibilidad en el catálogo,Descripción corta,Descripción,"
        "¿En inventario?,Precio rebajado,Precio normal,Categorías,Etiquetas,Imágenes,Superior,Nombre del atributo 1,"
        "Valor(es) del atributo 1"
    ),
    "Italian": (
        "ID,Tipo,SKU,Nome,Pubblicato,In primo piano?,Visibilità nel catalogo,Breve descrizione,Descrizione,In stock?,"
        "Prezzo in offerta,Prezzo di listino,Categorie,Tag,Immagini,Genitore,Attributo 1 nome,Attributo 1 valuta(e)"
    ),
    "Dutch": (
        "ID,Type,Artikelnummer,Naam,Gepubliceerd,Uitgelicht?,Zichtbaarheid in catalogus,Korte omschrijving,"
        "Beschrijving,Op voorraad?,Actieprijs,Reguliere prijs,Categorieën,Tags,Afbeeldingen,Hoofd,Naam eigenschap 1,"
        "Waarde eigenschap 1"
    ),
    "Polish": (
        "ID,Typ,SKU,Nazwa,Opublikowano,Wyróżniony produkt?,Widoczność w katalogu,Krótki opis,Opis,W magazynie?,"
        "Cena promocyjna,Cena,Kategorie,Tagi,Obrazki,Element nadrzędny,Nazwa atrybutu 1,Wartości atrybutu 1"
    ),
    "Portuguese": (
        "ID,Tipo,SKU,Nome,Publicado,Em destaque?,Visibilidade no catálogo,Descrição curta,Descrição,Em estoque?,"
        "Preço promocional,Preço,Categorias,Tags,Imagens,Ascendente,Nome do atributo 1,Valores do atributo 1"
    ),
    "Russian": (
        "ID,Тип,Артикул,Имя,Опубликован,рекомендуемый?,Видимость в каталоге,Краткое описание,Описание,В наличии?,"
        "Акционная цена,Базовая цена,Категории,Метки,Изображения,Родительский,Имя атрибута 1,"
        "Значение(-я) аттрибута(-ов) 1"
    ),
}
PRODUCT = ["10", "variable", "TASSE", "Tasse Ada", "1", "0", "visible", "", "<p>Eine Tasse</p>", "1", "", "",
           "Geschirr", "", "https://shop.example/a.jpg, https://shop.example/b.jpg", "", "Farbe",
           "Salbei, Ton"]  # fmt: skip
VARIATION = ["11", "variation", "TASSE-S", "Tasse Ada - Salbei", "1", "0", "visible", "", "", "1", "", "12,90", "", "",
             "https://shop.example/s.jpg", "TASSE", "Farbe", "Salbei"]  # fmt: skip


@pytest.mark.parametrize("language", EXPORTS)
@pytest.mark.parametrize("write", [str, str.upper], ids=["as written", "upper case"])
def test_a_woocommerce_export_is_read_in_every_language(language: str, write: type[str]) -> None:
    feed = table(write(EXPORTS[language]).split(","), PRODUCT, VARIATION)
    rows, issues = parsed(feed)
    assert not issues
    assert opened(feed).dialect["layout"] == "woocommerce"
    product, variation = rows
    assert (product.key, product.name, len(product.photos)) == ("TASSE", "Tasse Ada", 2)
    assert product.attributes == {"description": "Eine Tasse", "category": "Geschirr", "status": "published"}
    assert (variation.key, variation.parent_key, variation.options) == ("TASSE-S", "TASSE", {"Farbe": "Salbei"})
    assert variation.attributes["price"] == "12.90"


def test_an_english_export_keeps_its_headings() -> None:
    header = cells.read_header(
        (1, ["ID", "Type", "SKU", "Name", "Regular price", "Attribute 12 name", "Images", "Parent"])
    )
    assert woocommerce.translate_headings(header).names == header.names


def test_columns_of_a_localised_export_can_be_left_out_and_mistakes_name_its_headings() -> None:
    feed = table(EXPORTS["German"].split(","), PRODUCT, [*VARIATION[:11], "zwölf", *VARIATION[12:]])
    assert only_issue(feed).column == "Regulärer Preis"
    assert not parsed(feed, mapping={"Regulärer Preis": "ignore"})[1]


META = (
    "# Required | A unique ID for the item,# Required | A title,# Required | Price,# Required | Image URL,"
    "# Optional | Tags,# Optional | Tags\n"
)


@pytest.mark.parametrize(
    "above",
    [
        META,
        META + META,
        '"# Required | The ID, at most 100 characters","# Required | A title","# Optional"\n',
        "# Made by Kiln, 2026\n",
        "\n# Made by Kiln | 2026\n\n",
        "// nightly export\n",
    ],
)
def test_comments_above_the_headings_are_passed_over(above: str) -> None:
    feed = above + (
        "id,title,price,image_link,product_tags[0],product_tags[1]\nA1,Mug,12.90 EUR,https://s.example/1.jpg,a,b\n"
    )
    rows, issues = parsed(feed)
    assert not issues
    assert [(row.key, row.name, row.attributes["price"]) for row in rows] == [("A1", "Mug", "12.90")]
    assert opened(feed).dialect["delimiter"] == ","


def test_comments_above_the_headings_of_a_workbook_are_passed_over() -> None:
    rows, issues = parsed(xlsx([["# Required", "# Required"], ["sku", "name"], ["1", "Mug"]]))
    assert (rows[0].key, rows[0].row, issues) == ("1", 3, [])


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_title_above_the_headings_is_named_whatever_signs_are_in_it(delimiter: str) -> None:
    feed = "Products | Autumn, 2026; shop\n" + "sku,name,price\n1,Mug,5\n".replace(",", delimiter)
    issue = only_issue(feed)
    assert (issue.cause, issue.cell) == ("header_below", "A1")
    assert "they stand in row 2" in issue.message


def test_a_heading_that_begins_with_a_number_sign_is_a_heading() -> None:
    rows, issues = parsed("# pieces,sku,name\n1,A1,Mug\n2,A2,Cup\n")
    assert ([row.key for row in rows], issues) == (["A1", "A2"], [])


@pytest.mark.parametrize(
    ("name", "options", "short"),
    [
        ("Mug Ada - Colour Sage - Size S", {"Colour": "Sage", "Size": "S"}, "Mug Ada"),
        ("Mug Ada - Color: Sage, Size: S", {"Colour": "Sage", "Size": "S"}, "Mug Ada"),
        ("Tasse Ada, Farbe Salbei, Größe M", {"Colour": "Salbei", "Size": "M"}, "Tasse Ada"),
        ("Mug Ada (Sage / S)", {"Colour": "Sage", "Size": "S"}, "Mug Ada"),
        ("Mug Ada – Dark Sage Green", {"Colour": "Dark Sage Green"}, "Mug Ada"),
        ("Mug Ada | Glaze = sage", {"Glaze": "Sage"}, "Mug Ada"),
        ("Mug Ada sage M", {"Size": "M", "Colour": "Sage"}, "Mug Ada"),
        ("T-Shirt-Sage", {"Colour": "Sage"}, "T-Shirt-Sage"),
        ("Passage", {"Colour": "sage"}, "Passage"),
        ("Sage", {"Colour": "Sage"}, "Sage"),
        ("Colour Sage", {"Colour": "Sage"}, "Colour Sage"),
        ("Mug Ada", {"Size": ""}, "Mug Ada"),
    ],
)
def test_a_group_is_named_without_options_and_their_labels(name: str, options: dict[str, str], short: str) -> None:
    assert strip_options(name, options) == short


def test_a_google_group_has_the_name_without_labelled_options() -> None:
    rows, issues = parsed(
        "id,item_group_id,title,color,size,image_link,availability\n"
        "1,G,Mug Ada - Colour Sage - Size S,Sage,S,https://a.example/1.jpg,in stock\n"
        "2,G,Mug Ada - Colour Clay - Size M,Clay,M,https://a.example/2.jpg,in stock\n"
    )
    assert not issues
    assert [row.name for row in rows] == ["Mug Ada", "Mug Ada"]
