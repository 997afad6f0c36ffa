"""Test the model store: registering, hashing, the terms shown where a model is picked, and attempts."""

from __future__ import annotations

import hashlib
import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.template.loader import render_to_string

from core import sql
from core.errors import Conflict, Invalid, NotAllowed
from core.models import Event
from generation.engines.diffusers.weight_files import digest
from generation.models import LocalModel
from generation.services.endpoints import local_models
from generation.services.planning import plans
from generation.services.planning.plan_requests import PlanArguments
from tests.support import factories as f

pytestmark = pytest.mark.django_db


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "sd"
    (made / "unet").mkdir(parents=True)
    (made / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    (made / "unet" / "weights.safetensors").write_bytes(b"weights" * 1000)
    return made


@pytest.fixture
def operator() -> Any:
    return f.UserFactory(is_superuser=True, is_staff=True)


@pytest.fixture
def model(folder: Path, operator: Any) -> LocalModel:
    f.BrandFactory()
    return local_models.register(
        path=str(folder), name="House model", licence="OpenRAIL-M", by=operator, usage_terms="Ask."
    )


def test_a_model_is_registered_with_what_its_files_say_and_hashed_by_a_worker(
    model: LocalModel, folder: Path, operator: Any, django_capture_on_commit_callbacks: Any
) -> None:
    assert (model.family, model.revision, model.sha256) == ("sd", digest(folder), "")
    assert model.size_bytes == sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    event = Event.objects.get(type="generation.model.noted")
    assert event.payload["name"] == "House model" and str(folder) not in json.dumps(event.payload)
    lines = [
        f"{name}\0{hashlib.sha256((folder / name).read_bytes()).hexdigest()}\n"
        for name in ("model_index.json", "unet/weights.safetensors")
    ]
    assert local_models.hash_content(model_id=model.pk) == hashlib.sha256("".join(lines).encode()).hexdigest()
    model.refresh_from_db()
    assert len(model.sha256) == 64


def test_a_single_files_sha256_is_the_one_that_its_publisher_gives(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"x" * 10_000_000)
    assert local_models.content_sha256(file) == hashlib.sha256(b"x" * 10_000_000).hexdigest()


def test_a_model_that_was_changed_on_disk_is_not_hashed_under_its_old_name(model: LocalModel, folder: Path) -> None:
    (folder / "README.md").write_text("a model card changes nothing")
    assert local_models.hash_content(model_id=model.pk)
    (folder / "unet" / "weights.safetensors").write_bytes(b"other" * 1000)
    assert local_models.hash_content(model_id=model.pk) == ""


def test_only_operators_register_and_mistakes_are_reported(folder: Path, operator: Any, tmp_path: Path) -> None:
    lead = f.MembershipFactory(role="lead").user
    with pytest.raises(NotAllowed, match="operators"):
        local_models.register(path=str(folder), name="x", licence="y", by=lead)
    with pytest.raises(Invalid) as refusal:
        local_models.register(path=str(tmp_path / "gone"), name=" ", licence="", by=operator)
    assert {problem.pointer for problem in refusal.value.problems} == {"path", "name", "licence"}
    local_models.register(path=str(folder), name="x", licence="y", by=operator)
    with pytest.raises(Conflict, match="registered already"):
        local_models.register(path=str(folder), name="other", licence="y", by=operator)


def test_an_attempt_names_the_registered_model_and_its_sha256(model: LocalModel, folder: Path) -> None:
    def details(revision: str) -> list[Any]:
        return [row[0] for row in sql.rows(local_models.DETAILS_OF_REVISION, {"revision": revision})]

    revision = digest(folder)
    assert details(revision) == [], "its files have no sha256 yet"
    sha256 = local_models.hash_content(model_id=model.pk)
    expected = {"registered_model": "House model", "model_sha256": sha256, "model_licence": "OpenRAIL-M"}
    assert details(revision) == details(f"{revision}+0a1b2c") == [expected]
    assert details("elsewhere") == details("") == []


def test_the_terms_are_shown_where_a_model_is_picked(model: LocalModel, folder: Path, operator: Any) -> None:
    endpoint = f.EndpointFactory(engine="diffusers", config={"model": str(folder)})
    page = render_to_string(
        "generation/model_terms.html", {"model": local_models.find_for_endpoint(endpoint), "family": "SD"}
    )
    assert "House model" in page and "OpenRAIL-M" in page and "Ask." in page and "may not" not in page
    local_models.change(model_id=model.pk, by=operator, is_usable=False)
    page = render_to_string(
        "generation/model_terms.html", {"model": local_models.find_for_endpoint(endpoint), "family": "SD"}
    )
    assert "may not be used any more" in page
    assert local_models.find_for_endpoint(f.EndpointFactory(engine="packshot", config={})) is None


def test_the_command_registers_lists_and_hashes(folder: Path) -> None:
    def run_models(*words: str) -> str:
        out = StringIO()
        call_command("models", *words, stdout=out)
        return out.getvalue()

    assert "No model is registered" in run_models("list")
    added = run_models("add", str(folder), "--name", "House model", "--licence", "OpenRAIL-M", "--terms", "Ask.")
    model = LocalModel.objects.get()
    assert "Stable Diffusion 1.5" in added and model.sha256 in added and model.usage_terms == "Ask."
    assert "House model" in run_models("list") and json.loads(run_models("list", "--json"))[0]["sha256"] == model.sha256
    assert model.sha256 in run_models("hash", "House model")
    (folder / "unet" / "weights.safetensors").write_bytes(b"other")
    with pytest.raises(CommandError, match="not what was registered"):
        run_models("hash", "House model")
    with pytest.raises(CommandError, match="not a diffusers folder"):
        run_models("add", str(folder / "unet"), "--name", "y", "--licence", "z")


def test_a_model_that_may_not_be_used_any_more_is_planned_with_no_more(
    model: LocalModel, folder: Path, operator: Any, person: Any
) -> None:
    brand = f.BrandFactory()
    campaign = f.CampaignFactory(brand=brand, subjects=[f.SubjectFactory(brand=brand)])
    f.OutputSpecFactory(campaign=campaign, width=512, height=512)
    version = f.PromptVersionFactory(template__brand=brand, text="{name}", axes={}, parameters={}, needs={})
    endpoint = f.EndpointFactory(engine="diffusers", config={"model": str(folder)})
    plan_arguments = {"campaign": campaign, "prompt_version": version, "endpoint": endpoint, "stage": "pilot"}
    by = person("campaign_manager", brand=brand)
    assert plans.preview(PlanArguments(**plan_arguments, by=by)).can_be_planned
    local_models.change(model_id=model.pk, by=operator, is_usable=False)
    with pytest.raises(Invalid) as refusal:
        plans.preview(PlanArguments(**plan_arguments, by=by))
    assert "House model, which may not be used any more" in refusal.value.problems[0].message
