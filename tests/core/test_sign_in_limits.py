"""Tests of the limits on wrong passwords: shared by all processes, per account and address, no lock-out."""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.test import Client, RequestFactory

from core import accounts, rate_limits
from core.models import User
from tests.support.racing import race

pytestmark = pytest.mark.django_db
RIGHT, WRONG = "correct horse", "wrong"
OWNER, STRANGER = "198.51.100.7", "203.0.113.9"


@pytest.fixture
def account(person: Callable[..., User]) -> User:
    user = person("viewer", username="ana", email="ana@example.com")
    user.set_password(RIGHT)
    user.save()
    return user


@pytest.fixture
def colleagues(person: Callable[..., User]) -> list[User]:
    users = [person("viewer", username=f"colleague-{number}") for number in range(8)]
    for user in users:
        user.set_password(RIGHT)
        user.save()
    return users


def sign_in(name: str, password: str, address: str = OWNER, client: Client | None = None, **meta: str) -> int:
    """Try to sign in and return the status: 302 signed in; 200 refused, by the password or by the limit."""
    client = client or Client()
    given = {"login": name, "password": password}
    return int(client.post("/accounts/login/", given, REMOTE_ADDR=address, **meta).status_code)


def token(name: str, password: str, address: str = OWNER, **meta: str) -> Any:
    pair = base64.b64encode(f"{name}:{password}".encode()).decode()
    return Client().post("/api/v1/tokens/", headers={"Authorization": f"Basic {pair}"}, REMOTE_ADDR=address, **meta)


def guess(name: str, times: int, address: str = STRANGER, **meta: str) -> list[int]:
    return [int(token(name, f"{WRONG} {number}", address, **meta).status_code) for number in range(times)]


def test_five_wrong_passwords_are_enough(account: User) -> None:
    assert guess("ana", 8) == [401] * 5 + [429] * 3
    assert token("ana", RIGHT, STRANGER).status_code == 429, "the sixth is not checked, right or wrong"
    assert 0 < int(token("ana", RIGHT, STRANGER)["Retry-After"]) <= 300


@pytest.mark.parametrize("names", [["ana"], ["ANA", "Ana"], ["ana@example.com"], ["ana", "Ana@Example.com", " ana "]])
def test_an_account_has_one_count_under_all_its_names(names: list[str], account: User) -> None:
    answers = [guess(names[number % len(names)], 1)[0] for number in range(7)]
    assert answers[-2:] == [429, 429]


def test_page_and_api_share_one_count(account: User) -> None:
    for _ in range(3):
        assert sign_in("ana", WRONG, STRANGER) == 200
    assert guess("ana", 3) == [401, 401, 429]
    assert sign_in("ana", RIGHT, STRANGER) == 200, "no longer checked"


def test_right_passwords_cost_nothing(account: User) -> None:
    for _ in range(40):
        assert token("ana", RIGHT).status_code == 201
    assert guess("ana", 6, OWNER)[-2:] == [401, 429]


@pytest.mark.parametrize("guesses", [6, 30, 60])
def test_a_stranger_elsewhere_does_not_keep_the_owner_out(guesses: int, account: User) -> None:
    guess("ana", guesses)
    assert sign_in("ana", RIGHT) == 302
    assert token("ana", RIGHT).status_code == 201


def test_guesses_from_very_many_addresses_leave_the_owner_a_try_and_the_guessers_one_each(account: User) -> None:
    for number in range(60):
        guess("ana", 1, f"203.0.113.{number}")
    assert sign_in("ana", RIGHT) == 302, "from an address that was never seen"
    assert guess("ana", 3, "192.0.2.1") == [401, 429, 429], "and not five more from each"


def test_guesses_at_very_many_accounts_from_one_address_lock_no_account(account: User, colleagues: list[User]) -> None:
    for number in range(40):
        guess(f"nobody-{number}", 1, OWNER)
    for colleague in colleagues:
        guess(colleague.username, 1, OWNER)
    assert sign_in("ana", RIGHT, OWNER) == 302, "behind the same address"
    assert sign_in(colleagues[0].username, RIGHT, "192.0.2.1") == 302, "and elsewhere"
    assert guess("nobody-0", 2, OWNER)[-1] == 429


def test_a_browser_that_is_known_is_not_kept_out_by_anybody(account: User) -> None:
    browser = Client()
    assert sign_in("ana", RIGHT, OWNER, browser) == 302
    browser.post("/accounts/logout/")
    for number in range(70):
        guess("ana", 1, f"203.0.113.{number}")
    guess("ana", 10, OWNER)
    assert token("ana", RIGHT, OWNER).status_code == 429
    assert sign_in("ana", RIGHT, OWNER, browser) == 302
    assert sign_in("ana", RIGHT, "192.0.2.44", browser) == 302, "wherever it is carried"


@pytest.mark.parametrize("change", ["password", "other account", "forged", "shortened"])
def test_a_browser_is_known_for_one_account_and_one_password(
    change: str, account: User, colleagues: list[User]
) -> None:
    browser = Client()
    assert sign_in("ana", RIGHT, OWNER, browser) == 302
    browser.post("/accounts/logout/")
    name = account.username
    if change == "password":
        account.set_password(RIGHT + "!")
        account.save()
    elif change == "other account":
        name = colleagues[0].username
    else:
        value = browser.cookies[accounts.BROWSER_COOKIE].value
        browser.cookies[accounts.BROWSER_COOKIE] = value[:-5] if change == "shortened" else f"1{value}"
    guess(name, 6, OWNER)
    right = RIGHT + "!" if change == "password" else RIGHT
    assert sign_in(name, right, OWNER, browser) == 200


