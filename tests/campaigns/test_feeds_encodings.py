"""Tests of older text encodings: detection, and the choice that people get when it is not certain."""

from __future__ import annotations

import io
import json
import time

import pytest
from django.test import Client
from django.urls import reverse

from campaigns.feeds import encodings
from campaigns.models import FeedImport, Subject
from campaigns.services import imports
from core.errors import Invalid
from core.models import Brand, User
from tests.support.feed_files import only_issue, opened, parsed

GERMAN = "sku;name;preis;farbe\nA-1;Größe M – Teller Käthe;12,90;grün\nA-2;Schüssel für Äpfel;19,90;weiß\n"
POLISH = "sku;nazwa;name\nK-1;Żółty kubek, łódź;Kubek\nK-2;Talerz głęboki średni;Talerz\n"
CZECH = "sku;název;name\nK-1;Žlutý hrnek s příšerně dlouhým uchem;Hrnek\n"
HUNGARIAN = "sku;név;name\nK-1;Kék bögre őszi mintával, fűzöld;Bögre\n"
RUSSIAN = "sku;цвет;name\nA-1;синяя кружка;Кружка\nA-2;глубокая;Тарелка\n"
GREEK = "sku;χρώμα;name\n1;μπλε;Κούπα\n2;λευκό;Πιάτο βαθύ\n"
TURKISH = "sku;renk;name\n1;kırmızı, şık;Çay bardağı\n2;gümüş;Büyük tabak\n"
CHINESE = "sku,name,color\n1,蓝色马克杯,蓝色\n2,深盘子,白色\n"
TAIWANESE = "sku,name,color\n1,藍色馬克杯,藍色\n2,深盤子,白色\n"
JAPANESE = "sku,name,color\n1,青いマグカップ,青色\n2,深い皿,白い\n"
KOREAN = "sku,name,color\n1,파란 머그컵,파랑\n2,깊은 접시,하양\n"
# These bytes are not text in any encoding that shops use.
NONSENSE = b"sku,name\n" + b"".join(b"%d,a\x81\x05b\x8dc\x9dd\xff\x81e\n" % number for number in range(3))


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (GERMAN, "mac_roman"),
        (GERMAN, "cp1252"),
        (GERMAN.replace(" –", ","), "cp850"),
        ("sku,name\n1,Café\n", "mac_roman"),
        ("sku,name\n1,Café\n", "cp1252"),
        ("sku,name\n1,Taza pequeña\n", "mac_roman"),
        ("sku,name\n1,Tasse à café crème brûlée\n", "cp1252"),
        ("sku,name\n1,Mug “Ada” – it’s blue\n", "mac_roman"),
        ("sku,name\n1,GRÖSSE MÜLLER\n", "cp1252"),
        ("sku,name,note\n1,Mug,up to 90 °C\n", "cp1252"),
        ("sku,name,price\n1,Mug,5 €\n2,Cup,6 €\n", "cp1252"),
        (POLISH, "cp1250"),
        (POLISH, "iso8859_2"),
        (POLISH, "cp852"),
        (CZECH, "cp1250"),
        (HUNGARIAN, "cp1250"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8_r"),
        (RUSSIAN, "cp866"),
        (GREEK, "cp1253"),
        (TURKISH, "cp1254"),
        (CHINESE, "gbk"),
        (TAIWANESE, "big5"),
        (JAPANESE, "cp932"),
        (KOREAN, "euc_kr"),
    ],
)
def test_the_encoding_of_a_table_is_recognised(text: str, encoding: str) -> None:
    feed = text.encode(encoding)
    rows, issues = parsed(feed)
    assert not issues
    expected, _ = parsed(text)
    assert [(row.name, dict(row.attributes)) for row in rows] == [(row.name, dict(row.attributes)) for row in expected]
    shown = opened(feed).dialect["encoding_examples"]
    assert shown and all(example in text for example in shown)


def test_a_text_in_utf8_offers_nothing_to_choose() -> None:
    assert "encoding_examples" not in opened(GERMAN).dialect
    assert opened(GERMAN, encoding="cp1251").dialect["encoding"] == "utf-8"


