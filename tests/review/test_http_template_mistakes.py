"""Test the YAML of HTTP templates: each mistake is named with its place, and no value leaves its place."""

from __future__ import annotations

import email.policy
import json
from email import message_from_bytes
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from review.delivery.base import DeliveryError
from review.delivery.http_template import mistakes
from review.delivery.http_template.destination import EXAMPLE, HttpTemplate
from review.delivery.http_template.placeholders import Text
from review.delivery.http_template.requests import Content, Sender, _form, fill_json

UPLOAD = """\
upload:
  method: POST
  url: /files
  multipart: {file: "{file}"}
  answer: {id: /data/id}
"""


def find_mistakes(text: str) -> list[str]:
    with pytest.raises(mistakes.Mistakes) as refusal:
        mistakes.read(text)
    return refusal.value.sentences


def test_the_example_of_the_form_has_no_mistake() -> None:
    assert mistakes.read(EXAMPLE).upload.multipart == {"title": "{title}", "file": "{file}"}
    assert mistakes.read(UPLOAD).is_exact is False


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "It has “upload:”"),
        ("- a", "It has “upload:”"),
        ("find: {}", "“upload”: It is missing."),
        ("upload: x", "“upload” (line 1): Write lines of “name: value” below it."),
        (UPLOAD + "uplaod: {}", "“uplaod” (line 6): It is not known. Did you mean “upload”?"),
        (UPLOAD.replace("url:", "urll:"), "“upload → urll” (line 3): It is not known. Did you mean “url”?"),
        (UPLOAD.replace("POST", "post"), "“upload → method” (line 2): It is GET, POST, PUT, PATCH or DELETE."),
        (UPLOAD.replace("POST", "GET"), "“upload → multipart” (line 4): A GET has no body."),
        (UPLOAD + "  success: 201", "“upload → success” (line 6): Write a list of statuses, such as [200, 201]."),
        (UPLOAD + '  success: ["201"]', "“upload → success → 1” (line 6): Write a list of statuses"),
        (UPLOAD + "  headers: {X-Live: true}", "“upload → headers → X-Live” (line 6): Write a text, in quotes."),
        (UPLOAD + "  headers: [a]", "“upload → headers” (line 6): Write lines of “name: value” below it."),
        (UPLOAD + "  headers: {X Live: a}", "The name of a header has letters, digits and hyphens."),
        (UPLOAD + "  headers: {Host: a}", "Leave it out: it is set when the request is sent."),
        (UPLOAD + "  headers: {X-A: über}", "A header is one line of plain ASCII."),
        (UPLOAD + '  headers: {X-A: "a\\r\\nX-B: b"}', "A header is one line of plain ASCII."),
        (UPLOAD + "  headers: {Content-Type: a/b}", "Leave it out: it follows from the body."),
        (UPLOAD + "headers: {Authorization: Bearer abc}", "“headers → Authorization” (line 6): Write {secret}"),
        (UPLOAD + "headers: {X-Api-Key: abc}", "“headers → X-Api-Key” (line 6): Write {secret}"),
        (UPLOAD + "  query: {access_token: abc}", "“upload → query → access_token” (line 6): Write {secret}"),
        (UPLOAD + 'headers: {X-A: "{sku}"}', "There is no placeholder {sku} here"),
        (UPLOAD + "  raw: '{file}'", "“upload → multipart” (line 4): A request has one body; there is “raw” already."),
        (UPLOAD.replace("{file}", "{fil}"), "“upload → multipart → file” (line 4): There is no placeholder {fil}"),
        (UPLOAD.replace("{file}", "{file.nam}"), "Did you mean {file.name}?"),
        (UPLOAD.replace("{file}", "x {file}"), "{file} stands alone"),
        (UPLOAD.replace("{file}", "{"), "There is a lone “{”. Write it twice if it is no placeholder."),
        (UPLOAD.replace("{file}", "{title}"), "One field has the value “{file}”"),
        (UPLOAD.replace('multipart: {file: "{file}"}', 'json: {a: "{title}"}'), "It does not send the file"),
        (UPLOAD.replace('multipart: {file: "{file}"}', 'json: [{a: ["{tilte}"]}]'), "json → 1 → a → 1” (line 4)"),
        (UPLOAD.replace('multipart: {file: "{file}"}', "json: {a: .nan}"), "This value cannot be sent"),
        (UPLOAD.replace('multipart: {file: "{file}"}', 'raw: "a {title}"'), "“upload → raw” (line 4): Write “{file}”"),
        (UPLOAD.replace("/files", "files"), "“upload → url” (line 3): Write a path that begins with /"),
        (UPLOAD.replace("/files", '"https://{sku}.example.com/a"'), "whose host has no placeholder"),
        (UPLOAD.replace("/files", '"https://a{sku}/"'), "whose host has no placeholder"),
        (UPLOAD.replace("/files", "/files?a=b"), "Write what follows the “?” as lines below “query”"),
        (UPLOAD.replace("/files", "/files/../a"), "An address has no “.” or “..”"),
        (UPLOAD.replace("/data/id", "data.id"), "“upload → answer → id” (line 5): Write a JSON pointer"),
        (UPLOAD.replace("{id: /data/id}", '{address: "/a/{id}"}'), "Say where the answer has it: id: /data/id."),
        (UPLOAD + "delete: {method: DELETE, url: /files}", "“delete” (line 6): It does not say which file: use {id}"),
        (UPLOAD.replace("id: /data/id", "") + 'delete: {method: DELETE, url: "/f/{id}"}', "It uses {id}."),
        (UPLOAD + 'delete: {method: DELETE, url: "/f/{id}", raw: "{file}"}', "“delete → raw” (line 6): Only an upload"),
        (UPLOAD + "find: {method: GET, url: /f}", "“find → answer” (line 6): It is missing."),
        (UPLOAD + "find: {method: GET, url: /f, answer: {id: /id}}", "“find → answer → match” (line 6): It is"),
        (UPLOAD + "find: {method: GET, url: /f, answer: {id: /id, match: {}}}", "so that no other file is taken for"),
        (UPLOAD + 'find: {method: GET, url: /f, answer: {match: {/n: "{file.name}"}}}', "answer → id” (line 6): It is"),
        (UPLOAD + 'test: {method: GET, url: "/f/{sku}"}', "There is no placeholder {sku} here"),
        ("upload: {method: POST", "Line 1: "),
        ("upload: {method: {file}}", "It is GET, POST"),
        ("a: &x 1\nb: *x", "Line 2: References (*) cannot be used"),
        ("a: 1\na: 2", "Line 2: “a” is there twice"),
        ("a: !!python/object/apply:os.system [ls]", "Line 1: could not determine a constructor"),
        ("[" * 300, "It has more than 20 levels"),
        ("x" * 20_001, "It has 20,001 characters; write at most 20,000."),
        ("? [a, b]\n: c", "Line 1: A name is a text"),
        ("200: a", "“200” (line 1): It is not known"),
        ("a: \x00", "This is no YAML"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place(text: str, words: str) -> None:
    sentences = find_mistakes(text)
    assert any(words in sentence for sentence in sentences), sentences
    assert all(sentence.endswith((".", "?")) for sentence in sentences), sentences


def test_all_mistakes_are_named_at_once() -> None:
    sentences = find_mistakes(UPLOAD.replace("POST", "PUSH").replace("/data/id", "{}") + "fnd: {}\nheaders: 3")
    places = [sentence.split(" (")[0] for sentence in sentences]
    assert places == ["“upload → method”", "“upload → answer → id”", "“fnd”", "“headers”"]


def test_the_form_gets_the_mistakes_at_its_field() -> None:
    config = {"url": "https://cms.example.com", "template": UPLOAD.replace("POST", "PUSH")}
    [(name, sentence)] = HttpTemplate.config.problems(config)
    assert name == "template" and sentence.startswith("“upload → method” (line 2): ")


def test_a_login_needs_its_secret_and_the_secret_is_one_line() -> None:
    config = {"url": "https://cms.example.com", "template": EXAMPLE}
    assert HttpTemplate(config, "").validate() == ["secret: the template has {secret}: enter it."]
    assert HttpTemplate(config, "abc\r\nX-Admin: 1").validate() == ["secret: expected one line of plain ASCII."]
    assert HttpTemplate(config, "abc").validate() == []


# -- values stay in their places --------------------------------------------------------------------------------------

HOSTILE = st.text() | st.sampled_from(
    ["../../admin", "..", "a/b?c=d#e", "x\r\nX-Admin: 1", '"; filename="evil.php', '","a":true,"', "{secret}", "%2e%2e"]
)  # fmt: skip


def sender(text: str = EXAMPLE) -> Sender:
    plugin = HttpTemplate({"url": "https://cms.example.com", "template": text}, "user:pass word+1")
    return plugin.sender


@given(HOSTILE)
def test_a_value_in_an_address_is_one_segment_or_refused(value: str) -> None:
    text = Text("/files/{id}/meta")
    try:
        address = text.fill_path({"id": value}, "delete → url")
    except (DeliveryError, UnicodeEncodeError):
        return
    assert value not in {"", ".", ".."}
    parts = urlsplit(address)
    assert address.isascii() and address.count("/") == 3 and not parts.query and not parts.fragment


@given(HOSTILE)
def test_a_value_in_a_header_is_one_line_of_ascii(value: str) -> None:
    try:
        header = Text('attachment; filename="{file.name}"').fill_header({"file.name": value})
    except UnicodeEncodeError:
        return
    assert header.isascii() and header.isprintable() and header.count('"') == 2


@given(HOSTILE)
def test_a_value_in_json_is_one_string(value: str) -> None:
    filled: Any = fill_json({"a": "{title}", "b": ["x {title}"]}, {"title": value})
    assert json.loads(json.dumps(filled)) == {"a": value, "b": [f"x {value}"]}


@given(HOSTILE.filter(lambda value: value.isprintable()))
def test_a_value_in_a_form_is_one_field(value: str) -> None:
    parts: Any = {"title": "{title}", "info": {"name": "{title}"}, "file": "{file}"}
    body, content_type = _form(parts, {"title": value}, Content("a.jpg", "image/jpeg", b"\xff\xd8"))
    message = message_from_bytes(
        b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body, policy=email.policy.HTTP
    )
    contents: list[Any] = [part.get_payload(decode=True) for part in message.iter_parts()]  # type: ignore[attr-defined]
    assert [contents[0].decode(), json.loads(contents[1]), contents[2]] == [value, {"name": value}, b"\xff\xd8"]


@given(st.integers(8, 16))
def test_the_secret_is_hidden_in_each_form_in_which_it_is_sent(length: int) -> None:
    hide = sender().hide
    for form in (
        "user:pass word+1",
        "user%3Apass%20word%2B1",
        "user%3Apass+word%2B1",
        "dXNlcjpwYXNzIHdvcmQrMQ==",
        "pass word+1",
    ):
        assert hide(f"a {form} b") == "a … b"
    cut = hide("answered 401: user:pass word+1"[: len("answered 401: ") + length])
    assert "pass" not in cut and "user" not in cut


def test_an_answer_cannot_put_the_secret_into_a_receipt() -> None:
    plugin = HttpTemplate({"url": "https://cms.example.com", "template": EXAMPLE}, "abcdef")
    assert plugin.uploads._described("1", "/a?token=abcdef", {})["url"] == ""
    assert plugin.uploads._described("1", "/a", {})["url"] == "https://cms.example.com/a"
