"""Test rules of the whole code: import directions, tables and documentation."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from io import StringIO

import pytest
from django.apps import apps
from django.contrib.auth.models import AbstractUser
from django.core.management import call_command
from django.db.models import CASCADE, Model

from config import env
from core.api import schema
from core.errors import DomainError
from docs import settings, states

OURS = ("core", "campaigns", "generation", "review")
MODELS = [model for label in OURS for model in apps.get_app_config(label).get_models()]
CODE = [path for folder in ("config", *OURS) for path in sorted((env.ROOT / folder).rglob("*.py"))]
QUESTION = re.compile(r"_?(is|has|can|may|was|does|exceeds|allows|fits|needs)_")
READ = re.compile(r"env\.(?:text|flag|number|words|networks|ports)\(\s*\"([A-Z][A-Z0-9_]*)\"")


@pytest.mark.django_db
def test_the_migrations_hold_every_change_of_the_models() -> None:
    shown = StringIO()
    try:
        call_command("makemigrations", "--check", "--dry-run", stdout=shown)
    except SystemExit:
        pytest.fail(f"models changed without a migration:\n{shown.getvalue()}")


@pytest.mark.parametrize("label", OURS)
def test_every_migration_has_a_name_of_its_own(label: str) -> None:
    names = [path.stem for path in (env.ROOT / label / "migrations").glob("[0-9]*.py")]
    assert [name for name in names if "_auto_" in name] == []


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_every_model_says_what_one_row_is(model: type[Model]) -> None:
    # Django writes "Name(field, field)" for a class without a docstring.
    assert not (model.__doc__ or "").startswith(f"{model.__name__}("), f"{model.__name__} has no docstring"


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_every_model_has_an_order_and_a_name_for_people(model: type[Model]) -> None:
    if not issubclass(model, AbstractUser):  # users come from Django and are listed by their memberships
        assert model._meta.ordering, f"{model.__name__} has no ordering"
    assert model.__str__ is not Model.__str__, f"{model.__name__} has no __str__"


@pytest.mark.parametrize("name", ["Event", "SealedEvent", "Decision", "Attempt", "LedgerEntry"])
def test_nothing_deletes_what_is_kept_for_ever(name: str) -> None:
    model = next(model for model in MODELS if model.__name__ == name)
    cascades = [
        field.name for field in model._meta.get_fields() if getattr(field.remote_field, "on_delete", None) is CASCADE
        and field.many_to_one
    ]  # fmt: skip
    assert cascades == []


def test_every_environment_variable_is_explained() -> None:
    page = (env.ROOT / "docs" / "operations.md").read_text()
    named = {name for path in CODE for name in READ.findall(path.read_text())}
    assert len(named) > 20, "the pattern finds no variables any more"
    assert sorted(name for name in named if f"`{name}`" not in page) == []


def test_the_operations_page_names_no_variable_that_nobody_reads() -> None:
    page = (env.ROOT / "docs" / "operations.md").read_text()
    listed = set(re.findall(r"^\| `([A-Z][A-Z0-9_]*)` \|", page, re.MULTILINE))
    read = "\n".join(path.read_text() for path in CODE)
    assert sorted(name for name in listed if f'"{name}"' not in read) == []


def test_the_page_of_states_is_drawn_from_the_tables() -> None:
    assert states.PAGE.read_text() == states.page(), "run `make docs`"


def test_the_page_of_settings_is_written_from_what_plug_ins_declare() -> None:
    assert settings.PAGE.read_text() == settings.page(), "run `make docs`"


@pytest.mark.slow
def test_imports_go_one_way_and_plug_ins_know_no_models() -> None:
    checked = subprocess.run(
        [str(env.ROOT / ".venv" / "bin" / "lint-imports"), "--no-cache"]
        if (env.ROOT / ".venv" / "bin" / "lint-imports").exists()
        else [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"],
        cwd=env.ROOT,
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout[-4000:]


@pytest.mark.slow
def test_the_web_process_loads_neither_torch_nor_diffusers() -> None:
    loaded = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, config.wsgi, django.urls; django.urls.get_resolver().url_patterns;"
            "print(sorted({'torch', 'diffusers', 'transformers'} & set(sys.modules)))",
        ],
        cwd=env.ROOT,
        capture_output=True,
        text=True,
    )
    assert loaded.stdout.strip() == "[]", loaded.stdout + loaded.stderr


def test_the_openapi_file_is_what_the_api_says_of_itself() -> None:
    shown = StringIO()
    call_command("spectacular", stdout=shown)
    assert (env.ROOT / "docs" / "openapi.yaml").read_text() == shown.getvalue(), "run `make docs`"


def test_the_schema_names_every_member_of_a_refusal() -> None:
    members = set(schema.PROBLEM["properties"])
    refusals = {kind.__name__ for kind in _subclasses(DomainError)} | {"first_or_refuse"}
    calls = [
        node
        for path in CODE
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in refusals
    ]
    given = {keyword.arg for call in calls for keyword in call.keywords if keyword.arg} - {"problems"}
    assert {"state", "etag", "withdraws"} <= given
    assert sorted(given - members) == []


def _subclasses(kind: type[Exception]) -> list[type[Exception]]:
    return [kind, *(inner for direct in kind.__subclasses__() for inner in _subclasses(direct))]


def test_pages_query_nothing_themselves() -> None:
    views = [path for path in CODE if path.parent.name == "views"]
    assert len(views) > 30
    assert [str(path) for path in views if re.search(r"\.objects\b", path.read_text(encoding="utf-8"))] == []


def test_a_function_that_is_named_as_a_question_changes_nothing() -> None:
    writes = {"save", "create", "update", "delete", "get_or_create", "bulk_create", "bulk_update", "publish"}
    writes |= {"terminate", "kill", "unlink", "mkdir", "write", "zremrangebyscore", "pexpire"}
    found = []
    for path in CODE:
        for function in ast.walk(ast.parse(path.read_text())):
            if not isinstance(function, ast.FunctionDef) or not QUESTION.match(function.name):
                continue
            for node in ast.walk(function):
                calls = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in writes
                stores = isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load)
                if calls or stores or isinstance(node, ast.Global | ast.Nonlocal):
                    found.append(f"{path.relative_to(env.ROOT)}: {function.name}")
    assert found == []
