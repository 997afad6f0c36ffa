"""Test the typed readers of environment variables: accepted values, and errors that name the variable."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.conf import settings

from config import env

NAME = "PROOFLINE_TEST_VALUE"


@pytest.mark.parametrize("raw", ["1", "true", "YES", " on "])
def test_words_for_yes_are_true(monkeypatch: pytest.MonkeyPatch, raw: str) -> None:
    monkeypatch.setenv(NAME, raw)
    assert env.flag(NAME) is True


@pytest.mark.parametrize("raw", ["0", "False", "no", "OFF"])
def test_words_for_no_are_false(monkeypatch: pytest.MonkeyPatch, raw: str) -> None:
    monkeypatch.setenv(NAME, raw)
    assert env.flag(NAME, default=True) is False


@pytest.mark.parametrize("raw", ["", "  "])
def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch, raw: str) -> None:
    monkeypatch.setenv(NAME, raw)
    assert env.flag(NAME, default=True) is True
    assert env.number(NAME, 7) == 7
    assert env.text(NAME, "as before") == "as before"
    assert env.words(NAME, "a,b") == ["a", "b"]


@pytest.mark.parametrize("reader", [env.flag, lambda name: env.number(name, 1)])
def test_a_mistake_names_the_variable_and_its_value(monkeypatch: pytest.MonkeyPatch, reader: object) -> None:
    monkeypatch.setenv(NAME, "maybe")
    with pytest.raises(ValueError, match=rf"{NAME}='maybe': expected"):
        reader(NAME)


def test_numbers_are_whole_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, " -12 ")
    assert env.number(NAME, 0) == -12


def test_words_are_split_at_commas_and_stripped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, " a, b ,,c")
    assert env.words(NAME) == ["a", "b", "c"]


def test_var_is_in_the_checkout_unless_configured_otherwise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PROOFLINE_VAR", raising=False)
    assert env.var_dir() == env.ROOT / "var"
    monkeypatch.setenv("PROOFLINE_VAR", str(tmp_path / "elsewhere"))
    assert env.var_dir() == tmp_path / "elsewhere"


def test_every_setting_is_used() -> None:
    apps = ("config", "core", "campaigns", "generation", "review")
    files = (path for app in apps for path in (env.ROOT / app).rglob("*.py") if path.name != "settings.py")
    code = "".join(path.read_text() for path in files)
    assert [name for name in settings.PROOFLINE if f'"{name}"' not in code] == []
