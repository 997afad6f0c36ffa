"""Tests of attacks: other brands by id, guessed passwords, unreleased files, the server's own folders."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.utils import timezone

from campaigns.models import FeedImport
from core.errors import Invalid
from generation.models import Rendition
from review.delivery.webhook import Webhook
from review.services import consequences, decisions, destinations
from tests.support import factories
from tests.support.images_in_review import create_image_in_review, decision_arguments

pytestmark = pytest.mark.django_db
API = "/api/v1"
NOWHERE = 99_999_999


@pytest.mark.parametrize("name", ["template", "style"])
def test_a_prompt_of_another_brand_looks_like_one_that_does_not_exist(name, brand, other_brand, manager, api_client):
    mine = factories.PromptTemplateFactory(brand=brand)
    foreign = {
        "template": factories.PromptTemplateFactory(brand=other_brand),
        "style": factories.StylePresetFactory(brand=other_brand),
    }[name]
    client = api_client(manager)
    fields = {"template": mine.pk, "text": "A cup"}
    theirs = client.post(f"{API}/prompt-versions/", fields | {name: foreign.pk}, format="json")
    nobodys = client.post(f"{API}/prompt-versions/", fields | {name: NOWHERE}, format="json")
    assert (theirs.status_code, nobodys.status_code) == (404, 404)
    assert theirs.json()["detail"].replace(str(foreign.pk), "") == nobodys.json()["detail"].replace(str(NOWHERE), "")
    assert other_brand.name not in theirs.content.decode()


@pytest.mark.parametrize("name", ["campaign", "prompt_version", "endpoint"])
def test_a_run_cannot_name_what_belongs_to_another_brand(name, brand, other_brand, manager, api_client):
    order: dict[str, Any] = {
        "campaign": factories.CampaignFactory(brand=brand).pk,
        "prompt_version": factories.PromptVersionFactory(template__brand=brand).pk,
        "endpoint": factories.EndpointFactory().slug,
        "stage": "pilot",
    }
    foreign = {
        "campaign": factories.CampaignFactory(brand=other_brand).pk,
        "prompt_version": factories.PromptVersionFactory(template__brand=other_brand).pk,
        "endpoint": factories.EndpointFactory(brand=other_brand).slug,
    }[name]
    client = api_client(manager)
    theirs = client.post(f"{API}/runs/preview/", order | {name: foreign}, format="json")
    nobodys = "nowhere" if name == "endpoint" else NOWHERE
    absent = client.post(f"{API}/runs/preview/", order | {name: nobodys}, format="json")
    assert (theirs.status_code, absent.status_code) == (404, 404)
    assert theirs.json()["detail"].replace(str(foreign), "") == absent.json()["detail"].replace(str(nobodys), "")


@pytest.mark.parametrize("address", ["campaigns", "prompt-templates", "destinations"])
def test_a_brand_of_others_looks_like_one_that_does_not_exist(address, other_brand, manager, api_client):
    client = api_client(manager)
    fields = {"slug": "x", "name": "X", "kind": "folder", "config": {}}
    theirs = client.post(f"{API}/{address}/", fields | {"brand": other_brand.slug}, format="json")
    nobodys = client.post(f"{API}/{address}/", fields | {"brand": "nowhere"}, format="json")
    assert (theirs.status_code, nobodys.status_code) == (404, 404)
    assert theirs.json()["detail"].replace(other_brand.slug, "") == nobodys.json()["detail"].replace("nowhere", "")


def test_passwords_cannot_be_guessed_at_the_token_address(manager, client):
    cache.clear()
    manager.set_password("correct horse")
    manager.save()

    def ask(password: str) -> int:
        pair = base64.b64encode(f"{manager.username}:{password}".encode()).decode()
        return int(client.post(f"{API}/tokens/", headers={"Authorization": f"Basic {pair}"}).status_code)

    assert ask("correct horse") == 201
    answers = [ask(f"guess {number}") for number in range(12)]
    assert answers[0] == 401
    assert answers[-1] == 429
    assert ask("correct horse") == 429
    cache.clear()


def test_a_token_of_somebody_who_left_opens_nothing(manager, client):
    from knox.models import AuthToken

    _, token = AuthToken.objects.create(manager)
    headers = {"Authorization": f"Token {token}"}
    assert client.get(f"{API}/brands/", headers=headers).status_code == 200
    manager.is_active = False
    manager.save()
    assert client.get(f"{API}/brands/", headers=headers).status_code == 401


def test_the_stable_address_gives_a_file_only_while_its_approval_is_in_effect(
    brand, integrator, lead, reviewer, api_client, django_capture_on_commit_callbacks
):
    task = create_image_in_review(brand)
    rendition = Rendition.objects.filter(version__asset=task.asset).first()
    assert rendition is not None
    client = api_client(integrator)

    def status() -> int:
        return int(client.get(f"{API}/files/{rendition.pk}/").status_code)

    assert status() == 404
    decisions.approve(**decision_arguments(task), by=reviewer)
    assert status() == 404
    consequences.carry_out_due(now=timezone.now() + timedelta(seconds=31))
    assert status() == 302
    decisions.revoke(asset_id=task.asset_id, by=lead, note="wrong cup")
    assert status() == 404


def test_a_lead_cannot_have_files_written_anywhere_on_the_server(brand, lead, tmp_path, settings):
    settings.PROOFLINE = settings.PROOFLINE | {"handover_folders": [str(tmp_path / "submissions")]}
    outside = tmp_path / "elsewhere"
    (tmp_path / "submissions").mkdir()
    (tmp_path / "submissions" / "link").symlink_to(tmp_path)
    for path in (
        outside,
        tmp_path / "submissions" / ".." / "elsewhere",
        tmp_path / "submissions" / "link" / "elsewhere",
    ):
        with pytest.raises(Invalid, match="submissions"):
            destinations.create(brand=brand, by=lead, slug="out", name="Out", kind="folder", config={"path": str(path)})
    assert not outside.exists()
    inside = {"path": str(tmp_path / "submissions" / brand.slug / "shop")}
    assert destinations.create(brand=brand, by=lead, slug="in", name="In", kind="folder", config=inside).pk


def test_a_lead_cannot_borrow_the_servers_own_bucket_rights_or_reach_into_its_network(brand, lead):
    for config, secret in (
        ({"bucket": "proofline-files"}, ""),
        ({"bucket": "shop", "endpoint_url": "http://169.254.169.254"}, "a:b"),
        ({"bucket": "shop", "endpoint_url": "http://127.0.0.1:9000"}, "a:b"),
    ):
        with pytest.raises(Invalid):
            destinations.create(brand=brand, by=lead, slug="s", name="S", kind="s3", config=config, secret=secret)


def test_a_webhook_cannot_hold_a_worker_for_hours():
    assert Webhook({"url": "https://example.com", "timeout_seconds": 86400}, "").timeout_seconds <= 60


def test_no_cell_of_the_mistakes_file_is_run_as_a_formula(brand, manager, page_client):
    from django.core.files.uploadedfile import SimpleUploadedFile

    from campaigns.models import FeedImport, ImportIssue

    feed = SimpleUploadedFile("feed.csv", b"sku,name\nA-1,Cup\n")
    page_client(manager).post(f"/brands/{brand.slug}/import/", {"file": feed})
    feed_import = FeedImport.objects.get()
    ImportIssue.objects.create(
        feed_import=feed_import,
        row=2,
        column="=cmd|' /C calc'!A0",
        cell="A2",
        value="\t=1+1",
        cause="x",
        message="@SUM(1)",
    )
    answer = page_client(manager).get(f"/brands/{brand.slug}/import/{feed_import.pk}/mistakes.csv")
    text = b"".join(answer.streaming_content).decode()
    assert "'=cmd" in text and "'\t=1+1" in text and "'@SUM" in text


def test_pages_answer_a_product_called_script_with_text(brand, manager, page_client):
    factories.SubjectFactory(brand=brand, key="X-1", name="<script>alert(1)</script>")
    page = page_client(manager).get(f"/brands/{brand.slug}/products/")
    assert "<script>alert(1)" not in page.content.decode()
    assert "script-src" in page["Content-Security-Policy"] or "default-src 'self'" in page["Content-Security-Policy"]


@pytest.mark.parametrize("kind", ["master", "rendition", "version"])
def test_image_bytes_are_not_there_for_people_outside_the_brand(kind, brand, other_brand, person, page_client):
    task = create_image_in_review(brand)
    version = task.asset.versions.first()
    pk = {"master": version.master_id, "rendition": version.renditions.first().pk, "version": version.pk}[kind]
    outsider = page_client(person("admin", brand=other_brand))
    assert outsider.get(f"/files/{kind}/{pk}/").status_code == 404


def test_a_changed_file_address_opens_nothing(client):
    assert client.get("/files/WyJzaGEyNTYvYWEiXQ:1abc:forged").status_code == 403


@pytest.mark.parametrize("odd", ["²", "٣", "9" * 5000, "-1", "99999999999999999999"])
def test_odd_numbers_in_addresses_are_no_server_errors(brand, person, page_client, odd):
    client = page_client(person("lead"))
    for page in ("audit/?before=", "deliveries/?before=", "library/?after=", "review/room/?task="):
        assert client.get(f"/brands/{brand.slug}/{page}{odd}").status_code in (200, 404), page


def test_an_import_is_shown_only_under_its_own_brand(brand, other_brand, person, page_client):
    user = person("campaign_manager")
    factories.MembershipFactory(brand=other_brand, user=user, role="campaign_manager")
    feed_import = FeedImport.objects.create(
        brand=other_brand, file_name="a.csv", file_sha256="0" * 64, file_bytes=1, status="checked", requested_by=user
    )
    client = page_client(user)
    assert client.get(f"/brands/{brand.slug}/import/{feed_import.pk}/").status_code == 404
    assert client.get(f"/brands/{other_brand.slug}/import/{feed_import.pk}/").status_code == 200


def test_what_must_be_asked_cannot_be_confirmed_by_approving(brand, lead):
    from review.services import checklists

    version = checklists.create(
        brand=brand, by=lead, stage="brand", name="Brand", items=[{"code": "c", "sentence": "Colour?", "mode": "ask"}]
    )
    with pytest.raises(Invalid):
        checklists.ensure_complete(version, {"c": checklists.CONFIRMED_ON_APPROVE})
    assert checklists.ensure_complete(version, {"c": "yes"}) == {"c": "yes"}