@pytest.mark.parametrize("encoding", ["cp1252", "mac_roman", "cp1250", "cp1251", "gb18030"])
def test_the_encoding_that_people_choose_is_used(encoding: str) -> None:
    feed = opened(GERMAN.encode("mac_roman"), encoding=encoding)
    assert feed.dialect["encoding"] == encoding
    if encoding == "mac_roman":
        assert [row.name for row in feed.rows() if hasattr(row, "name")] == [  # type: ignore[union-attr]
            "Größe M – Teller Käthe", "Schüssel für Äpfel"
        ]  # fmt: skip


def test_a_text_that_fits_no_encoding_is_refused_and_says_what_to_do() -> None:
    issue = only_issue(NONSENSE)
    assert issue.cause == "encoding"
    assert "Choose the encoding, or save the file as UTF-8." in issue.message


def test_json_lines_and_lists_of_titles_are_recognised_too() -> None:
    lines = json.dumps({"sku": "1", "name": "Größe für Käthe"}, ensure_ascii=False).encode("mac_roman") + b"\n"
    assert parsed(lines * 2)[0][0].name == "Größe für Käthe"
    assert parsed("Größe für Käthe\nÄpfel\n".encode("mac_roman"), kind="article")[0][0].name == "Größe für Käthe"


def test_guessing_takes_no_longer_for_a_long_text() -> None:
    started = time.process_time()
    for sample in (GERMAN.encode("cp1252") * 20_000, bytes(range(128, 256)) * 20_000, b"\x81" * 1_000_000):
        encodings.guess_encoding(sample)
        encodings.examples(sample, "cp1252")
    assert time.process_time() - started < 3


def upload_feed(brand: Brand, manager: User, data: bytes) -> FeedImport:
    return imports.upload(brand=brand, file=io.BytesIO(data), file_name="mac.csv", by=manager)


def test_another_encoding_can_be_chosen_on_the_page(client: Client, brand: Brand, manager: User) -> None:
    feed_import = upload_feed(brand, manager, GERMAN.encode("mac_roman"))
    client.force_login(manager)
    page = client.get(reverse("import_detail", args=[brand.slug, feed_import.pk])).content.decode()
    assert "The file is not in UTF-8" in page
    assert "Größe M – Teller Käthe" in page and "Mac Roman" in page and "Grš§e M Ð Teller KŠthe" in page
    client.post(reverse("import_encoding", args=[brand.slug, feed_import.pk]), {"encoding": "cp1252"})
    feed_import.refresh_from_db()
    assert (feed_import.encoding, feed_import.dialect["encoding"]) == ("cp1252", "cp1252")
    assert feed_import.dialect["encoding_examples"][0] == "Grš§e M Ð Teller KŠthe"
    imports.check_again(import_id=feed_import.pk, by=manager, encoding="")
    imports.apply(import_id=feed_import.pk, by=manager)
    assert Subject.objects.get(key="A-1").name == "Größe M – Teller Käthe"


def test_a_file_that_was_refused_for_its_encoding_is_read_as_chosen(
    brand: Brand, manager: User, client: Client
) -> None:
    feed_import = upload_feed(brand, manager, NONSENSE.replace(b"\x05", b""))
    assert feed_import.issue_counts == {"encoding": 1}
    client.force_login(manager)
    page = client.get(reverse("import_detail", args=[brand.slug, feed_import.pk])).content.decode()
    assert "Choose the encoding in which its words are right." in page and "Choose the encoding above." in page
    assert imports.check_again(import_id=feed_import.pk, by=manager, encoding="cp850").rows == 3


def test_an_unknown_encoding_is_refused(brand: Brand, manager: User) -> None:
    feed_import = upload_feed(brand, manager, GERMAN.encode("mac_roman"))
    with pytest.raises(Invalid, match="known are cp1252, mac_roman"):
        imports.check_again(import_id=feed_import.pk, by=manager, encoding="rot13")
