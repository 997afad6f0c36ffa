"""Tests that current permissions apply to files, stored responses, e-mail addresses, passwords and claims."""

from __future__ import annotations

import base64
import io
import re
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from unittest import mock

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth import hashers
from django.core.cache import cache
from django.core.management import call_command
from django.db import transaction
from django.test import Client
from django.utils import timezone
from knox.models import AuthToken

from campaigns.services import sources
from core.access import PERMISSIONS, Action, require
from core.choices import Role
from core.errors import NotAllowed
from core.models import Membership, StoredResponse, User
from core.services import tokens
from generation.models import Rendition
from review.models import Decision, ReviewTask
from review.services import decisions, queue
from tests.support import factories
from tests.support.images_in_review import create_image_in_review, decision_arguments
from tests.support.mail_server import Mailbox, mail_server, use
from tests.support.racing import race, race_without_errors

API = "/api/v1"
pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("action", Action)
def test_a_refusal_names_the_action_in_plain_words(action: Action, person: Callable[..., User]) -> None:
    user = person("viewer", brand=factories.BrandFactory(name="Kilnmoor"))
    brand = user.memberships.get().brand
    if action == Action.VIEW:
        user = person()
    with pytest.raises(NotAllowed) as refusal:
        require(user, action, brand)
    message = refusal.value.message
    assert message.startswith("You may not ") and " This needs one of these roles: " in message
    assert "_" not in message and refusal.value.extra == {"action": str(action)}


def test_a_refusal_to_edit_a_brand_reads_as_a_sentence(person: Callable[..., User]) -> None:
    user = person("viewer", brand=factories.BrandFactory(name="Kilnmoor"))
    brand = user.memberships.get().brand
    with pytest.raises(NotAllowed, match=r"^You may not edit the brand Kilnmoor\. This needs one of these roles: "):
        require(user, Action.EDIT_BRAND, brand)
    with pytest.raises(NotAllowed, match=r"^You may not import feeds and photos in Kilnmoor\."):
        require(user, Action.IMPORT_FEED, brand)


# -- files of renditions ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", Role.values)
@pytest.mark.parametrize("query", ["", "?px=96", "?v=000000000000", "?px=0"])
def test_the_file_of_an_unreleased_rendition_needs_the_right_to_pull(
    role: str, query: str, brand: Any, person: Callable[..., User], page_client: Callable[[User], Client]
) -> None:
    rendition = Rendition.objects.filter(version__asset=create_image_in_review(brand).asset).get()
    answer = page_client(person(role)).get(f"/files/rendition/{rendition.pk}/{query}")
    may_pull = Role(role) in PERMISSIONS[Action.PULL]
    if "px=" in query and may_pull:
        assert answer.status_code in (200, 422)  # the test's bytes are not an image
    else:
        assert answer.status_code == (200 if may_pull else 403)


def test_former_members_and_strangers_find_no_rendition(
    brand: Any, other_brand: Any, person: Callable[..., User], page_client: Callable[[User], Client]
) -> None:
    rendition = Rendition.objects.filter(version__asset=create_image_in_review(brand).asset).get()
    reviewer = person("reviewer")
    client = page_client(reviewer)
    assert client.get(f"/files/rendition/{rendition.pk}/").status_code == 200
    Membership.objects.filter(user=reviewer).delete()
    assert client.get(f"/files/rendition/{rendition.pk}/").status_code == 404
    assert page_client(person("admin", brand=other_brand)).get(f"/files/rendition/{rendition.pk}/").status_code == 404


def test_a_viewer_is_offered_no_file_that_would_be_refused(
    brand: Any, person: Callable[..., User], page_client: Callable[[User], Client]
) -> None:
    asset = create_image_in_review(brand).asset
    for role, is_offered in (("viewer", False), ("reviewer", True)):
        page = page_client(person(role)).get(f"/brands/{brand.slug}/assets/{asset.pk}/")
        assert page.status_code == 200
        assert (f"/brands/{brand.slug}/files/" in page.content.decode()) == is_offered


# -- responses stored for an Idempotency-Key --------------------------------------------------------------------------


def _zip() -> io.BytesIO:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        archive.writestr(zipfile.ZipInfo("nobody.jpg"), b"x")  # fixed date: always the same archive
    body.seek(0)
    body.name = "photos.zip"
    return body


def _decide(client: Any, brand: Any, headers: Any) -> Any:
    task = ReviewTask.objects.filter(brand=brand).first() or create_image_in_review(brand)
    decision = {
        "decision": "approved",
        "version": task.asset.versions.get().pk,
        "seen": decision_arguments(task)["seen"],
    }
    return client.post(f"{API}/tasks/{task.pk}/decide/", decision, format="json", **headers)


