"""Run schemathesis against the API as every role: answers match the OpenAPI schema and are never a 500."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, transaction
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from knox.models import AuthToken
from schemathesis import Case, GenerationMode
from schemathesis.core.failures import Failure, FailureGroup

from tests.fuzz.conftest import IS_WHOLE
from tests.fuzz.sending import TALLY, Browser
from tests.fuzz.world import ROLES

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

#: Cases per operation, role and mode. The usual test run sends a few, as the lead.
EXAMPLES = 20 if IS_WHOLE else 1
CAST = [*ROLES, "nobody"] if IS_WHOLE else ["lead"]

#: Statuses that valid data may get, because a schema cannot say which rows there are and in which state.
REFUSALS = [400, 401, 403, 404, 409, 412, 415, 422, 428, 429]


@pytest.fixture(scope="module")
def api(browser: Browser) -> Iterator[Any]:
    """Yield the operations of the schema; as in Django's test client, no request closes the database connection."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    config = schemathesis.Config.from_dict(
        {"checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", "3xx", *map(str, REFUSALS)]}}}
    )
    yield schemathesis.openapi.from_wsgi("/api/v1/schema/?format=json", WSGIHandler(), config=config)
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture(scope="module")
def tokens(browser: Browser) -> dict[str, dict[str, str]]:
    """Return the authentication header of each role."""
    made = {role: AuthToken.objects.create(person)[1] for role, person in browser.people.items()}
    return {"nobody": {}} | {role: {"Authorization": f"Token {token}"} for role, token in made.items()}


def excluded() -> Iterator[Any]:
    """Yield the checks that do not fit, each with its reason."""
    names = schemathesis.checks.CHECKS
    # DRF ignores unknown fields and parameters, but the check expects errors.
    yield names.get_one("negative_data_rejection")
    # The token is sent outside of the case, so the check believes that every answer is to its invented token.
    yield names.get_one("ignored_auth")


@pytest.mark.parametrize("role", CAST)
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_answers_are_what_the_schema_says(role: str, mode: GenerationMode, api: Any, tokens: Any) -> None:
    counted = TALLY.setdefault("schemathesis", [0, 0])
    faults: dict[str, str] = {}
    for result in api.get_all_operations():
        operation = result.ok()
        for case in _cases(operation, mode):
            counted[0] += 1
            for fault in _faults(case, tokens[role]):
                counted[1] += "Server error" in fault
                faults.setdefault(f"{operation.label} {fault[:60]}", f"{operation.label} as {role}: {fault}")
    assert not faults, f"{len(faults)} faults:\n" + "\n".join(faults.values())


def _cases(operation: Any, mode: GenerationMode) -> list[Case]:
    """Return the cases of an operation, the same each time."""
    made: list[Case] = []

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def collect(case: Case) -> None:
        made.append(case)

    # The operation has no input, so no input can be wrong.
    with contextlib.suppress(schemathesis.errors.SchemathesisError, Unsatisfiable):
        collect()
    return made


def _faults(case: Case, headers: dict[str, str]) -> list[str]:
    """Send one case in a savepoint that is rolled back; return the failed checks of the answer."""
    block = transaction.atomic()
    block._from_testcase = True
    with block:
        try:
            response = case.call(headers={**headers, "If-Match": "*"})
            case.validate_response(response, excluded_checks=list(excluded()))
        except FailureGroup as group:
            return [
                f"{failure.title}: {failure.message}"[:700]
                for failure in group.exceptions
                if isinstance(failure, Failure)
            ]
        finally:
            transaction.set_rollback(True)
    return []