def test_a_known_browser_guesses_five_times_too(account: User) -> None:
    browser = Client()
    assert sign_in("ana", RIGHT, OWNER, browser) == 302
    browser.post("/accounts/logout/")
    for _ in range(6):
        sign_in("ana", WRONG, OWNER, browser)
    assert sign_in("ana", RIGHT, OWNER, browser) == 200


def test_unknown_names_are_answered_like_known_ones(account: User) -> None:
    assert guess("ana", 7) == guess("nobody", 7)
    assert token("ana", WRONG, "192.0.2.2").json() == token("nobody", WRONG, "192.0.2.3").json()


# -- one count for all processes --------------------------------------------------------------------------------------


def test_another_process_counts_on_where_this_one_stopped(account: User) -> None:
    for _ in range(3):
        accounts.count_attempt(account=f"user {account.pk}", address=STRANGER)
    code = (
        "import django; django.setup(); from core import accounts as limits, rate_limits\n"
        f"rate_limits._PREFIX = {rate_limits._PREFIX!r}\n"
        "for _ in range(9):\n"
        f"    try: limits.count_attempt(account='user {account.pk}', address='{STRANGER}'); print('try')\n"
        "    except limits.TooManyAttempts: print('none')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["try"] * 2 + ["none"] * 7, done.stderr[-500:]


@pytest.mark.parametrize("threads", [2, 8, 16, 24, 32, 96])
def test_tries_at_the_same_moment_are_not_more_than_five(threads: int) -> None:
    attempt = partial(accounts.count_attempt, account="user 1", address=STRANGER)
    results = race(*[attempt] * threads)
    made = sum(isinstance(result, list) for result in results)
    refused = sum(isinstance(result, accounts.TooManyAttempts) for result in results)
    assert (made, refused) == (min(threads, 5), max(threads - 5, 0))


def test_without_redis_people_sign_in_and_guesses_are_still_limited(account: User, settings: Any) -> None:
    away = {"URL": "redis://127.0.0.1:1/0"}
    settings.RQ_QUEUES = settings.RQ_QUEUES | {"housekeeping": settings.RQ_QUEUES["housekeeping"] | away}
    assert sign_in("ana", RIGHT) == 302
    assert 429 in guess("ana", 8)


# -- proxies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trusted", "remote", "forwarded", "expected"),
    [
        ([], "203.0.113.9", "198.51.100.7", "203.0.113.9"),
        (["10.0.0.0/8"], "203.0.113.9", "198.51.100.7", "203.0.113.9"),
        (["10.0.0.0/8"], "10.0.0.2", "198.51.100.7", "198.51.100.7"),
        (["10.0.0.0/8"], "10.0.0.2", "192.0.2.1, 198.51.100.7", "198.51.100.7"),
        (["10.0.0.0/8"], "10.0.0.2", "192.0.2.1, 198.51.100.7, 10.9.9.9", "198.51.100.7"),
        (["10.0.0.0/8"], "10.0.0.2", "", "10.0.0.2"),
        (["10.0.0.0/8"], "10.0.0.2", "nonsense", "10.0.0.2"),
        (["10.0.0.0/8"], "10.0.0.2", "198.51.100.7, <script>", "10.0.0.2"),
        (["10.0.0.0/8"], "10.0.0.2", "10.0.0.3, 10.0.0.4", "10.0.0.3"),
        (["10.0.0.0/8"], "", "198.51.100.7", "198.51.100.7"),
        (["10.0.0.0/8"], "::ffff:10.0.0.2", "198.51.100.7", "198.51.100.7"),
        (["::1/128"], "::1", "2001:db8:1:2:aaaa::1", "2001:db8:1:2::"),
        ([], "2001:db8:1:2:bbbb::9", "", "2001:db8:1:2::"),
        ([], "", "198.51.100.7", "unknown"),
    ],
)
def test_what_a_proxy_says_counts_as_far_as_it_is_trusted(
    trusted: list[str], remote: str, forwarded: str, expected: str, settings: Any
) -> None:
    settings.PROOFLINE = settings.PROOFLINE | {"trusted_proxies": trusted}
    meta = {"REMOTE_ADDR": remote} | ({"HTTP_X_FORWARDED_FOR": forwarded} if forwarded else {})
    assert accounts.client_address(RequestFactory().post("/", **meta)) == expected


def test_a_made_up_header_gives_no_fresh_tries(account: User) -> None:
    answers = [guess("ana", 1, STRANGER, HTTP_X_FORWARDED_FOR=f"192.0.2.{number}")[0] for number in range(7)]
    assert answers == [401] * 5 + [429] * 2


def test_behind_a_trusted_proxy_people_have_counts_of_their_own(account: User, settings: Any) -> None:
    settings.PROOFLINE = settings.PROOFLINE | {"trusted_proxies": ["10.0.0.0/8"]}
    guess("ana", 8, "10.0.0.2", HTTP_X_FORWARDED_FOR=STRANGER)
    assert sign_in("ana", RIGHT, "10.0.0.2", HTTP_X_FORWARDED_FOR=OWNER) == 302
    assert guess("ana", 1, "10.0.0.2", HTTP_X_FORWARDED_FOR=STRANGER) == [429]


def test_an_address_that_another_account_only_claims_is_not_counted_or_let_in_for_it(
    colleagues: list[User], account: User
) -> None:
    """The colleagues have the same password, and allauth looks at accounts in no fixed order: most before the owner."""
    for colleague in colleagues:
        EmailAddress.objects.create(user=colleague, email="ana@example.com", verified=False)
    client = Client()
    assert sign_in("ana@example.com", RIGHT, client=client) == 302
    assert client.session["_auth_user_id"] == str(account.pk)
    account.is_active = False
    account.save()
    colleagues[0].set_password("mine")
    colleagues[0].save()
    assert sign_in("ana@example.com", "mine", "192.0.2.9") == 200
