"""Test the commands plan_run, release_run and engines: their output as JSON and as text."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from campaigns.models import Campaign
from core.models import Brand, User
from generation.models import Run
from tests.support import engines, factories

pytestmark = pytest.mark.django_db

assert engines.ReadyEngine.name == "ready"  # importing it registers the engine


@pytest.fixture
def campaign(brand: Brand, manager: User) -> Campaign:
    mugs = [factories.SubjectFactory(brand=brand, key=f"MUG-{n}", name=f"Mug {n}") for n in range(4)]
    made = factories.CampaignFactory(brand=brand, slug="autumn", subjects=mugs)
    factories.OutputSpecFactory(campaign=made)
    factories.PromptVersionFactory(
        template__brand=brand, template__slug="studio", text="{name} on {backdrop}", needs={}, parameters={}
    )
    factories.EndpointFactory(slug="ready", engine="ready")
    return made


def command(*words: str) -> tuple[dict[str, Any], int]:
    """Run a command; return the JSON that it printed and its exit status."""
    out = io.StringIO()
    try:
        call_command(*words, "--json", stdout=out)
    except SystemExit as end:
        return json.loads(out.getvalue()), int(str(end.code))
    return json.loads(out.getvalue()), 0


@pytest.fixture
def plan(campaign: Campaign, manager: User) -> Callable[..., tuple[dict[str, Any], int]]:
    def call(*words: str) -> tuple[dict[str, Any], int]:
        common = ["--brand", campaign.brand.slug, "--campaign", "autumn", "--prompt", "studio", "--endpoint", "ready"]
        return command("plan_run", *common, "--as", manager.username, *words)

    return call


def test_a_run_is_planned_and_released_from_the_command_line(plan: Callable[..., Any], manager: User) -> None:
    planned, status = plan("--subjects", "MUG-1,MUG-2")
    assert status == 0
    assert (planned["state"], planned["jobs"]) == ("planned", 2)
    released, status = command("release_run", str(planned["run"]), "--as", manager.username)
    assert (released["state"], released["queued"], status) == ("running", 2, 0)
    refusal, status = command("release_run", str(planned["run"]), "--as", manager.username)
    assert status == 1
    assert "only a planned run" in refusal["error"]


def test_a_preview_writes_nothing_and_fails_when_something_is_missing(
    plan: Callable[..., Any], campaign: Campaign
) -> None:
    seen, status = plan("--preview", "--sample", "2")
    assert (seen["jobs"], status) == (2, 0)
    assert seen["first"][0]["text"].endswith("on white")
    seen, status = plan("--preview", "--axes", "{}")
    assert status == 1
    assert seen["problems"][0]["message"] == "No value for backdrop."
    assert Run.objects.count() == 0


def test_a_list_of_rows_comes_from_a_csv(plan: Callable[..., Any], tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("subject,backdrop\nMUG-0,clay\nMUG-3,ink\n", encoding="utf-8-sig")
    planned, status = plan("--rows", str(rows))
    assert (planned["jobs"], status) == (2, 0)


def test_an_unknown_name_is_reported(plan: Callable[..., Any]) -> None:
    refused, status = plan("--subjects", "MUG-1,MUG-77")
    assert status == 1
    assert "MUG-77" in refused["problems"][0]["message"]
    with pytest.raises(CommandError, match="no active user"):
        command("release_run", "1", "--as", "nobody")


def test_engines_names_the_endpoint_that_is_not_healthy(campaign: Campaign) -> None:
    seen, status = command("engines")
    assert status == 0
    assert {"diffusers", "packshot", "ready"} <= set(seen["engines"])
    assert seen["endpoints"][0]["is_ok"]
    factories.EndpointFactory(slug="broken", engine="no-such-engine")
    seen, status = command("engines")
    assert status == 1
    [broken] = [endpoint for endpoint in seen["endpoints"] if not endpoint["is_ok"]]
    assert "There is no engine" in broken["message"]