def _push(client: Any, brand: Any, headers: Any) -> Any:
    lead = User.objects.filter(is_superuser=True).first() or factories.UserFactory(is_superuser=True)
    if not brand.feed_sources.exists():
        sources.create(brand=brand, by=lead, name="Push", kind="push")
    path = f"{API}/brands/{brand.slug}/sources/push/rows/"
    return client.post(path, [{"sku": "A-1", "title": "Mug"}], format="json", **headers)


CREATES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "a feed source": lambda client, brand, headers: client.post(
        f"{API}/sources/", {"brand": brand.slug, "name": "Rows", "kind": "push"}, format="json", **headers
    ),
    "a campaign": lambda client, brand, headers: client.post(
        f"{API}/campaigns/", {"brand": brand.slug, "slug": "c", "name": "Autumn"}, format="json", **headers
    ),
    "a prompt": lambda client, brand, headers: client.post(
        f"{API}/prompt-templates/", {"brand": brand.slug, "slug": "p", "name": "Studio"}, format="json", **headers
    ),
    "photos": lambda client, brand, headers: client.post(
        f"{API}/photos/", {"brand": brand.slug, "file": _zip()}, format="multipart", **headers
    ),
    "a decision": _decide,
    "pushed rows": _push,
}


@pytest.mark.parametrize("kind", CREATES)
def test_a_stored_response_is_given_only_to_people_who_still_have_the_right(
    kind: str, brand: Any, other_brand: Any, person: Callable[..., User], api_client: Any
) -> None:
    lead = person("lead")
    factories.MembershipFactory(brand=other_brand, user=lead, role="admin")
    client, headers = api_client(lead), {"HTTP_IDEMPOTENCY_KEY": "k-1"}
    first = CREATES[kind](client, brand, headers)
    assert first.status_code == 201, first.content
    replayed = CREATES[kind](client, brand, headers)
    assert (replayed.status_code, replayed.json()) == (201, first.json())
    assert replayed["Idempotency-Replayed"] == "true"

    membership = Membership.objects.get(brand=brand, user=lead)
    membership.delete()
    gone = CREATES[kind](client, brand, headers)
    assert gone.status_code == 404 and "id" not in gone.json()
    viewer = factories.MembershipFactory(brand=brand, user=lead, role="viewer")
    refused = CREATES[kind](client, brand, headers)
    assert refused.status_code == 403 and "id" not in refused.json()
    viewer.delete()
    factories.MembershipFactory(brand=brand, user=lead, role="lead")
    assert CREATES[kind](client, brand, headers).json() == first.json()
    assert StoredResponse.objects.count() == 1


def test_an_answer_of_an_earlier_version_is_withheld_and_the_request_not_repeated(
    brand: Any, lead: Any, api_client: Any
) -> None:
    client, headers = api_client(lead), {"HTTP_IDEMPOTENCY_KEY": "k-1"}
    assert CREATES["a campaign"](client, brand, headers).status_code == 201
    StoredResponse.objects.update(rights=None)
    assert CREATES["a campaign"](client, brand, headers).status_code == 409
    assert brand.campaigns.count() == 1


# -- e-mail addresses -------------------------------------------------------------------------------------------------


@pytest.fixture
def box(settings: Any) -> Iterator[Mailbox]:
    with mail_server() as made:
        use(settings, made)
        yield made


@pytest.fixture(autouse=True)
def no_mail_was_sent_lately() -> None:
    """Clear the limit: a confirmation mail is sent to one address at most once in three minutes."""
    cache.clear()


def add_address(client: Client, address: str) -> Any:
    return client.post("/accounts/email/", {"action_add": "", "email": address})


@pytest.mark.parametrize("act", ["action_primary", "sign in", "notices", "twice", "in capitals"])
def test_an_address_that_is_not_proved_counts_for_nothing(
    act: str, person: Callable[..., User], page_client: Callable[[User], Client], box: Mailbox
) -> None:
    user = person("viewer", email="old@example.com")
    user.set_password("correct horse")
    user.save()
    client = page_client(User.objects.get(pk=user.pk))
    assert add_address(client, "new@example.com").status_code == 302
    if act == "action_primary":
        client.post("/accounts/email/", {"action_primary": "", "email": "new@example.com"})
    if act == "twice":
        client.post("/accounts/email/", {"action_send": "", "email": "new@example.com"})
    login = "NEW@example.com" if act == "in capitals" else "new@example.com"
    answer = Client().post("/accounts/login/", {"login": login, "password": "correct horse"})
    assert answer.status_code == 200, "nobody is signed in by it"
    user.refresh_from_db()
    assert user.email == "old@example.com"
    assert not EmailAddress.objects.filter(user=user, email="new@example.com", verified=True).exists()
    assert not EmailAddress.objects.filter(user=user, email="new@example.com", primary=True).exists()


