"""Test that texts for people are translated: a made-up catalogue reaches pages, forms and refusals."""

from __future__ import annotations

import ast
import inspect
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from django.urls import reverse
from django.utils import translation

from campaigns.services import campaigns
from config.env import ROOT
from core import errors
from core.choices import Role
from core.errors import Invalid
from tests.support import factories

PRODUCT = [
    path
    for name in ("config", "core", "campaigns", "generation", "review")
    for path in sorted((ROOT / name).rglob("*.py"))
    if "migrations" not in path.parts
]


def write_catalogue(path: Path, texts: Mapping[str, str]) -> None:
    """Write texts and their translations as a compiled gettext catalogue (.mo): two tables, then the strings."""
    pairs = sorted({"": "Content-Type: text/plain; charset=UTF-8\n", **texts}.items())
    tables, strings = [b"", b""], b""
    for pair in pairs:
        for column, text in enumerate(map(str.encode, pair)):
            tables[column] += struct.pack("<II", len(text), 28 + 16 * len(pairs) + len(strings))
            strings += text + b"\0"
    head = struct.pack("<7I", 0x950412DE, 0, len(pairs), 28, 28 + 8 * len(pairs), 0, 0)
    path.parent.mkdir(parents=True)
    path.write_bytes(head + b"".join(tables) + strings)


@pytest.fixture
def made_up_language(tmp_path: Path, settings: Any) -> Iterator[None]:
    texts = {
        "New campaign": "Nova campania",
        "Starts": "Incipit",
        "WebP": "Webpus",
        "This campaign cannot be created as it is.": "Haec campania creari non potest.",
    }
    write_catalogue(tmp_path / "xx" / "LC_MESSAGES" / "django.mo", texts)
    settings.LOCALE_PATHS = [tmp_path]
    with translation.override("xx"):
        yield
    translation.trans_real._translations.pop("xx")  # type: ignore[attr-defined]


@pytest.mark.usefixtures("made_up_language")
def test_a_page_and_the_labels_of_its_form_are_translated(page_client: Any, brand: Any, person: Any) -> None:
    page = page_client(person(Role.CAMPAIGN_MANAGER)).get(reverse("campaign_new", args=[brand.slug])).content.decode()
    assert '<html lang="xx">' in page
    assert "<h1>Nova campania</h1>" in page
    assert "Incipit" in page


@pytest.mark.usefixtures("made_up_language")
def test_the_choices_of_a_model_are_translated(page_client: Any, brand: Any, person: Any) -> None:
    campaign = factories.CampaignFactory(brand=brand)
    address = reverse("campaign_specs", args=[brand.slug, campaign.slug])
    assert ">Webpus</option>" in page_client(person(Role.CAMPAIGN_MANAGER)).get(address).content.decode()


@pytest.mark.usefixtures("made_up_language")
def test_the_refusal_of_a_service_is_translated(brand: Any, person: Any) -> None:
    with pytest.raises(Invalid, match="Haec campania creari non potest"):
        campaigns.create_campaign(brand=brand, slug="No slug", name="Autumn", by=person(Role.CAMPAIGN_MANAGER))


# -- texts in the source -----------------------------------------------------------------------------------------------

MESSAGE_PLACES = {"Problem": 1} | {
    name: 0 for name, refusal in inspect.getmembers(errors, inspect.isclass) if issubclass(refusal, errors.DomainError)
}
"""The position of the message among the arguments of refusals; for `messages.success` and the like it is 1."""


def unmarked_messages(source: str) -> Iterator[int]:
    """Yield the lines with a refusal, problem or message of the page whose text is not marked for translation."""
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        *module, name = ast.unparse(call.func).split(".")
        place = 1 if module == ["messages"] else MESSAGE_PLACES.get(name)
        named = [keyword.value for keyword in call.keywords if keyword.arg == "message"]
        if place is not None and any(map(is_unmarked, [*call.args[place : place + 1], *named])):
            yield call.lineno


def is_unmarked(text: ast.expr) -> bool:
    """Return whether an expression is a text in words that no function gets: a literal, f-string, or one of several."""
    match text:
        case ast.Constant(value=str(value)):
            return any(map(str.isalpha, value))
        case ast.JoinedStr(values=parts) | ast.BoolOp(values=parts):
            return any(map(is_unmarked, parts))
        case ast.BinOp(left=left, op=operator, right=right):
            return is_unmarked(left) or (isinstance(operator, ast.Add) and is_unmarked(right))
        case ast.IfExp(body=body, orelse=other):
            return is_unmarked(body) or is_unmarked(other)
        case ast.Call(func=ast.Attribute(value=value, attr="format" | "join")):
            return is_unmarked(value)
    return False


@pytest.mark.parametrize(
    "source",
    [
        'raise Conflict("It is taken.")',
        'raise errors.NotFound(f"There is no {thing}.")',
        'raise Invalid("It has %s mistakes." % count, problems)',
        'Problem("/slug", "Too long.")',
        'Problem(pointer="/slug", message=sentence if sentence else "Too long.")',
        'messages.success(request, "Saved.")',
    ],
)
def test_a_message_that_is_not_marked_is_found(source: str) -> None:
    assert list(unmarked_messages(source)) == [1]


def test_every_refusal_problem_and_message_is_marked_for_translation() -> None:
    found = [f"{path.relative_to(ROOT)}:{line}" for path in PRODUCT for line in unmarked_messages(path.read_text())]
    assert found == []
