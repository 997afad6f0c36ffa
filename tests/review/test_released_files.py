"""Test that the files of released images get marks before anybody asks, and that the pull API lists these files."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from core.models import User
from generation.models import Asset, Endpoint, MarkedFile, Rendition
from generation.provenance import marks, signers
from review import periodic_tasks
from review.models import ReleasedVersion, ReviewTask
from review.services import consequences, decisions, released_files, retractions
from tests.support import factories, processes
from tests.support.approved_images import approve_task
from tests.support.images_in_review import create_image_in_review, decision_arguments
from tests.support.marked_images import mark_released_files
from tests.support.racing import race_without_errors
from tests.support.sealing import seal

pytestmark = pytest.mark.django_db(transaction=True)

API = "/api/v1"


@pytest.fixture
def client(integrator: User, api_client: Callable[[User], APIClient]) -> APIClient:
    return api_client(integrator)


@pytest.fixture
def campaign(brand: Any) -> Any:
    """Return a campaign with two output specs, so that each image has two files."""
    campaign = factories.CampaignFactory(brand=brand)
    for slug in ("web", "square"):
        factories.OutputSpecFactory(campaign=campaign, slug=slug)
    return campaign


@pytest.fixture
def task(campaign: Any) -> ReviewTask:
    return create_task(campaign)


def create_task(campaign: Any) -> ReviewTask:
    return create_image_in_review(campaign.brand, campaign=campaign, specs=list(campaign.output_specs.all()))


def make_due() -> None:
    """Let the leases and waits of all work end."""
    ReleasedVersion.objects.exclude(due_at=None).update(due_at=timezone.now() - timedelta(seconds=1))


def pull(client: APIClient, url: str) -> tuple[str, bytes]:
    """Return the ETag of a listed file's address, and the bytes that it leads to."""
    redirect = client.get(url[url.index(API) :])
    assert redirect.status_code == 302
    answer = client.get(redirect["Location"])
    return redirect["ETag"].strip('"'), b"".join(answer.streaming_content)  # type: ignore[attr-defined]


def list_files(client: APIClient, asset: Asset) -> list[dict[str, Any]]:
    """Return the files of an asset, as both lists and the changes have them."""
    brand = asset.brand.slug
    [listed] = client.get(f"{API}/approved-assets/?brand={brand}").json()["results"]
    [of_product] = client.get(f"{API}/products/{asset.subject.key}/assets/?brand={brand}").json()["assets"]
    seal()
    change = client.get(f"{API}/changes/?brand={brand}").json()["changes"][-1]
    key = lambda file: file["spec"]  # noqa: E731
    files = sorted(listed["files"], key=key)
    assert sorted(of_product["files"], key=key) == sorted(change["files"], key=key) == files
    return files


def assert_listed_files_are_those_at_their_addresses(client: APIClient, asset: Asset) -> list[str]:
    files = list_files(client, asset)
    assert len(files) == 2
    for file in files:
        tag, data = pull(client, file["url"])
        assert file["sha256"] == tag == hashlib.sha256(data).hexdigest()
        assert file["bytes"] == len(data)
    return [file["sha256"] for file in files]


def company_signer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the settings of a signer that is not Proofline's own."""
    with monkeypatch.context() as patch:
        patch.setattr(signers, "SELF_MADE", "Kilnmoor Ltd")
        made = signers.self_made(folder)
    return {"certificate": made.certificates, "key": made.key, "anchors": made.anchors}


# -- an approval that takes effect ------------------------------------------------------------------------------------


def test_the_list_has_the_hash_of_what_is_downloaded(task: ReviewTask, reviewer: User, client: APIClient) -> None:
    approve_task(task, reviewer)
    mark_released_files()
    assert MarkedFile.objects.count() == 2, "before anybody asked"
    assert_listed_files_are_those_at_their_addresses(client, task.asset)
    assert MarkedFile.objects.count() == 2
    row = ReleasedVersion.objects.get()
    assert (row.due_at, row.error, row.attempts) == (None, "", 0)


def test_a_list_that_is_read_before_the_marks_says_null_and_has_another_tag_after(
    task: ReviewTask, reviewer: User, client: APIClient
) -> None:
    approve_task(task, reviewer)
    address = f"{API}/approved-assets/{task.asset_id}/?fields=files"
    before = client.get(address)
    assert [(file["sha256"], file["bytes"]) for file in before.json()["files"]] == [(None, None)] * 2
    assert client.get(address, headers={"If-None-Match": before["ETag"]}).status_code == 304
    mark_released_files()
    after = client.get(address, headers={"If-None-Match": before["ETag"]})
    assert after.status_code == 200
    assert all(file["sha256"] for file in after.json()["files"])


def test_a_file_that_is_pulled_before_the_task_is_marked_once(
    task: ReviewTask, reviewer: User, client: APIClient
) -> None:
    approve_task(task, reviewer)
    for file in list_files(client, task.asset):
        pull(client, file["url"])
    assert_listed_files_are_those_at_their_addresses(client, task.asset)
    mark_released_files()
    assert MarkedFile.objects.count() == 2
    assert_listed_files_are_those_at_their_addresses(client, task.asset)


