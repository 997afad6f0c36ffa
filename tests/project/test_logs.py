"""Test logs: one line per record, with the same keys for all loggers."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from django.test import RequestFactory

from config import logs


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Yield a function that returns the parsed lines so far."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.formatter())
    monkeypatch.setattr("sys.stderr", io.StringIO())  # not a terminal
    logger = logging.getLogger("tests.logs")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logger.removeHandler(handler)
    logger.propagate = True


def test_our_own_and_other_peoples_records_have_the_same_keys(written: Any) -> None:
    structlog.get_logger("tests.logs").info("job.claimed", job=7)
    logging.getLogger("tests.logs").info("claimed %s", "job", extra={"job": 7})
    own_record, other_record = written()
    assert own_record["event"] == "job.claimed"
    assert other_record["event"] == "claimed job"
    assert own_record.keys() == other_record.keys() == {"event", "job", "level", "logger", "timestamp"}


def test_a_traceback_stays_in_its_line(written: Any) -> None:
    try:
        raise ValueError("first line\nsecond line")
    except ValueError:
        logging.getLogger("tests.logs").exception("went wrong")
    (line,) = written()
    assert line["level"] == "error"
    assert "ValueError: first line\nsecond line" in line["exception"]


def test_a_failed_request_is_shown_without_its_query(written: Any) -> None:
    request = RequestFactory().get("/feeds/1/images.xml?key=k-e-y")
    logging.getLogger("tests.logs").error("Internal Server Error", extra={"request": request})
    (line,) = written()
    assert line["request"] == "GET /feeds/1/images.xml"
