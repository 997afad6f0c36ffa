"""Test the settings of engines: one model serves the form, the validation, the documentation and the engine."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from core import config_fields, storable
from core.errors import Invalid
from core.models import Brand, User
from core.plugin_config import Kind, OpenConfig, Setting
from generation.engines import base as engines
from generation.models import Endpoint
from generation.services.endpoints import editing
from generation.views.endpoint_form import list_engines
from tests.support import factories

OURS = ("comfyui", "diffusers", "openai", "packshot", "replicate")
SETTINGS_BY_ENGINE = {engine: engines.ENGINES.get(engine).config.form_settings() for engine in OURS}
EVERY = [
    pytest.param(engine, setting, id=f"{engine}-{setting.name}")
    for engine, table in SETTINGS_BY_ENGINE.items()
    for setting in table
]
#: What each engine needs at least.
NEEDED = {"comfyui": {"servers": ["http://a:1"]}, "diffusers": {"model": "/m"}, "openai": {"model": "m"}}
VALUES: dict[Kind, Any] = {
    Kind.TEXT: "cuda:1",
    Kind.SWITCH: False,
    Kind.LINES: ["a", "b c"],
    Kind.JSON: {"a": [1, "ü"]},
    Kind.ANY: "compatible",
}
#: Of settings that check more than the kind.
OWN_VALUES = {
    "shapes": [[1024, 768]],
    "draft": {"threshold": 0.1},
    "colours": {"clay": "#b5651d"},
    "webhook_url": "https://site.example/hook",
}


def sample_value(setting: Setting) -> Any:
    if setting.kind == Kind.CHOICE:
        return setting.choices[-1]
    if setting.name in OWN_VALUES:
        return OWN_VALUES[setting.name]
    if setting.kind in (Kind.NUMBER, Kind.WHOLE):
        return setting.maximum if setting.kind == Kind.WHOLE else (setting.minimum + setting.maximum) / 2
    return VALUES[setting.kind]


def find_problems(engine: str, config: dict[str, Any]) -> dict[str, str]:
    return dict(engines.ENGINES.get(engine).config.problems(config))


def find_problem(engine: str, setting: Setting, value: Any) -> str:
    return find_problems(engine, {**NEEDED.get(engine, {}), setting.name: value}).get(setting.name, "")


@pytest.mark.parametrize(("engine", "setting"), EVERY)
def test_the_value_of_a_form_field_is_read_back_unchanged(engine: str, setting: Setting) -> None:
    value = sample_value(setting)
    shown = config_fields.format_value(setting, value)
    assert find_problem(engine, setting, value) == "" and config_fields.parse_value(setting, shown) == value
    assert config_fields.parse_value(setting, " ") is None, "empty leaves it to what is usual"
    assert config_fields.make_field(setting).clean(shown) == shown


@pytest.mark.parametrize(("engine", "setting"), EVERY)
def test_a_value_of_another_kind_is_explained_in_a_sentence(engine: str, setting: Setting) -> None:
    wrong: dict[Kind, Any] = {Kind.TEXT: 3, Kind.SWITCH: "yes", Kind.LINES: "one", Kind.JSON: "x", Kind.CHOICE: "x"}
    for nothing in (None, ""):
        assert (setting.needed or "Leave it out") in find_problem(engine, setting, nothing), (
            "engines would take it for a value"
        )
    if setting.kind in (Kind.NUMBER, Kind.WHOLE):
        for bad_value in (setting.minimum - 1, setting.maximum + 1, float("nan"), float("inf"), 10**400, True, "3"):
            assert "number from" in find_problem(engine, setting, bad_value), bad_value
    elif setting.kind in wrong:
        assert find_problem(engine, setting, wrong[setting.kind]).endswith(".")


@pytest.mark.parametrize(
    ("name", "config", "words"),
    [
        ("shapes", {"shapes": [[1024, 767]]}, "multiples of 8"),
        ("draft", {"draft": {"lorra": "x"}}, '"draft" takes lora'),
        ("compile_mode", {"tier": "exact", "compile_mode": "max-autotune"}, '"exact" cannot go with'),
    ],
)
def test_a_wrong_speed_of_a_local_model_is_explained_at_its_field(
    name: str, config: dict[str, Any], words: str
) -> None:
    problems = find_problems("diffusers", {"model": "m", **config})
    assert list(problems) == [name] and words in problems[name]


@pytest.mark.parametrize(("engine", "setting"), EVERY)
def test_the_default_that_people_read_is_the_one_that_the_engine_uses(engine: str, setting: Setting) -> None:
    config = engines.ENGINES.get(engine).config.read(NEEDED.get(engine, {})).model_dump(by_alias=True)
    if setting.kind in (Kind.NUMBER, Kind.WHOLE) and config[setting.name] is not None:
        assert float(setting.default_text) == config[setting.name]
    if setting.kind == Kind.SWITCH and config[setting.name] is not None:
        assert setting.default_text == ("yes" if config[setting.name] else "no")


def test_a_setting_that_nobody_knows_is_refused_with_the_one_that_was_meant() -> None:
    ((name, sentence),) = find_problems("comfyui", {"servers": ["http://a:1"], "max_sides": 1024}).items()
    assert name == "max_sides" and "Did you mean 'max_side'?" in sentence
    assert not dict(OpenConfig.problems({"anything": 1})), "an engine without settings judges its config itself"
    assert not find_problems("diffusers", {"model": "/m", "cost_per_image": 0.2})
    assert set(find_problems("diffusers", {"model": "/m", "batch_size": 2})) == {"batch_size"}, "the worker adds it"


def test_a_setting_that_is_needed_is_asked_for() -> None:
    for engine, config in NEEDED.items():
        ((name, sentence),) = find_problems(engine, {}).items()
        assert [name] == list(config) and f'needs "{name}"' in sentence


def test_a_stored_setting_that_no_longer_exists_does_not_stop_an_engine() -> None:
    model = engines.ENGINES.get("openai").config
    assert model.read({"model": "m", "gone": 1, "project": "", "timeout_seconds": "90"}) == model.read(
        {"model": "m", "timeout_seconds": 90}
    )
    with pytest.raises(ValueError, match=r'^"output_hosts": Write a list of texts.*'):
        model.read({"model": "m", "output_hosts": "one"})


def test_what_an_openai_model_takes_is_a_setting_too() -> None:
    model = engines.ENGINES.get("openai").config
    quality = model.model_of({"model": "gpt-image-2"}).settings()["quality"]
    assert quality.choices == ("low", "medium", "high", "auto")
    assert "quality" not in model.model_of({"model": "qwen-image"}).settings()
    assert list(find_problems("openai", {"model": "qwen-image", "quality": "hd"})) == ["quality"]
    assert not find_problems("openai", {"model": "m", "profile": {"no": 1}}), "the engine says this"


def test_a_profile_cannot_replace_a_setting_and_an_odd_one_is_explained_in_a_sentence() -> None:
    config = {"model": "m", "profile": {"base": "compatible", "parameters": {"base_url": [], "ca": []}}}
    assert engines.ENGINES.get("openai").config.model_of(config).settings()["base_url"].is_operator_only
    for profile in ({"parameters": {"user": 5}}, {"roles": [{}]}):
        assert not find_problems("openai", {"model": "m", "profile": profile})
        with pytest.raises(ValueError, match="cannot be"):
            engines.build("openai", {"model": "m", "profile": profile})


@pytest.mark.parametrize(("given", "value"), [("1200", 1200), ("0,5", 0.5), ("1200.5", 1200.5), ("12,25", 12.25)])
def test_a_number_is_read_as_people_write_it(given: str, value: float) -> None:
    (setting,) = (candidate for candidate in SETTINGS_BY_ENGINE["replicate"] if candidate.name == "answer_seconds")
    assert config_fields.parse_value(setting, given) == value


@pytest.mark.parametrize("given", ["1,200", "86,400", "1,200.5", "twelve", "1.2.3"])
def test_a_number_that_can_be_read_in_two_ways_is_refused(given: str) -> None:
    (setting,) = (candidate for candidate in SETTINGS_BY_ENGINE["replicate"] if candidate.name == "answer_seconds")
    with pytest.raises(ValueError, match=r"comma|number from 1 to 86400"):
        config_fields.parse_value(setting, given)


@pytest.mark.parametrize("given", ["{", "[" * 50_000, '{"a": NaN}', '{"a": "\\u0000"}'])
def test_json_that_cannot_be_kept_is_refused_in_a_sentence(given: str) -> None:
    with pytest.raises(ValueError, match=r"JSON|finite|NUL"):
        storable.read_json_field(given)


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
    for engine, table in SETTINGS_BY_ENGINE.items():
        whole = page(page_client(operator), brand, f"new/?engine={engine}")
        drawn = set(re.findall(r'name="setting_(\w+)"', whole))
        assert drawn == {setting.name for setting in table}, engine
    lead_page = page(page_client(lead), brand, "new/")
    drawn = set(re.findall(r'name="setting_(\w+)"', lead_page))
    assert "?engine=openai" in lead_page and "?engine=diffusers" not in lead_page
    first = engines.ENGINES.get(next(iter(list_engines(is_operator=False))))  # perhaps one of another test's
    assert drawn == {setting.name for setting in first.config.form_settings() if not setting.is_operator_only}
    assert page_client(lead).get(f"/brands/{brand.slug}/endpoints/new/?engine=diffusers").status_code == 404
    assert set(re.findall(r'name="setting_(\w+)"', page(page_client(operator), brand, "new/"))) >= drawn


def test_the_form_asks_what_concerns_the_engine_and_keeps_what_was_set(
    brand: Brand, operator: User, page_client: Callable[[User], Client]
) -> None:
    client = page_client(operator)
    services = {"max_concurrent", "max_per_second", "max_per_minute", "when_uncertain", "price_second", "secret"}
    for engine in SETTINGS_BY_ENGINE:
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
    assert (kept.lane, kept.batch_size, kept.max_concurrent, kept.when_uncertain) == ("cpu", 2, 3, "hold")
    assert kept.config == {"colours": {"clay": "#b5651d"}}


def test_a_lead_changes_a_setting_and_what_the_operator_wrote_stays(
    brand: Brand, operator: User, lead: User, page_client: Callable[[User], Client]
) -> None:
    config = {
        "model": "house", "base_url": "https://gpu.example/v1", "quality": "hd", "output_hosts": ["gpu.example"],
        "profile": {"base": "compatible", "parameters": {"quality": ["standard", "hd"]}},
    }  # fmt: skip
    made = editing.create(
        brand=brand, by=operator, slug="own", name="Own", engine="openai", lane="cloud", config=config, max_concurrent=2
    )
    client = page_client(lead)
    shown = page(client, brand, "own/")
    assert '<option value="hd" selected>' in shown and "https://gpu.example/v1" in shown
    assert re.search(r'<input[^>]*name="setting_base_url"[^>]*disabled', shown)
    posted = {
        "name": "Own", "lane": "cloud", "when_uncertain": "hold", "batch_size": "1", "seconds_per_image": "10",
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


@pytest.mark.parametrize("gone", ["base_url", "ca", "both"])
def test_a_lead_cannot_take_away_what_the_operator_set(brand: Brand, operator: User, lead: User, gone: str) -> None:
    config = {"model": "m", "base_url": "https://gpu.example/v1", "ca": "/etc/ours.pem"}
    made = editing.create(
        brand=brand, by=operator, slug="own", name="Own", engine="openai", lane="cloud", config=config, secret="kept"
    )
    left = {name: value for name, value in config.items() if name != gone and (gone != "both" or name == "model")}
    with pytest.raises(Invalid) as refused:
        editing.update(endpoint_id=made.pk, by=lead, config=left)
    assert {problem.pointer for problem in refused.value.problems} == {
        f"config/{name}" for name in config.keys() - left.keys()
    }
    if gone != "ca":
        with pytest.raises(Invalid, match="entered again"):
            editing.update(endpoint_id=made.pk, by=operator, config=left)
    made.refresh_from_db()
    assert made.config == config


def saved(client: Client, kept: Endpoint) -> tuple[int, str]:
    """Save the unchanged form as a browser would. Return (status, page)."""
    address = f"/brands/{kept.brand.slug}/endpoints/{kept.slug}/"
    form = client.get(address).context["form"]
    posted = {
        name: "" if (value := form[name].value()) is None else str(value)
        for name, field in form.fields.items()
        if not field.disabled
    }
    answer = client.post(address, posted)
    return answer.status_code, answer.content.decode()


@pytest.mark.parametrize(
    ("engine", "lane", "config"),
    [
        ("replicate", "cloud", {"model": "a/b", "output_hosts": [], "wait_seconds": 5.0, "cog": False}),
        (
            "openai",
            "cloud",
            {"model": "m", "profile": {"base": "compatible", "parameters": {"user": []}}, "user": "12345"},
        ),
        ("openai", "cloud", {"model": "m", "profile": "compatible", "timeout_seconds": 90, "keep_outside": False}),
        ("packshot", "cpu", {"colours": {}}),
    ],
)
def test_a_form_that_nobody_touched_changes_nothing(
    brand: Brand, lead: User, operator: User, page_client: Callable[[User], Client], engine: str, lane: str, config: Any
) -> None:
    kept = factories.EndpointFactory(brand=brand, slug="own", engine=engine, lane=lane, config=config)
    for person in (lead, operator):
        status, page = saved(page_client(person), kept)
        assert status == 302, page
        kept.refresh_from_db()
        assert json.dumps(kept.config, sort_keys=True) == json.dumps(config, sort_keys=True)


@pytest.mark.parametrize(
    "odd", [{"keep_outside": 1}, {"output_format": "gif"}, {"timeout_seconds": "60"}, {"output_hosts": "one"}]
)
def test_a_stored_value_that_became_invalid_is_refused_and_not_lost(
    brand: Brand, operator: User, page_client: Callable[[User], Client], odd: dict[str, Any]
) -> None:
    config = {"model": "m", **odd}
    kept = factories.EndpointFactory(brand=brand, slug="own", engine="openai", lane="cloud", config=config)
    status, page = saved(page_client(operator), kept)
    assert status == 422 and re.search(r"It is (one of|true)|Give a number|Write a list", page)
    kept.refresh_from_db()
    assert kept.config == config


def test_a_lead_changes_the_price_of_a_local_endpoint_and_none_of_its_settings(
    brand: Brand, lead: User, page_client: Callable[[User], Client], tmp_path: Path
) -> None:
    config = {"model": str(tmp_path), "tier": "final", "threads": 2}
    kept = factories.EndpointFactory(brand=brand, slug="own", engine="diffusers", lane="gpu", config=config)
    client = page_client(lead)
    posted = {
        "name": kept.name, "lane": "gpu", "batch_size": "2", "seconds_per_image": "1", "price_per_image": "0.5",
        "setting_threads": "64", "setting_model": "/etc",
    }  # fmt: skip
    answer = client.post(f"/brands/{brand.slug}/endpoints/own/", posted)
    assert answer.status_code == 302, answer.content.decode()
    kept.refresh_from_db()
    assert kept.config == config and str(kept.price_per_image) == "0.500000"


def test_settings_without_a_field_stay_as_json(
    brand: Brand, operator: User, page_client: Callable[[User], Client]
) -> None:
    kept = factories.EndpointFactory(brand=brand, slug="own", engine="ready", lane="cpu", config={"anything": [1, 2]})
    client = page_client(operator)
    assert "&quot;anything&quot;" in page(client, brand, "own/")
    posted = {
        "name": kept.name, "lane": "cpu", "when_uncertain": "hold", "batch_size": "1", "seconds_per_image": "10",
        "price_per_image": "0",
    }  # fmt: skip
    for text, words in (("{", "This is not JSON"), ("[]", "Write an object")):
        answer = client.post(f"/brands/{brand.slug}/endpoints/own/", posted | {"config": text})
        assert answer.status_code == 422 and words in answer.content.decode()
    assert (
        client.post(f"/brands/{brand.slug}/endpoints/own/", posted | {"config": '{"anything": 3}'}).status_code == 302
    )
    assert Endpoint.objects.get(pk=kept.pk).config == {"anything": 3}
