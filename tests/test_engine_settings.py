"""Settings of engines: one table for the form, for what is refused, and for what the engines themselves read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from campaigns.models import Brand, User
from generation import engines
from generation.engines.settings import TABLES, Kind, Setting, of, problems
from generation.models import Endpoint
from generation.services import endpoints
from generation.views import setting_fields
from tests import factories

EVERY = [pytest.param(one, id=f"{engine}-{one.name}") for engine, table in TABLES.items() for one in table]
VALUES: dict[Kind, Any] = {
    Kind.TEXT: "cuda:1",
    Kind.SWITCH: False,
    Kind.LINES: ["a", "b c"],
    Kind.JSON: {"a": [1, "ü"]},
    Kind.ANY: "compatible",
}


def a_value(setting: Setting) -> Any:
    if setting.kind == Kind.CHOICE:
        return setting.choices[-1]
    if setting.kind in (Kind.NUMBER, Kind.WHOLE):
        return setting.maximum if setting.kind == Kind.WHOLE else (setting.minimum + setting.maximum) / 2
    return VALUES[setting.kind]


@pytest.mark.parametrize("setting", EVERY)
def test_what_a_field_shows_is_read_back_as_it_was(setting: Setting) -> None:
    value = a_value(setting)
    shown = setting_fields.text(setting, value)
    assert setting.problem(value) == "" and setting_fields.value(setting, shown) == value
    assert setting_fields.value(setting, " ") is None, "empty leaves it to what is usual"
    assert setting_fields.field(setting).clean(shown) == shown


@pytest.mark.parametrize("setting", EVERY)
def test_a_value_of_another_kind_is_told_in_a_sentence(setting: Setting) -> None:
    wrong: dict[Kind, Any] = {Kind.TEXT: 3, Kind.SWITCH: "yes", Kind.LINES: "one", Kind.JSON: "x", Kind.CHOICE: "x"}
    if setting.kind in (Kind.NUMBER, Kind.WHOLE):
        for one in (setting.minimum - 1, setting.maximum + 1, float("nan"), True, "3"):
            assert "number from" in setting.problem(one), one
    elif setting.kind in wrong:
        assert setting.problem(wrong[setting.kind]).endswith(".")


def test_every_setting_that_an_engine_reads_is_in_a_table() -> None:
    """A setting that the form does not know would be refused."""
    known = {one.name for table in TABLES.values() for one in table}
    known |= {"workflow", "workflow_name", "inputs", "output_node", "ranges"}  # of the workflow's page
    known |= {"cost_per_image", "seconds_per_image", "batch_size", "secret"}  # of the endpoint itself
    folder = Path(str(engines.__file__)).parent
    read = {
        name
        for file in folder.glob("*.py")
        for name in re.findall(r'\bconfig(?:\.get\(|\[)"(\w+)"', file.read_text(encoding="utf-8"))
    }
    assert len(read) > 40 and read - known == set()


def test_a_setting_that_nobody_knows_is_refused_with_the_one_that_was_meant() -> None:
    ((name, sentence),) = problems("comfyui", {"servers": ["http://a:1"], "max_sides": 1024})
    assert name == "max_sides" and "Did you mean 'max_side'?" in sentence
    assert not list(problems("crayons", {"anything": 1})), "an engine without a table judges its config itself"
    assert not list(problems("diffusers", {"model": "/m", "cost_per_image": 0.2}))


def test_what_an_openai_model_takes_is_a_setting_too() -> None:
    (quality,) = (one for one in of("openai", {"model": "gpt-image-2"}) if one.name == "quality")
    assert quality.choices == ("low", "medium", "high", "auto")
    assert "quality" not in {one.name for one in of("openai", {"model": "qwen-image"})}
    assert [name for name, _ in problems("openai", {"model": "qwen-image", "quality": "hd"})] == ["quality"]
    assert "found" not in str(list(problems("openai", {"model": "m", "profile": {"no": 1}}))), "the engine says this"


# -- in the form -------------------------------------------------------------------------------------------------------


@pytest.fixture
def operator(db: None) -> User:
    return factories.UserFactory(is_superuser=True)


def page(client: Client, brand: Brand, path: str) -> str:
    answer = client.get(f"/brands/{brand.slug}/endpoints/{path}")
    assert answer.status_code == 200, answer
    return answer.content.decode()


def test_each_engine_has_a_form_of_its_own_and_a_lead_is_offered_what_a_lead_can_set(
    brand: Brand, operator: User, lead: User, page_client: Callable[[User], Client]
) -> None:
    for engine, table in TABLES.items():
        whole = page(page_client(operator), brand, f"new/?engine={engine}")
        drawn = set(re.findall(r'name="setting_(\w+)"', whole))
        assert drawn == {one.name for one in table}, engine
    ours = page(page_client(lead), brand, "new/")
    drawn = set(re.findall(r'name="setting_(\w+)"', ours))
    assert "?engine=openai" in ours and "?engine=diffusers" not in ours
    assert drawn == {one.name for one in TABLES["replicate"] if not one.is_operators}
    assert page_client(lead).get(f"/brands/{brand.slug}/endpoints/new/?engine=diffusers").status_code == 404


def test_the_form_asks_what_concerns_the_engine_and_keeps_what_was_set(
    brand: Brand, operator: User, page_client: Callable[[User], Client]
) -> None:
    client = page_client(operator)
    services = {"max_concurrent", "max_per_second", "max_per_minute", "in_doubt", "price_second", "secret"}
    for engine in TABLES:
        drawn = set(re.findall(r'name="(\w+)"', page(client, brand, f"new/?engine={engine}")))
        is_local = engine in ("diffusers", "packshot")
        assert drawn & services == (set() if is_local else services), engine
        assert drawn & {"lane", "batch_size"} == ({"lane", "batch_size"} if is_local else set()), engine
        assert "price_per_image" in drawn
    kept = factories.EndpointFactory(brand=brand, slug="own", engine="packshot", lane="cpu", max_concurrent=3)
    assert 'name="max_concurrent"' in page(client, brand, "own/")
    posted = {
        "name": kept.name, "lane": "cpu", "batch_size": "2", "seconds_per_image": "1", "price_per_image": "0",
        "max_concurrent": "3", "setting_colours": '{"clay": "#b5651d"}',
    }  # fmt: skip
    assert client.post(f"/brands/{brand.slug}/endpoints/own/", posted).status_code == 302
    kept.refresh_from_db()
    assert (kept.lane, kept.batch_size, kept.max_concurrent, kept.in_doubt) == ("cpu", 2, 3, "hold")
    assert kept.config == {"colours": {"clay": "#b5651d"}}


def test_a_lead_changes_a_setting_and_what_the_operator_wrote_stays(
    brand: Brand, operator: User, lead: User, page_client: Callable[[User], Client]
) -> None:
    config = {
        "model": "house", "base_url": "https://gpu.example/v1", "quality": "hd", "output_hosts": ["gpu.example"],
        "profile": {"base": "compatible", "parameters": {"quality": ["standard", "hd"]}},
    }  # fmt: skip
    made = endpoints.create(
        brand=brand, by=operator, slug="own", name="Own", engine="openai", lane="cloud", config=config, max_concurrent=2
    )
    client = page_client(lead)
    shown = page(client, brand, "own/")
    assert '<option value="hd" selected>' in shown and "https://gpu.example/v1" in shown
    assert re.search(r'<input[^>]*name="setting_base_url"[^>]*disabled', shown)
    posted = {
        "name": "Own", "lane": "cloud", "in_doubt": "hold", "batch_size": "1", "seconds_per_image": "10",
        "price_per_image": "0", "setting_model": "house", "setting_base_url": "https://mine.example/v1",
        "setting_quality": "standard", "setting_output_hosts": "gpu.example\r\ncdn.example\r\n",
        "setting_profile": json.dumps(config["profile"]), "setting_timeout_seconds": "90,5",
    }  # fmt: skip
    answer = client.post(f"/brands/{brand.slug}/endpoints/own/", posted)
    assert answer.status_code == 302, answer.content.decode()
    made.refresh_from_db()
    assert made.config == config | {
        "quality": "standard", "output_hosts": ["gpu.example", "cdn.example"], "timeout_seconds": 90.5,
    }  # fmt: skip


def test_settings_without_a_field_stay_as_json(
    brand: Brand, operator: User, page_client: Callable[[User], Client]
) -> None:
    kept = factories.EndpointFactory(brand=brand, slug="own", engine="ready", lane="cpu", config={"anything": [1, 2]})
    client = page_client(operator)
    assert "&quot;anything&quot;" in page(client, brand, "own/")
    posted = {
        "name": kept.name, "lane": "cpu", "in_doubt": "hold", "batch_size": "1", "seconds_per_image": "10",
        "price_per_image": "0",
    }  # fmt: skip
    for text, words in (("{", "This is no JSON"), ("[]", "Write an object")):
        answer = client.post(f"/brands/{brand.slug}/endpoints/own/", posted | {"config": text})
        assert answer.status_code == 422 and words in answer.content.decode()
    assert (
        client.post(f"/brands/{brand.slug}/endpoints/own/", posted | {"config": '{"anything": 3}'}).status_code == 302
    )
    assert Endpoint.objects.get(pk=kept.pk).config == {"anything": 3}