def test_an_approval_that_is_undone_before_its_release_makes_nothing(task: ReviewTask, reviewer: User) -> None:
    decision = decisions.approve(by=reviewer, **decision_arguments(task))
    periodic_tasks.mark_released_files()
    assert not ReleasedVersion.objects.exists(), "its time to undo is not over"
    decisions.undo(decision_id=decision.pk, by=reviewer)
    consequences.carry_out_due(now=timezone.now() + timedelta(seconds=31))
    periodic_tasks.mark_released_files()
    mark_released_files()
    assert not ReleasedVersion.objects.exists()
    assert not MarkedFile.objects.exists()


def test_only_released_files_get_marks(task: ReviewTask, reviewer: User, lead: User) -> None:
    web = task.asset.versions.get().renditions.get(output_spec__slug="web")
    approve_task(task, reviewer)
    factories.RenditionFactory(version=web.version, output_spec=web.output_spec, recipe_version=2)
    mark_released_files()
    assert MarkedFile.objects.filter(rendition=web).exists()
    assert MarkedFile.objects.count() == 2, "not the one that was made later"


def test_an_image_that_is_recalled_before_its_marks_gets_none(task: ReviewTask, reviewer: User, lead: User) -> None:
    approve_task(task, reviewer)
    retractions.revoke(asset_id=task.asset_id, by=lead, note="licence ended")
    mark_released_files()
    assert not MarkedFile.objects.exists()
    assert ReleasedVersion.objects.get().due_at is None


def test_many_approvals_are_requested_by_as_many_queries_as_one(
    campaign: Any, reviewer: User, django_assert_max_num_queries: Any
) -> None:
    tasks = [create_task(campaign) for _ in range(6)]
    for task in tasks:
        decisions.approve(by=reviewer, **decision_arguments(task))
    consequences.carry_out_due(now=timezone.now() + timedelta(seconds=31))
    assert ReleasedVersion.objects.filter(due_at__isnull=False).count() == 6
    ReleasedVersion.objects.all().delete()
    with django_assert_max_num_queries(5):  # the disclaimers, the assets, one INSERT in its transaction
        assert released_files.request(task.asset_id for task in tasks) == 6
    assert released_files.request(task.asset_id for task in tasks) == 0


def test_workers_and_downloads_at_the_same_time_get_the_same_files(
    campaign: Any, reviewer: User, integrator: User, client: APIClient, api_client: Callable[[User], APIClient]
) -> None:
    for _ in range(3):
        approve_task(create_task(campaign), reviewer)
    ids = list(Rendition.objects.values_list("pk", flat=True))

    def download() -> list[str]:
        mine = api_client(integrator)
        return [mine.get(f"{API}/files/{pk}/")["ETag"].strip('"') for pk in ids]

    def work() -> list[str]:
        mark_released_files()
        return []

    answers = race_without_errors(download, work, download, work)
    listed = [Rendition.objects.get(pk=pk).marked_file for pk in ids]
    hashes = [file.sha256 for file in listed if file]
    assert [answers[0], answers[2]] == [hashes, hashes]
    assert MarkedFile.objects.count() == len(ids) == 6


# -- what can go wrong ------------------------------------------------------------------------------------------------


def test_a_worker_that_is_killed_in_the_middle_leaves_one_file_each(
    task: ReviewTask, reviewer: User, client: APIClient, clean_redis: Any
) -> None:
    approve_task(task, reviewer)
    doomed = processes.start("worker", "io", PROOFLINE_KILL_AT="released.marked")
    assert doomed.wait(60) == -signal.SIGKILL
    assert MarkedFile.objects.count() == 2
    assert not Rendition.objects.exclude(marked_file=None).exists(), "it had not recorded them yet"
    assert not released_files.mark_next(), "its lease has not ended"
    make_due()
    mark_released_files()
    assert MarkedFile.objects.count() == 2
    assert_listed_files_are_those_at_their_addresses(client, task.asset)


def test_work_that_kills_its_worker_does_not_hold_up_other_images(
    task: ReviewTask, campaign: Any, reviewer: User
) -> None:
    approve_task(task, reviewer)
    approve_task(create_task(campaign), reviewer)
    deadly, other = ReleasedVersion.objects.order_by("pk")
    ReleasedVersion.objects.filter(pk=deadly.pk).update(deaths=released_files.POLICY.max_deaths)
    ReleasedVersion.objects.filter(pk=other.pk).update(deaths=1)
    assert released_files.mark_next()
    assert ReleasedVersion.objects.filter(due_at=None).count() == 1, "tried alone, because its last attempt died"
    mark_released_files()
    deadly.refresh_from_db()
    assert (deadly.due_at, deadly.error) == (None, released_files.STOPPED)
    assert set(MarkedFile.objects.values_list("rendition__version", flat=True)) == {other.pk}