def test_a_proved_address_can_be_signed_in_with_and_chosen(
    person: Callable[..., User], page_client: Callable[[User], Client], box: Mailbox
) -> None:
    user = person("viewer", email="old@example.com")
    user.set_password("correct horse")
    user.save()
    client = page_client(User.objects.get(pk=user.pk))
    add_address(client, "new@example.com")
    mails = [mail for recipients, mail in box.mails if recipients == ["new@example.com"]]
    link = re.search(r"/accounts/confirm-email/\S+/", mails[0].get_body(("plain",)).get_content())
    assert link, "the proof is sent to the address itself"
    assert client.post(link[0]).status_code == 302
    assert (
        Client().post("/accounts/login/", {"login": "new@example.com", "password": "correct horse"}).status_code == 302
    )
    client.post("/accounts/email/", {"action_primary": "", "email": "new@example.com"})
    user.refresh_from_db()
    assert user.email == "new@example.com"


def test_without_mail_no_address_is_added(person: Callable[..., User], page_client: Callable[[User], Client]) -> None:
    user = person("viewer", email="old@example.com")
    answer = add_address(page_client(user), "new@example.com")
    assert answer.status_code == 200 and "cannot be proved" in answer.content.decode()
    assert not EmailAddress.objects.filter(email="new@example.com").exists()


def test_the_page_of_addresses_is_for_people_who_are_signed_in() -> None:
    assert Client().get("/accounts/email/").status_code == 302
    assert Client().post("/accounts/email/", {"action_add": "", "email": "a@example.com"}).status_code == 302


# -- passwords --------------------------------------------------------------------------------------------------------


def by_page(user: User) -> None:
    client = Client()
    assert client.login(username=user.username, password="correct horse")
    given = {"oldpassword": "correct horse", "password1": "battery staple", "password2": "battery staple"}
    assert client.post("/accounts/password/change/", given).status_code == 302


def by_operator(user: User) -> None:
    client = Client()
    client.force_login(factories.UserFactory(is_superuser=True, is_staff=True))
    given = {"password1": "battery staple", "password2": "battery staple", "usable_password": "true"}
    assert client.post(f"/admin/core/user/{user.pk}/password/", given).status_code == 302


def by_operator_without_one(user: User) -> None:
    client = Client()
    client.force_login(factories.UserFactory(is_superuser=True, is_staff=True))
    answer = client.post(f"/admin/core/user/{user.pk}/password/", {"usable_password": "false", "unset-password": ""})
    assert answer.status_code == 302


def by_command(user: User) -> None:
    with mock.patch("getpass.getpass", return_value="battery staple"):  # the tests have no terminal
        call_command("changepassword", user.username, stdout=io.StringIO())


def by_code(user: User) -> None:
    user = User.objects.get(pk=user.pk)
    user.set_password("battery staple")
    user.save(update_fields=["password"])


@pytest.mark.parametrize("change", [by_page, by_operator, by_operator_without_one, by_command, by_code])
def test_a_new_password_ends_sessions_and_tokens(change: Callable[[User], None], person: Callable[..., User]) -> None:
    user, other = person("lead"), person("lead")
    for account in (user, other):
        account.set_password("correct horse")
        account.save()
    clients = {member.pk: (Client(), f"Token {tokens.create(user=member)}") for member in (user, other)}
    for account in (user, other):
        assert clients[account.pk][0].login(username=account.username, password="correct horse")
    change(user)
    for account, is_in in ((user, False), (other, True)):
        client, token = clients[account.pk]
        assert client.get("/accounts/email/").status_code == (200 if is_in else 302)
        answer = Client().get(f"{API}/brands/", headers={"Authorization": token})
        assert answer.status_code == (200 if is_in else 401)
        assert client.get(f"{API}/brands/").status_code == (200 if is_in else 401)


def test_other_changes_of_an_account_end_nothing(person: Callable[..., User], settings: Any) -> None:
    user = person("lead")
    settings.PASSWORD_HASHERS = [
        "django.contrib.auth.hashers.PBKDF2PasswordHasher", "django.contrib.auth.hashers.MD5PasswordHasher",
    ]  # fmt: skip
    user.password = hashers.make_password("correct horse", hasher="md5")
    user.save()
    tokens.create(user=user)
    user.first_name = "Ana"
    user.save()
    assert user.check_password("correct horse")
    assert User.objects.get(pk=user.pk).password.startswith("pbkdf2"), "the hash was renewed, the password not"
    assert AuthToken.objects.filter(user=user).count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("number", range(5))
