"""Fixtures for all tests: people by role, a brand, clients, temporary files, a browser if installed."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import factories

if TYPE_CHECKING:
    from django.test import Client
    from rest_framework.test import APIClient

    from campaigns.models import Campaign, PromptVersion
    from core.models import Brand, User
    from generation.models import Endpoint
    from generation.services.planning.plan_requests import PlanArguments

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(autouse=True)
def media(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give every test its own folder of files and its own counts of wrong passwords and requests."""
    monkeypatch.setattr("core.rate_limits._PREFIX", f"tests:limit:{uuid.uuid4().hex}:")
    monkeypatch.setattr("generation.finishing.found_files.SECONDS", 120.0)  # a busy machine starts children slowly
    settings.MEDIA_ROOT = tmp_path / "files"
    settings.PROOFLINE = settings.PROOFLINE | {"handover_folders": [str(tmp_path)]}
    settings.STORAGES = settings.STORAGES | {
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.WHITENOISE_AUTOREFRESH = True  # else every client reads all static files
    return tmp_path / "files"


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Let tests with transactions of their own empty the tables fast.

    Some are emptied by TRUNCATE, which the audit tables refuse in production.
    """
    from django.db import connection
    from django.test import TransactionTestCase

    from tests.support.table_cleanup import empty_tables

    with django_db_blocker.unblock(), connection.cursor() as cursor:
        for table in ("core_event", "core_sealedevent"):
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER never_truncated")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", empty_tables)
        yield


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the folder of a tiny diffusion model by name (tests/support/tiny_models.py), built on first use."""
    from tests.support import tiny_models

    built: dict[str, Path] = {}

    def of(name: str) -> Path:
        if name not in built:
            folder = tmp_path_factory.mktemp("models") / f"tiny-{name}"
            folder.mkdir()
            tiny_models.build(name, folder, of)
            built[name] = folder
        return built[name]

    return of


@pytest.fixture
def brand(db: None) -> Iterator[Brand]:
    """Yield a brand. After the test, the kept counts must be those of the rows, whatever the test did to them."""
    from django.db import connection

    from core import counts

    yield factories.BrandFactory()
    if not connection.needs_rollback:
        assert not [wrong for model in counts.list_models() for wrong in counts.find_differences(model)]


@pytest.fixture
def other_brand(db: None) -> Brand:
    """Return a second brand, to test that brands never see each other."""
    return factories.BrandFactory()


@pytest.fixture
def person(brand: Brand) -> Callable[..., User]:
    """`person("reviewer")` is a new user with that role in `brand`; `person("lead", brand=other)` in another."""

    def make(*roles: str, brand: Brand = brand, **fields: Any) -> User:
        user = factories.UserFactory(**fields)
        for role in roles:
            factories.MembershipFactory(brand=brand, user=user, role=role)
        return user

    return make


@pytest.fixture
def plan_arguments(
    campaign: Campaign, version: PromptVersion, endpoint: Endpoint, manager: User
) -> Callable[..., PlanArguments]:
    """Return a function for the arguments of preview and plan, some of them changed.

    The fixtures campaign, version and endpoint are those of the test module.
    """
    from generation.services.planning.plan_requests import PlanArguments  # needs Django

    def arguments(**changes: Any) -> PlanArguments:
        defaults = PlanArguments(
            campaign=campaign, prompt_version=version, endpoint=endpoint, stage="pilot", by=manager
        )
        return replace(defaults, **changes)

    return arguments


@pytest.fixture
def viewer(person: Callable[..., User]) -> User:
    return person("viewer")


@pytest.fixture
def designer(person: Callable[..., User]) -> User:
    return person("designer")


@pytest.fixture
def manager(person: Callable[..., User]) -> User:
    return person("campaign_manager")


@pytest.fixture
def reviewer(person: Callable[..., User]) -> User:
    return person("reviewer")


@pytest.fixture
def lead(person: Callable[..., User]) -> User:
    return person("lead")


@pytest.fixture
def integrator(person: Callable[..., User]) -> User:
    return person("integrator")


@pytest.fixture
def page_client() -> Callable[[User], Client]:
    """`page_client(user)` is a signed-in client for pages."""
    from tests.support.page_client import PageClient

    def make(user: User) -> Client:
        client = PageClient()
        client.force_login(user)
        return client

    return make


@pytest.fixture
def api_client() -> Callable[[User], APIClient]:
    """`api_client(user)` is a client for the API that acts as the user."""
    from rest_framework.test import APIClient

    def make(user: User) -> APIClient:
        client = APIClient()
        client.force_authenticate(user)
        return client

    return make


@pytest.fixture
def clean_redis() -> Iterator[Any]:
    """Yield the tests' own Redis, emptied before and after."""
    import django_rq

    connection = django_rq.get_connection("housekeeping")
    connection.flushdb()
    yield connection
    connection.flushdb()


# -- the browser ----------------------------------------------------------------------------------------------------


def _chromium() -> str | None:
    return next((path for name in CHROMIUM_NAMES if (path := shutil.which(name))), None)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Yield a running Chromium of this machine, driven by playwright."""
    path = _chromium()
    if path is None:
        pytest.skip(f"browser tests left out: none of {', '.join(CHROMIUM_NAMES)} is installed (apt install chromium)")
    from playwright.sync_api import sync_playwright

    # Playwright's sync driver keeps an event loop in this thread, and Django refuses queries beside one by default.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def browser_context(chromium: Any) -> Iterator[Any]:
    """Yield a new browser profile, with the cookies and storage of one test."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(60_000)
    yield context
    context.close()


@pytest.fixture
def browser_page(browser_context: Any) -> Any:
    """Return an empty tab; use it with pytest-django's `live_server` and mark the test with `browser`."""
    return browser_context.new_page()
