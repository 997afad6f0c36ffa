"""Test what the little model adds to the example, with a real worker and real but untrained weights."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from campaigns.choices import SubjectKind
from campaigns.models import Campaign, PromptVersion, Subject
from campaigns.services import archives, imports
from config import supervisor
from core.choices import Lane
from core.models import Event
from examples import loading, sketches
from generation.choices import JobState
from generation.models import Asset, AssetVersion, Endpoint, Job, JobSpec, Run
from generation.workers import lane as lanes
from review.management.commands import demo
from review.models import Decision, ReviewTask
from tests.support import untrained_model


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the little model before its training: all files exist, but its images show nothing."""
    return untrained_model.save_untrained_model(tmp_path_factory.mktemp("little") / "weights", 64)


@pytest.fixture
def example(tmp_path: Path) -> loading.Example:
    made = loading.load_all(delivered_to=tmp_path)[0]
    imports.import_feed(brand=made.brand, file=made.feed, file_name="products.csv", by=made.owner)
    archives.attach_folder(brand=made.brand, folder=made.photos, by=made.owner)
    return made


@pytest.fixture
def work() -> Any:
    """Return `work(runs)`, which does the work of workers in this process until no job of these runs is left."""
    worker = lanes.LaneWorker("sketcher", [Lane.GPU, Lane.CPU])
    worker.start()

    def until_done(runs: list[Run]) -> None:
        while Job.objects.filter(run__in=runs, status=JobState.QUEUED).exists():
            for lane in worker.lanes:
                worker.drain(lane)

    yield until_done
    worker.stop()


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_the_little_model_draws_places_people_choose_and_packshots_stand_before_them(
    example: loading.Example, untrained: Path, work: Callable[[list[Run]], None]
) -> None:
    loaded = sketches.load(example, untrained)
    runs = sketches.start_runs(loaded)
    work(runs)
    chosen = sketches.choose_places(loaded)
    assert len(chosen) == Decision.objects.filter(kind="approved").count() > 1
    before = sketches.start_packshots(loaded, chosen)
    assert before is not None
    work([*runs, before])
    counts = sketches.count_images(loaded, [*runs, before])
    assert (counts.places, counts.packshots, counts.ideas, counts.failed) == (12, 12, 8, 0)
    assert counts.chosen_places == len(chosen)
    assert counts.waiting == 20 == ReviewTask.objects.filter(state="open").count()
    _is_labelled(loaded)
    _stands_before_what_was_chosen(before)
    _adds_nothing_the_second_time(example, untrained)


def _is_labelled(loaded: sketches.Sketches) -> None:
    """Check that images of the model have a disclaimer, and the packshots before them have none."""
    drawn = AssetVersion.objects.filter(asset__campaign__in=[loaded.places, loaded.ideas])
    assert {version.disclaimer for version in drawn} == {"demo model"}
    assert {version.disclaimer for version in AssetVersion.objects.exclude(pk__in=drawn)} == {""}
    assert set(drawn.values_list("master__width", "renditions__width")) == {(64, 64)}  # the size that these draw


def _stands_before_what_was_chosen(before: Run) -> None:
    approved = {
        asset.subject.key: asset.current_version.master.sha256
        for asset in Asset.objects.filter(state="approved").select_related("subject", "current_version__master")
    }
    specs = JobSpec.objects.filter(job__run=before)
    assert len(specs) == 12
    for frozen in specs:
        assert frozen.spec["images"]["scene"]["sha256"] == approved[frozen.spec["parameters"]["scene"]]


def _adds_nothing_the_second_time(example: loading.Example, untrained: Path) -> None:
    def rows() -> list[int]:
        return [model.objects.count() for model in (Run, Job, Subject, Campaign, PromptVersion, Endpoint, Event)]

    counts = rows()
    reloaded = sketches.load(example, untrained)
    runs = sketches.start_runs(reloaded)
    sketches.start_packshots(reloaded, sketches.choose_places(reloaded))
    assert rows() == counts
    assert [run.state for run in runs] == ["finished", "finished"]