def test_a_token_that_is_made_while_the_password_changes_does_not_outlive_it(
    number: int, person: Callable[..., User]
) -> None:
    user = person("lead")
    signed_in = User.objects.get(pk=user.pk)
    changed = User.objects.get(pk=user.pk)
    changed.set_password("battery staple")
    saved, made = race(changed.save, partial(tokens.create, user=signed_in))
    assert saved is None
    assert isinstance(made, str | NotAllowed)
    assert not AuthToken.objects.filter(user=user).exists()


def test_a_token_cannot_be_made_with_what_was_proved_before_the_change(person: Callable[..., User]) -> None:
    user = person("lead")
    before = User.objects.get(pk=user.pk)
    by_code(user)
    with pytest.raises(NotAllowed, match="new one"):
        tokens.create(user=before)
    pair = base64.b64encode(f"{user.username}:battery staple".encode()).decode()
    assert Client().post(f"{API}/tokens/", headers={"Authorization": f"Basic {pair}"}).status_code == 201


# -- claims -----------------------------------------------------------------------------------------------------------


def count_claims(user: User) -> int:
    return ReviewTask.objects.filter(claimed_by=user, claimed_until__gt=timezone.now(), state="open").count()


def many_in_review(brand: Any, count: int, stages: tuple[str, ...] = ("brand",)) -> None:
    """Make open tasks with one image each, in these stages by turns."""
    run = factories.RunFactory(campaign=factories.CampaignFactory(brand=brand))
    version = factories.ChecklistVersionFactory(checklist__brand=brand, checklist__stage=f"any-{run.pk}")
    for number in range(count):
        asset = factories.AssetFactory(cell=factories.CellFactory(run=run), state="in_review")
        stage = stages[number % len(stages)]
        factories.ReviewTaskFactory(asset=asset, stage=stage, state="open", checklist_version=version)


@pytest.mark.parametrize(
    ("sizes", "expected"), [((100,), 40), ((30, 100), 40), ((20, 20, 20), 20), ((10, 41), 40), ((40, 40), 40)]
)
def test_one_person_holds_at_most_forty_images_of_a_stage(
    sizes: tuple[int, ...], expected: int, brand: Any, reviewer: User
) -> None:
    many_in_review(brand, 55)
    for size in sizes:
        queue.claim_batch(brand=brand, by=reviewer, size=size)
    assert count_claims(reviewer) == expected


def test_forty_count_over_stages_and_brands(
    brand: Any, other_brand: Any, reviewer: User, person: Callable[..., User]
) -> None:
    factories.MembershipFactory(brand=other_brand, user=reviewer, role="reviewer")
    many_in_review(brand, 60, ("brand", "legal"))
    many_in_review(other_brand, 30)
    for task_brand, stage in ((brand, "brand"), (brand, "legal"), (other_brand, "brand")):
        queue.claim_batch(brand=task_brand, by=reviewer, size=25, stage=stage)
    assert count_claims(reviewer) == 40
    somebody = person("reviewer")
    assert len(queue.claim_batch(brand=brand, by=somebody, size=20)) > 0, "the limit is each person's own"
    queue.release_claims(brand=brand, by=reviewer)
    assert len(queue.claim_batch(brand=other_brand, by=reviewer, size=40)) > 0


@pytest.mark.django_db(transaction=True)
def test_forty_hold_when_one_person_starts_in_many_windows_at_once(brand: Any, reviewer: User) -> None:
    many_in_review(brand, 120, ("brand", "legal", "shop"))

    def begin(stage: str) -> None:
        for _ in range(2):
            queue.claim_batch(brand=brand, by=reviewer, size=25, stage=stage)

    race_without_errors(*(partial(begin, stage) for stage in ("brand", "legal", "shop") * 3))
    assert count_claims(reviewer) == 40


def test_an_undone_decision_of_somebody_with_a_full_batch_leaves_the_image_unclaimed(
    brand: Any, reviewer: User
) -> None:
    task = create_image_in_review(brand)
    decisions.approve(**decision_arguments(task), by=reviewer)
    many_in_review(brand, 45)
    queue.claim_batch(brand=brand, by=reviewer, size=40)
    with transaction.atomic():
        decisions.undo(decision_id=Decision.objects.get().pk, by=reviewer)
    task.refresh_from_db()
    assert (task.state, task.claimed_by) == ("open", None)
    assert count_claims(reviewer) == 40
