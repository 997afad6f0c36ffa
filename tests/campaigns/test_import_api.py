"""Tests of imports by API: upload with a mapping, check again with fixes, apply, undo; long work answers 202."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from campaigns.models import FeedImport, Subject
from campaigns.services import imports
from core.models import Brand

pytestmark = pytest.mark.django_db(transaction=True)

API = "/api/v1/imports/"
WRONG = "sku,name,price\nA-1,Mug,cheap\nA-1,Mug again,3\n"
ODD = "Art.;Was;Glasur\nM-1;Becher;salbei\n"


def upload(client: Any, brand: Brand, text: str, **fields: Any) -> Any:
    file = io.BytesIO(text.encode())
    file.name = "products.csv"
    headers = fields.pop("headers", {})
    return client.post(API, {"brand": brand.slug, "file": file} | fields, headers=headers)


def test_a_feed_with_a_mapping_is_applied_and_undone(brand, manager, api_client):
    client = api_client(manager)
    fields = json.dumps({"Art.": "key", "Was": "name", "Glasur": "attribute:colour"})
    answer = upload(client, brand, ODD, mapping=fields)
    assert answer.status_code == 201, answer.json()
    body = answer.json()
    assert (body["status"], body["created"], body["errors"]) == ("applied", 1, [])
    assert body["mapping"]["Was"] == "name"
    assert Subject.objects.get().attributes == {"colour": "salbei"}
    assert client.get(answer["Location"]).json()["status"] == "applied"
    undone = client.post(f"{API}{body['id']}/undo/")
    assert undone.status_code == 200
    assert undone.json()["undone_counts"] == {"removed": 1, "restored": 0, "kept": 0, "retired": 0}
    again = client.post(f"{API}{body['id']}/undo/")
    assert (again.status_code, again["Content-Type"]) == (409, "application/problem+json")
    assert manager.display_name in again.json()["detail"]
    assert not Subject.objects.exists()


def test_a_checked_feed_is_corrected_by_fixes_and_applied(brand, manager, api_client):
    client = api_client(manager)
    body = upload(client, brand, WRONG, dry_run=True).json()
    assert (body["status"], body["issue_counts"]) == ("checked", {"price_unreadable": 1, "duplicate_key": 1})
    assert client.post(f"{API}{body['id']}/apply/").status_code == 409
    fixes = [{"cause": "price_unreadable", "fix": "leave_empty"}, {"cause": "duplicate_key", "fix": "keep_last"}]
    mended = client.post(f"{API}{body['id']}/check/", {"fixes": fixes}, format="json").json()
    assert (mended["error_count"], [fix["changed"] for fix in mended["fixes"]]) == (0, [1, 1])
    applied = client.post(f"{API}{body['id']}/apply/").json()
    assert (applied["status"], Subject.objects.get().name) == ("applied", "Mug again")


def test_fixes_may_come_with_the_file(brand, manager, api_client):
    fixes = json.dumps(
        [{"cause": "price_unreadable", "fix": "leave_empty"}, {"cause": "duplicate_key", "fix": "keep_first"}]
    )
    body = upload(api_client(manager), brand, WRONG, fixes=fixes).json()
    assert (body["status"], body["created"]) == ("applied", 1)


def test_titles_become_articles(brand, manager, api_client):
    body = upload(api_client(manager), brand, "title\nHow a glaze gets its colour\n", kind="article").json()
    assert (body["status"], body["subject_kind"], Subject.objects.get().kind) == ("applied", "article", "article")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"mapping": '{"Art.": "nonsense"}'}, "known are key"),
        ({"mapping": "[1]"}, "heading -> field"),
        ({"mapping": "{"}, "valid JSON"),
        ({"fixes": '[{"cause": "price_unreadable", "fix": "guess"}]'}, "known are number_in_text"),
        ({"kind": "novel"}, "novel"),
    ],
)
def test_an_invalid_choice_is_refused_with_the_valid_ones(fields, words, brand, manager, api_client):
    answer = upload(api_client(manager), brand, ODD, **fields)
    assert answer.status_code == 422
    assert words in json.dumps(answer.json())
    assert not FeedImport.objects.exists()


def test_a_large_file_answers_202_with_where_to_look(brand, manager, api_client, monkeypatch):
    monkeypatch.setattr(imports, "MAX_IMMEDIATE_BYTES", 10)
    client = api_client(manager)
    answer = upload(client, brand, "sku,name\n1,Mug\n")
    assert (answer.status_code, answer.json()["status"]) == (202, "waiting")
    assert not Subject.objects.exists()
    assert imports.process_waiting(answer.json()["id"])
    assert client.get(answer["Location"]).json()["status"] == "applied"
    assert Subject.objects.get().name == "Mug"


def test_a_repeated_upload_with_its_key_is_one_import(brand, manager, api_client):
    client = api_client(manager)
    first, second = (
        upload(client, brand, "sku,name\n1,Mug\n", headers={"Idempotency-Key": "feed-1"}) for _ in range(2)
    )
    assert first.json()["id"] == second.json()["id"]
    assert second["Idempotency-Replayed"] == "true"
    assert FeedImport.objects.count() == 1


@pytest.mark.parametrize("verb", ["check", "apply", "undo"])
def test_imports_of_other_brands_do_not_exist_and_viewers_may_not(
    verb, brand, other_brand, manager, viewer, person, api_client
):
    body = upload(api_client(manager), brand, "sku,name\n1,Mug\n").json()
    stranger = api_client(person("admin", brand=other_brand))
    assert stranger.post(f"{API}{body['id']}/{verb}/", {}, format="json").status_code == 404
    assert api_client(viewer).post(f"{API}{body['id']}/{verb}/", {}, format="json").status_code == 403