def test_a_file_that_cannot_be_marked_is_tried_again_and_holds_up_no_other(
    task: ReviewTask, campaign: Any, reviewer: User, lead: User, settings: Any, page_client: Callable[[User], Any]
) -> None:
    other = create_task(campaign)
    approve_task(task, reviewer)
    approve_task(other, reviewer)
    path = Path(settings.MEDIA_ROOT, task.asset.versions.get().renditions.get(output_spec__slug="web").storage_key)
    right = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(right + b"x")
    mark_released_files()
    row = ReleasedVersion.objects.get(version__asset=task.asset)
    assert "not the one that was approved" in row.error
    page = page_client(lead).get(f"/brands/{campaign.brand.slug}/assets/{task.asset_id}/").content.decode()
    assert "Not all files could be marked: The stored file of" in page
    assert row.due_at is not None and row.due_at > timezone.now()
    assert Rendition.objects.filter(version__asset=other.asset, marked_file=None).count() == 0
    path.write_bytes(right)
    make_due()
    mark_released_files()
    row.refresh_from_db()
    assert (row.error, row.due_at) == ("", None)
    assert not Rendition.objects.filter(marked_file=None).exists()


def test_a_signer_that_was_missing_is_made_up_for(task: ReviewTask, reviewer: User, settings: Any) -> None:
    right = settings.PROVENANCE
    settings.PROVENANCE = right | {"certificate": "/nowhere"}
    approve_task(task, reviewer)
    for _ in range(len(released_files.POLICY.waits_seconds) + 1):
        mark_released_files()
        make_due()
    row = ReleasedVersion.objects.get()
    assert row.due_at is None, "given up"
    assert "cannot be signed" in row.error
    assert periodic_tasks.mark_released_files() == 0
    settings.PROVENANCE = right
    assert periodic_tasks.mark_released_files() == 1
    mark_released_files()
    assert Rendition.objects.exclude(marked_file=None).count() == 2


# -- what was not requested, and other settings -----------------------------------------------------------------------


def test_what_was_released_before_is_found_later(task: ReviewTask, reviewer: User, client: APIClient) -> None:
    approve_task(task, reviewer)
    ReleasedVersion.objects.all().delete()
    assert periodic_tasks.mark_released_files() == 1
    mark_released_files()
    assert_listed_files_are_those_at_their_addresses(client, task.asset)
    assert periodic_tasks.mark_released_files() == 0


def test_the_same_version_that_is_released_again_is_looked_at_again(
    task: ReviewTask, reviewer: User, lead: User
) -> None:
    for _ in range(2):
        approve_task(task, reviewer)
        mark_released_files()
        retractions.reopen(asset_id=task.asset_id, by=lead, note="look again")
    approve_task(task, reviewer)
    assert ReleasedVersion.objects.get().due_at is not None


def test_another_signer_marks_anew_and_the_list_agrees_with_the_download_all_the_time(
    task: ReviewTask, reviewer: User, client: APIClient, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    approve_task(task, reviewer)
    mark_released_files()
    before, own = assert_listed_files_are_those_at_their_addresses(client, task.asset), settings.PROVENANCE
    settings.PROVENANCE = own | company_signer(tmp_path, monkeypatch)
    assert assert_listed_files_are_those_at_their_addresses(client, task.asset) == before
    assert periodic_tasks.mark_released_files() == 1
    mark_released_files()
    after = assert_listed_files_are_those_at_their_addresses(client, task.asset)
    assert set(after).isdisjoint(before)
    _tag, data = pull(client, list_files(client, task.asset)[0]["url"])
    assert marks.read(data, anchors=settings.PROVENANCE["anchors"]).credentials.state == "trusted"
    settings.PROVENANCE = own
    assert periodic_tasks.mark_released_files() == 1
    mark_released_files()
    assert assert_listed_files_are_those_at_their_addresses(client, task.asset) == before, "nothing is signed twice"
    assert MarkedFile.objects.count() == 4


def test_another_self_made_signer_leaves_the_files(task: ReviewTask, reviewer: User, settings: Any) -> None:
    """Each machine has its own; they would otherwise mark in turns for ever."""
    approve_task(task, reviewer)
    mark_released_files()
    settings.PROVENANCE = settings.PROVENANCE | {"folder": str(Path(settings.PROVENANCE["folder"]) / "other")}
    assert periodic_tasks.mark_released_files() == 0


def test_a_new_disclaimer_comes_into_the_files(task: ReviewTask, reviewer: User, client: APIClient) -> None:
    approve_task(task, reviewer)
    mark_released_files()
    Endpoint.objects.update(disclaimer="demo model")
    assert periodic_tasks.mark_released_files() == 1
    mark_released_files()
    [url, _other] = [file["url"] for file in list_files(client, task.asset)]
    assert marks.read(pull(client, url)[1]).fields.caution == "demo model"