@pytest.mark.django_db
def test_concepts_are_of_their_own_campaigns_and_say_all_that_the_prompts_ask_for(
    tmp_path: Path, untrained: Path
) -> None:
    example = loading.load_all(delivered_to=tmp_path)[0]
    loaded = sketches.load(example, untrained)
    assert Subject.objects.filter(kind=SubjectKind.CONCEPT).count() == 12
    assert not example.campaign.subjects.exists()
    for name, prompt in (("places", "empty-place"), ("ideas", "idea-tile")):
        campaign: Campaign = getattr(loaded, name)
        text = loaded.prompts[prompt].versions.get().text
        for subject in campaign.subjects.all():
            assert "{" not in text.format_map(subject.attributes)


@pytest.mark.django_db
def test_the_models_words_are_those_of_its_captions(tmp_path: Path) -> None:
    from examples.model import captions

    plain = loading.read(loading.FOLDERS[0])["little_model"]
    vocabulary = set(captions.caption_words())
    for part, prompt in (("places", 0), ("ideas", 1)):
        text = plain["prompts"][prompt]["versions"][0]["text"]
        for subject in plain[part]["subjects"]:
            caption = text.format_map(subject["attributes"]).replace(",", " ,")
            assert set(caption.split()) <= vocabulary, caption


@pytest.mark.django_db
def test_an_endpoint_follows_weights_that_have_moved(tmp_path: Path, untrained: Path) -> None:
    example = loading.load_all(delivered_to=tmp_path)[0]
    endpoint = sketches.load(example, untrained).endpoint
    endpoint.refresh_from_db()
    assert endpoint.config["max_side"] == 64
    assert (endpoint.disclaimer, endpoint.price_per_image) == ("demo model", 0)
    Endpoint.objects.filter(pk=endpoint.pk).update(config={**endpoint.config, "model": "/gone", "threads": 2})
    assert sketches.load(example, untrained).endpoint.config["model"] == str(untrained)


def test_without_weights_or_torch_a_message_explains_what_to_do(
    tmp_path: Path, untrained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sketches.unavailable_reason(untrained) == ""
    assert "examples.model" in sketches.unavailable_reason(tmp_path)
    monkeypatch.setattr(sketches, "REQUIRED_PACKAGES", ("torch", "no_such_package"))
    assert sketches.unavailable_reason(untrained) == "no_such_package is not installed; `make engines` does that."


def test_an_installation_that_failed_is_reported_with_its_log(
    tmp_path: Path, untrained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = demo.Command()
    with supervisor.run_in_background(
        [sys.executable, "-c", "raise SystemExit(1)"], log=tmp_path / "engines.log"
    ) as failed:
        assert failed.process is not None
        failed.process.wait(60)
        command.installing = failed
        assert command._find_obstacle(untrained) == ""  # torch is installed
        monkeypatch.setattr(sketches, "REQUIRED_PACKAGES", ("torch", "no_such_package"))
        assert "engines.log says why" in command._find_obstacle(untrained)
        command.installing = supervisor.BackgroundCommand(tmp_path / "engines.log")
        assert command._find_obstacle(untrained) == sketches.unavailable_reason(untrained)


def test_a_thing_on_the_table_is_more_clutter_than_its_shading() -> None:
    shade = np.linspace(120, 230, 128, dtype=np.uint8)
    table = np.repeat(np.repeat(shade[None, :, None], 128, axis=0), 3, axis=2)
    thing = table.copy()
    thing[60:110, 50:78] = (30, 90, 100)
    assert sketches.clutter(table) < 2
    assert sketches.clutter(thing) > sketches.MAX_CLUTTER


# -- processes beside the demo ---------------------------------------------------------------------------------------


def test_a_background_process_writes_into_its_file_and_reports_how_it_ended(tmp_path: Path) -> None:
    code = "print('fetching'); raise SystemExit(3)"
    with supervisor.run_in_background([sys.executable, "-c", code], log=tmp_path / "log" / "it.log") as background:
        assert background.process is not None
        background.process.wait(60)
        assert background.is_over
        assert background.has_failed
    assert (tmp_path / "log" / "it.log").read_text() == "fetching\n"


def test_a_background_process_ends_with_its_starter(tmp_path: Path) -> None:
    with supervisor.run_in_background(
        [sys.executable, "-c", "import time; time.sleep(600)"], log=tmp_path / "it.log"
    ) as background:
        assert not background.is_over
        assert not background.has_failed
    assert background.is_over


def test_without_a_background_call_the_work_is_over_at_once(tmp_path: Path) -> None:
    with supervisor.run_in_background([], log=tmp_path / "it.log") as background:
        assert background.is_over
        assert not background.has_failed
