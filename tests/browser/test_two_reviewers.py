"""Test two people who approve the same image at the same time, 200 times, in two browsers on the real web server."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from generation.models import Asset
from review.models import Decision, ReviewTask
from tests.support import factories, web_server
from tests.support.images_in_review import create_image_in_review, decision_arguments

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.slow]

ROUNDS = 200

#: Sends one approval per task; both pages send it at the same time of the machine's clock.
APPROVE_ALL = """([tasks, begin, gap, brand]) => {
  const token = document.cookie.match(/csrftoken=([^;]+)/)[1];
  const fire = async (task, at) => {
    await new Promise((done) => setTimeout(done, at - Date.now()));
    const answer = await fetch(`/brands/${brand}/review/tasks/${task.task_id}/approve/`, {
      method: "POST", headers: {"Content-Type": "application/json", "X-CSRFToken": token},
      body: JSON.stringify({version: task.version_id, seen: task.seen, answers: {}}),
    });
    const body = await answer.json();
    return [answer.status, body.detail || ""];
  };
  window.said = Promise.all(tasks.map((task, round) => fire(task, begin + round * gap)));
}"""


@pytest.fixture
def site(chromium: Any) -> Iterator[str]:
    """Yield the address of Granian on the test database, run as by `make up`."""
    with web_server.serving() as server:
        yield server.address


def _signed_in(chromium: Any, site: str, user: Any, brand: Any) -> Any:
    client = Client()
    client.force_login(user)
    context = chromium.new_context()
    session = client.cookies[settings.SESSION_COOKIE_NAME].value
    context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": site}])
    page = context.new_page()
    page.goto(f"{site}/brands/{brand.slug}/review/")
    return page


def test_of_two_approvals_at_once_one_counts_and_the_other_person_gets_a_message(chromium, site, brand, person):
    campaign = factories.CampaignFactory(brand=brand)
    run, specs = factories.RunFactory(campaign=campaign), [factories.OutputSpecFactory(campaign=campaign)]
    tasks = [
        decision_arguments(create_image_in_review(brand, campaign=campaign, run=run, specs=specs))
        for _ in range(ROUNDS)
    ]
    people = [person("reviewer", first_name="Eva"), person("reviewer", first_name="Ole")]
    pages = [_signed_in(chromium, site, reviewer, brand) for reviewer in people]
    begin = time.time() * 1000 + 2000
    for page in pages:
        page.evaluate(APPROVE_ALL, [tasks, begin, 60, brand.slug])
    first, second = (page.evaluate("() => window.said") for page in pages)
    for page in pages:
        page.context.close()

    rounds = [
        tuple(sorted([first_answer[0], second_answer[0]]))
        for first_answer, second_answer in zip(first, second, strict=True)
    ]
    assert Counter(rounds) == {(200, 409): ROUNDS}
    sentences = [answer[1] for answer in [*first, *second] if answer[0] == 409]
    assert all("approved this" in sentence for sentence in sentences), set(sentences)
    assert Decision.objects.count() == ROUNDS
    assert set(ReviewTask.objects.values_list("state", flat=True)) == {"decided"}
    assert set(Asset.objects.values_list("state", flat=True)) == {"approved"}
    # A race in which the same person always comes first would show nothing.
    assert set(Decision.objects.values_list("decided_by", flat=True)) == {reviewer.pk for reviewer in people}
