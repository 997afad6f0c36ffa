"""Test health checks of endpoints, which a worker carries out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import django_rq
import pytest
from django.test import Client
from rq import SimpleWorker

from core.models import Brand, User
from generation.engines.base import Health
from generation.engines.replicate.engine import Replicate
from generation.models import Endpoint, Worker
from generation.services.endpoints import health
from tests.generation.endpoints.endpoint_helpers import SECRET, address
from tests.support import factories

pytestmark = pytest.mark.django_db


@pytest.mark.django_db(transaction=True)
def test_a_health_check_is_run_by_a_worker_and_shown(
    brand: Brand, manager: User, worker: Worker, page_client: Callable[[User], Client], clean_redis: Any
) -> None:
    factories.EndpointFactory(slug="studio", engine="packshot", lane="cpu")
    client = page_client(manager)
    assert client.get(address(brand, "studio/answer/")).content.decode().count("note") == 0
    page = client.post(address(brand, "studio/ask/"), headers={"HX-Request": "true"}).content.decode()
    assert "A worker asks it" in page and 'hx-trigger="load delay:1s"' in page
    queue = django_rq.get_queue("cpu")
    client.post(address(brand, "studio/ask/"))
    assert len(queue) == 1, "one question at a time"
    SimpleWorker([queue], connection=queue.connection, serializer=queue.serializer).work(burst=True)
    answer = client.get(address(brand, "studio/answer/")).content.decode()
    assert "needs neither model nor network" in answer and "hx-get" not in answer


@pytest.mark.django_db(transaction=True)
def test_a_health_check_that_no_worker_takes_is_given_up(
    brand: Brand, manager: User, clean_redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = factories.EndpointFactory(slug="studio", engine="packshot", lane="cpu")
    health.request_check(brand=brand, slug="studio", by=manager)
    assert health.get_latest_check(endpoint).is_open
    monkeypatch.setattr(health, "PATIENCE_SECONDS", 0)
    answer = health.get_latest_check(endpoint)
    assert not answer.is_open and not answer.is_ok and "No worker of the lane cpu" in answer.message


def test_a_health_report_never_repeats_the_secret(brand_endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    def raise_with_secret(self: Any) -> Any:
        raise ValueError(f"the token {SECRET} is not known")

    monkeypatch.setattr(Replicate, "health", raise_with_secret)
    report = health.run_check(brand_endpoint)
    assert report["is_ok"] is False and SECRET not in str(report)


def test_an_engine_that_does_not_answer_is_not_waited_for(
    brand_endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go = threading.Event()
    monkeypatch.setattr(health, "ANSWER_SECONDS", 0.05)
    monkeypatch.setattr(Replicate, "health", lambda self: Health(let_go.wait(60), "too late"))
    report = health.run_check(brand_endpoint)
    let_go.set()
    assert report["is_ok"] is False and "No answer within" in report["message"]
