"""Tests of the admin: who may use it, that its pages work, and that every change goes through the services."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django_rq.models import Dashboard
from knox.models import AuthToken

from campaigns import models as campaigns
from core import models as core
from core.admin_base import CappedPaginator
from core.models import Brand, Event, User
from generation import models as generation
from review import models as review
from tests.support import factories as f

SECRET = "hush-4f1c9a7be2"
OURS = ("core", "campaigns", "generation", "review")
REGISTERED = sorted(admin.site._registry, key=lambda model: model._meta.label)

ON_PAGES = "has pages of its own"
KEPT = "kept by triggers, and compared with the rows by `manage.py counters verify`"
#: Models that are not in the admin, and why.
ELSEWHERE = {
    "campaigns.BriefImage": ON_PAGES,
    "campaigns.Campaign": ON_PAGES,
    "campaigns.Cutout": ON_PAGES,
    "campaigns.FeedSource": ON_PAGES,
    "campaigns.GuideImage": ON_PAGES,
    "campaigns.ImportChange": "what undoing an import needs; told as counts on its page",
    "campaigns.ImportIssue": ON_PAGES,
    "core.Notice": "one person's own, on their page of notices",
    "campaigns.OutputSpec": ON_PAGES,
    "campaigns.PromptTemplate": ON_PAGES,
    "campaigns.PromptVersion": ON_PAGES,
    "campaigns.ReferencePhoto": ON_PAGES,
    "campaigns.StagedRow": "lives for seconds, within an import",
    "core.StoredResponse": "answers of the API to one person, not to be read by another",
    "campaigns.Studio": "one per brand, written when somebody first tries free words",
    "campaigns.Subject": ON_PAGES,
    "campaigns.Variant": ON_PAGES,
    "generation.Asset": ON_PAGES,
    "generation.AssetCount": KEPT,
    "generation.AssetProblem": KEPT,
    "generation.AssetVersion": ON_PAGES,
    "generation.Cell": ON_PAGES,
    "generation.EndpointStatus": ON_PAGES,
    "generation.Comparison": ON_PAGES,
    "generation.ComparisonColumn": ON_PAGES,
    "generation.ComparisonVote": "blind: on the page of its comparison, as counts",
    "generation.Finding": ON_PAGES,
    "generation.PinnedInputs": "told as reasons on the page of the asset whose inputs moved",
    "generation.StaleAsset": ON_PAGES,
    "generation.StaleCandidate": "lives for seconds, until the assets of a change were looked at",
    "generation.JobMove": ON_PAGES,
    "generation.JobSpec": "shown with its job",
    "generation.LaneShare": "a counter of the dispatcher",
    "generation.MarkedFile": "counted on the page of its asset",
    "generation.Rendition": ON_PAGES,
    "generation.Run": ON_PAGES,
    "generation.ScheduledRun": ON_PAGES,
    "generation.ScheduledSubject": "what a scheduled run remembers to tell a change by",
    "review.RunTaskCount": KEPT,
    "review.TaskCount": KEPT,
    "review.DecisionSlot": "shown as the decision that fills it",
    "review.ReleasedVersion": "the work of marking files, of which the page of the asset counts the results",
    "review.DeliveryAttempt": "shown with its delivery",
    "review.DeliveryStep": "shown with its delivery",
    "review.WebhookAttempt": "shown with its message",
    "review.DestinationUpdate": "a request in progress, on the page of its destination",
}
ADDABLE = {
    "core.User", "core.Brand", "core.Membership", "campaigns.GuideVersion", "campaigns.StylePreset",
    "generation.Endpoint", "generation.LocalModel", "review.Checklist", "review.Reason", "review.Destination",
}  # fmt: skip
CHANGEABLE = {
    "core.Brand",
    "core.User", "generation.Endpoint", "generation.LocalModel", "review.Checklist", "review.Reason",
    "review.Destination",
}  # fmt: skip
DELETABLE = {"core.Membership", "knox.AuthToken"}


def _import() -> campaigns.FeedImport:
    by = f.UserFactory()
    return campaigns.FeedImport.objects.create(
        brand=f.BrandFactory(),
        file_name="feed.csv",
        file_sha256="0" * 64,
        file_bytes=1,
        status="applied",
        requested_by=by,
    )


def _sealed() -> core.SealedEvent:
    event = f.EventFactory()
    return core.SealedEvent.objects.create(
        brand=event.brand, seq=1, event=event, previous_hash="0" * 64, hash=f.digest(event.pk)
    )


def _attempt() -> generation.Attempt:
    job = f.JobSpecFactory().job
    return generation.Attempt.objects.create(
        job=job, number=1, lease_token="0" * 32, endpoint=job.endpoint, worker="gpu-1", started_at=timezone.now()
    )


def _ledger() -> generation.LedgerEntry:
    job = f.JobFactory()
    return generation.LedgerEntry.objects.create(campaign=job.campaign, run=job.run, job=job, kind="settle", amount=1)


def _worker() -> generation.Worker:
    now = timezone.now()
    name = f"gpu-{generation.Worker.objects.count()}"
    return generation.Worker.objects.create(name=name, lanes=["gpu"], host="h", pid=1, started_at=now, seen_at=now)


def _local_model() -> generation.LocalModel:
    number = generation.LocalModel.objects.count()
    return generation.LocalModel.objects.create(
        name=f"model {number}", path=f"/models/{number}", family="sd", revision=f.digest(number), size_bytes=1,
        licence="openrail",
    )  # fmt: skip


def _delivery() -> review.Delivery:
    delivery = f.DeliveryFactory(destination__secret=SECRET)
    delivery.attempt_rows.create(number=1, started_at=timezone.now(), message="refused")
    return delivery


def _webhook_message() -> review.WebhookMessage:
    message = f.WebhookMessageFactory(endpoint__secret=SECRET)
    message.attempt_rows.create(number=1, started_at=timezone.now(), error="It answered 500.")
    return message


MAKE: dict[type[Model], Callable[[], Model]] = {
    AuthToken: lambda: AuthToken.objects.create(f.UserFactory())[0],
    core.User: lambda: f.MembershipFactory().user,
    core.Brand: f.BrandFactory,
    core.Membership: f.MembershipFactory,
    campaigns.GuideVersion: f.GuideVersionFactory,
    campaigns.StylePreset: f.StylePresetFactory,
    campaigns.FeedImport: _import,
    core.Event: f.EventFactory,
    core.SealedEvent: _sealed,
    generation.Endpoint: lambda: f.EndpointFactory(secret=SECRET),
    generation.LocalModel: _local_model,
    generation.Worker: _worker,
    generation.Job: lambda: _attempt().job,
    generation.Attempt: _attempt,
    generation.LedgerEntry: _ledger,
    generation.Master: f.MasterFactory,
    review.Checklist: lambda: f.ChecklistVersionFactory().checklist,
    review.ChecklistVersion: f.ChecklistVersionFactory,
    review.Reason: f.ReasonFactory,
    review.Destination: lambda: f.DestinationFactory(secret=SECRET),
    review.Delivery: _delivery,
    review.ImageFeed: lambda: f.ImageFeedFactory(key=SECRET),
    review.WebhookEndpoint: lambda: f.WebhookEndpointFactory(secret=SECRET),
    review.WebhookMessage: _webhook_message,
    review.ReviewTask: f.ReviewTaskFactory,
    review.Decision: f.DecisionFactory,
}


def _address(model: type[Model], page: str, *args: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


@pytest.fixture
def operator(db: None) -> User:
    return f.UserFactory(is_superuser=True, is_staff=True)


@pytest.fixture
def admin_pages(operator: User, page_client: Callable[[User], Client]) -> Client:
    return page_client(operator)


def test_every_model_is_in_the_admin_or_has_a_reason_not_to_be() -> None:
    labels = {model._meta.label for label in OURS for model in apps.get_app_config(label).get_models()}
    registered = {model._meta.label for model in REGISTERED}
    assert labels - registered == set(ELSEWHERE)
    assert registered == {model._meta.label for model in MAKE}


@pytest.mark.parametrize("model", REGISTERED, ids=lambda model: model._meta.label)
def test_pages_of_a_model_answer_an_operator_and_show_no_secret(model: type[Model], admin_pages: Client) -> None:
    row, label = MAKE[model](), model._meta.label
    pages = {
        "changelist": (admin_pages.get(_address(model, "changelist")), 200),
        "change": (admin_pages.get(_address(model, "change", row.pk)), 200),
        "history": (admin_pages.get(_address(model, "history", row.pk)), 200),
        "add": (admin_pages.get(_address(model, "add")), 200 if label in ADDABLE else 403),
        "delete": (admin_pages.get(_address(model, "delete", row.pk)), 200 if label in DELETABLE else 403),
    }
    assert {name: page.status_code for name, (page, _) in pages.items()} == {n: code for n, (_, code) in pages.items()}
    secrets = [SECRET, *User.objects.values_list("password", flat=True)]
    assert not any(secret in page.content.decode() for page, _ in pages.values() for secret in secrets)
    assert ('name="_save"' in pages["change"][0].content.decode()) is (label in CHANGEABLE)


@pytest.mark.parametrize("key", ["\ufffd", "many", "1.5", "", "9" * 5000, "\x00"])
@pytest.mark.parametrize("model", [campaigns.GuideVersion, core.User], ids=lambda model: model._meta.label)
def test_a_selected_row_whose_key_is_none_is_refused(model: type[Model], key: str, admin_pages: Client) -> None:
    MAKE[model]()
    given = {"action": "publish", "select_across": "0", "_selected_action": key}
    assert admin_pages.post(_address(model, "changelist"), given).status_code in {302, 400, 422}


@pytest.mark.parametrize("text", ["9" * 5000, "[" * 5000, "1e400", '"\\u0000"', "NaN"])
@pytest.mark.parametrize(
    ("model", "field"),
    [(generation.Endpoint, "config"), (review.Checklist, "items")],
    ids=lambda value: value if isinstance(value, str) else value._meta.label,
)
def test_json_that_cannot_be_stored_is_refused_at_its_field(
    model: type[Model], field: str, text: str, admin_pages: Client
) -> None:
    page = admin_pages.post(_address(model, "add"), {field: text})
    assert page.status_code == 200
    assert page.context["adminform"].form.errors[field]


@pytest.mark.parametrize("model", REGISTERED, ids=lambda model: model._meta.label)
def test_an_empty_name_of_a_key_means_the_usual_one(model: type[Model], admin_pages: Client) -> None:
    row, label = MAKE[model](), model._meta.label
    assert admin_pages.get(_address(model, "change", row.pk), {"_to_field": ""}).status_code == 200
    assert admin_pages.get(_address(model, "history", row.pk), {"_to_field": ""}).status_code == 200
    deleting = admin_pages.get(_address(model, "delete", row.pk), {"_to_field": ""})
    assert deleting.status_code == (200 if label in DELETABLE else 403)
    assert admin_pages.get(_address(model, "change", row.pk), {"_to_field": "no_such"}).status_code == 400


@pytest.mark.parametrize("model", REGISTERED, ids=lambda model: model._meta.label)
def test_a_search_and_a_second_row_cost_no_more_queries(model: type[Model], admin_pages: Client) -> None:
    MAKE[model]()
    counts = []
    for _ in range(2):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert admin_pages.get(_address(model, "changelist")).status_code == 200
        counts.append(len(queries))
        for _ in range(3):
            MAKE[model]()
    assert counts[1] <= counts[0] and counts[0] <= 8, queries.captured_queries
    assert admin_pages.get(_address(model, "changelist"), {"q": "4711"}).status_code == 200


@pytest.mark.parametrize("model", REGISTERED, ids=lambda model: model._meta.label)
def test_a_reviewer_is_sent_away(model: type[Model], reviewer: User, page_client: Callable[[User], Client]) -> None:
    reviewer.is_staff = True
    reviewer.save()
    client = page_client(reviewer)
    answer = client.get(_address(model, "changelist"))
    assert answer.status_code == 302 and answer.url.startswith(reverse("admin:login"))
    assert client.get(answer.url).status_code == 403
    assert client.post(_address(model, "add"), {}).status_code == 302


def test_a_stranger_signs_in_where_everybody_does(client: Client, db: None) -> None:
    answer = client.get("/admin/core/user/", follow=True)
    assert answer.request["PATH_INFO"] == reverse("account_login")
    assert "next=%2Fadmin%2Fcore%2Fuser%2F" in answer.redirect_chain[-1][0]


def test_the_admin_index_answers(admin_pages: Client) -> None:
    page = admin_pages.get("/admin/")
    assert page.status_code == 200 and "Destinations" in page.content.decode()


# -- changes are in the audit trail ---------------------------------------------------------------------------------


def _types() -> list[str]:
    return list(Event.objects.order_by("id").values_list("type", flat=True))


def test_a_new_brand_is_in_the_trail_with_its_founder(admin_pages: Client, operator: User) -> None:
    admin_pages.post(_address(Brand, "add"), {"name": "Foxglove", "slug": "foxglove", "currency": "GBP"})
    event = Event.objects.get(type="core.brand.created")
    assert event.actor == operator and event.brand.slug == "foxglove"


def test_roles_are_given_and_taken_through_the_service(admin_pages: Client, brand: Brand, lead: User) -> None:
    user = f.UserFactory()
    given = {"brand": brand.pk, "user": user.pk, "role": "viewer"}
    assert admin_pages.post(_address(core.Membership, "add"), given).status_code == 302
    membership = user.memberships.get()
    admin_pages.post(_address(core.Membership, "delete", membership.pk), {"post": "yes"})
    assert not user.memberships.exists()
    assert _types() == ["core.member.added", "core.member.removed"]


def test_the_last_editor_of_a_brand_stays(admin_pages: Client, lead: User) -> None:
    membership = lead.memberships.get()
    assert admin_pages.post(_address(core.Membership, "delete", membership.pk), {"post": "yes"}).status_code == 409
    assert lead.memberships.exists()


def test_a_guide_is_drafted_and_published_through_the_service(admin_pages: Client, brand: Brand) -> None:
    empty = {"palette": "[]", "required_wording": "[]", "approved_wording": "[]", "banned_wording": '["cheap"]'}
    admin_pages.post(
        _address(campaigns.GuideVersion, "add"), {"brand": brand.pk, "fill_ratio": 0.8, "baseline": 0.9, **empty}
    )
    guide = brand.guide_versions.get()
    assert guide.banned_wording == ["cheap"] and guide.status == "draft"
    admin_pages.post(
        _address(campaigns.GuideVersion, "changelist"), {"action": "publish", "_selected_action": [guide.pk]}
    )
    guide.refresh_from_db()
    assert guide.status == "published"
    assert _types() == ["campaigns.guide.drafted", "campaigns.guide.published"]


def test_the_next_guide_begins_with_what_the_newest_says(admin_pages: Client, brand: Brand) -> None:
    f.GuideVersionFactory(brand=brand, number=1, status="published", fill_ratio=0.5, banned_wording=["cheap"])
    address = _address(campaigns.GuideVersion, "add") + f"?brand={brand.pk}"
    form = admin_pages.get(address).context["adminform"].form
    assert form["fill_ratio"].value() == 0.5 and "cheap" in str(form["banned_wording"])
    rest = {"palette": "[]", "required_wording": "[]", "approved_wording": "[]", "banned_wording": "[]"}
    admin_pages.post(address, {"brand": brand.pk, "fill_ratio": 0.82, "baseline": 0.9, **rest})
    newest = brand.guide_versions.get(number=2)
    assert (newest.fill_ratio, newest.banned_wording) == (0.82, [])


def test_a_row_has_no_page_outside_the_admin(admin_pages: Client) -> None:
    kinds = ContentType.objects.get_for_models(Dashboard, User).values()
    assert {admin_pages.get(f"/admin/r/{kind.pk}/1/").status_code for kind in kinds} == {404}


@pytest.mark.parametrize("value", ["word", "1.5", "9" * 40, "-1", "9" * 5000, "a" * 2000])
@pytest.mark.parametrize(
    "model", [core.Membership, campaigns.GuideVersion, campaigns.StylePreset, review.Reason, review.Destination]
)
def test_a_brand_that_is_none_is_refused_in_the_form(admin_pages: Client, model: type[Model], value: str) -> None:
    address = _address(model, "add")
    assert admin_pages.get(address, {"brand": value}).status_code == 200
    page = admin_pages.post(address, {"brand": value})
    assert page.status_code == 200
    assert "brand" in page.context["adminform"].form.errors


def test_a_refusal_of_the_service_is_shown_in_the_form(admin_pages: Client, brand: Brand) -> None:
    wrong = {"palette": '[{"name": "Clay", "hex": "brown"}]', "banned_wording": "[]", "required_wording": "[]"}
    page = admin_pages.post(
        _address(campaigns.GuideVersion, "add"),
        {"brand": brand.pk, "fill_ratio": 0.8, "baseline": 0.9, "approved_wording": "[]", **wrong},
    )
    assert page.status_code == 200 and "Write a colour as #" in page.content.decode()
    assert not brand.guide_versions.exists() and _types() == []


def test_changed_items_are_the_next_version_of_a_checklist(admin_pages: Client) -> None:
    first = f.ChecklistVersionFactory(number=1)
    address = _address(review.Checklist, "change", first.checklist_id)
    items = '[{"code": "crop", "sentence": "Nothing is cut off.", "mode": "ask"}]'
    assert admin_pages.post(address, {"items": items}).status_code == 302
    assert admin_pages.post(address, {"items": items}).status_code == 302
    assert list(first.checklist.versions.values_list("number", flat=True)) == [2, 1]
    assert _types() == ["review.checklist.published"]


def test_a_stage_begins_with_the_first_version_of_its_checklist(admin_pages: Client, brand: Brand) -> None:
    given = {"brand": brand.pk, "stage": "legal", "name": "Legal", "position": 2, "slots": 1, "due_hours": 24}
    page = admin_pages.post(_address(review.Checklist, "add"), {**given, "items": '[{"code": "x"}]'})
    assert page.status_code == 200 and "needs a sentence" in page.content.decode()
    admin_pages.post(
        _address(review.Checklist, "add"), {**given, "items": '[{"code": "x", "sentence": "It may be shown."}]'}
    )
    assert brand.checklists.get().versions.get().number == 1


def test_a_reason_is_saved_through_the_service(admin_pages: Client) -> None:
    reason = f.ReasonFactory(label="Old")
    admin_pages.post(_address(review.Reason, "change", reason.pk), {"label": "New", "position": 2})
    reason.refresh_from_db()
    assert (reason.label, reason.position, reason.is_active) == ("New", 2, False)
    assert _types() == ["review.reason.saved"]


def test_a_destinations_secret_goes_in_and_stays_when_nothing_is_given(
    admin_pages: Client, brand: Brand, tmp_path: Any
) -> None:
    path = str(tmp_path / brand.slug)
    given = {
        "brand": brand.pk,
        "slug": "shop",
        "name": "Shop",
        "kind": "folder",
        "folder_path": path,
        "new_secret": SECRET,
    }
    page = admin_pages.post(_address(review.Destination, "add"), given)
    assert page.status_code == 302, page.context["adminform"].form.errors
    destination = brand.destinations.get()
    assert destination.secret == SECRET
    admin_pages.post(
        _address(review.Destination, "change", destination.pk),
        {"name": "The shop", "folder_path": path, "new_secret": "", "is_enabled": "on"},
    )
    destination.refresh_from_db()
    assert (destination.name, destination.secret) == ("The shop", SECRET)
    assert [event.payload["secret_changed"] for event in Event.objects.order_by("id")] == [True, False]
    assert SECRET not in str(list(Event.objects.values())) + str(list(LogEntry.objects.values()))


def test_a_rejected_form_does_not_show_the_secret_that_was_typed(admin_pages: Client, brand: Brand) -> None:
    given = {"brand": brand.pk, "slug": "shop", "name": "Shop", "kind": "folder", "new_secret": SECRET}
    page = admin_pages.post(_address(review.Destination, "add"), given)
    assert page.status_code == 200 and SECRET not in page.content.decode()
    assert "is no folder of" in str(page.context["adminform"].form.errors["folder_path"])
    assert not brand.destinations.exists()


def test_the_admin_log_of_an_endpoint_has_old_and_new_values(admin_pages: Client) -> None:
    endpoint = f.EndpointFactory(price_per_image="0.02")
    given = {
        "slug": endpoint.slug, "name": endpoint.name, "engine": "packshot", "config": "{}", "initial-config": "{}",
        "lane": "gpu", "batch_size": 4, "price_per_image": "0.03", "seconds_per_image": 1, "is_enabled": "on",
        "prices": "{}", "initial-prices": "{}", "when_uncertain": "hold",
    }  # fmt: skip
    assert admin_pages.post(_address(generation.Endpoint, "change", endpoint.pk), given).status_code == 302
    assert LogEntry.objects.get().change_message == "price_per_image: 0.020000 → 0.03"


def test_an_endpoints_secret_goes_in_and_what_its_service_refuses_comes_back(admin_pages: Client, brand: Brand) -> None:
    given = {
        "slug": "flux", "name": "Flux", "engine": "replicate", "config": '{"model": "a/b"}', "lane": "gpu",
        "batch_size": 1, "price_per_image": "0", "seconds_per_image": 1, "prices": "{}", "when_uncertain": "hold",
        "new_secret": SECRET,
    }  # fmt: skip
    page = admin_pages.post(_address(generation.Endpoint, "add"), given)
    assert page.status_code == 200 and "its lane is cloud" in page.content.decode()
    assert SECRET not in page.content.decode() and not generation.Endpoint.objects.exists()
    assert admin_pages.post(_address(generation.Endpoint, "add"), given | {"lane": "cloud"}).status_code == 302
    made = generation.Endpoint.objects.get()
    assert made.secret == SECRET and _types() == ["generation.endpoint.saved"]
    kept = given | {"lane": "cloud", "name": "Flux fast", "new_secret": "", "is_enabled": "on"}
    assert admin_pages.post(_address(generation.Endpoint, "change", made.pk), kept).status_code == 302
    made.refresh_from_db()
    assert (made.name, made.secret) == ("Flux fast", SECRET)
    assert SECRET not in str(list(Event.objects.values())) + str(list(LogEntry.objects.values()))


def test_the_settings_of_a_stored_endpoint_have_fields_and_the_others_stay_json(admin_pages: Client) -> None:
    config = {"model": "a/b", "max_side": 1024, "cost_per_image": 2}
    endpoint = f.EndpointFactory(engine="replicate", lane="cloud", config=config)
    address = _address(generation.Endpoint, "change", endpoint.pk)
    form = admin_pages.get(address).context["adminform"].form
    assert form["setting_model"].value() == "a/b" and "model" not in form["config"].value()
    given = {name: form[name].value() for name in form.fields if form[name].value() not in (None, "")}
    given |= {"setting_model": "a/c"}
    assert admin_pages.post(address, given).status_code == 302
    endpoint.refresh_from_db()
    assert endpoint.config == {"model": "a/c", "max_side": 1024, "cost_per_image": 2}
    assert "setting_model: a/b → a/c" in LogEntry.objects.get().change_message
    page = admin_pages.post(address, given | {"setting_answer_seconds": "soon"})
    assert page.context["adminform"].form.errors["setting_answer_seconds"]


@pytest.mark.django_db
def test_counting_stops_before_it_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    f.EventFactory.create_batch(4)
    monkeypatch.setattr("core.admin_base.COUNTED", 3)
    assert CappedPaginator(Event.objects.all(), 2).count == 3
