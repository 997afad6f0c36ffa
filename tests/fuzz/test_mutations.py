"""Test that no body, address or form causes a 500, and that refusals of the API are problem+json.

All valid requests are derived: those of the API from its OpenAPI schema, those of pages from their links and forms.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.fuzz import api_requests, crawling, mutations, scripted
from tests.fuzz.conftest import IS_WHOLE
from tests.fuzz.sending import Browser, Request, find_faults

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

#: Cases per request in the usual test run; the sample is the same each time.
SAMPLE_OF_API = None if IS_WHOLE else 4
SAMPLE_OF_PAGES = None if IS_WHOLE else 1

#: Pages that the short crawl of the tests does not reach by a valid request: they need a signature, or a row in another
#: state than the first one of its kind. Their paths, queries and fields are fuzzed nevertheless.
NOT_REACHED = {
    "brands/<slug:brand>/assets/<int:asset_id>/<slug:verb>/",
    "brands/<slug:brand>/campaigns/<slug:slug>/pictures/<int:pk>/",
    "brands/<slug:brand>/campaigns/<slug:slug>/runs/new/outputs/",
    "brands/<slug:brand>/compare/<int:pk>/<int:row_number>/",
    "brands/<slug:brand>/compare/<int:pk>/reveal/",
    "brands/<slug:brand>/cutouts/undo/",
    "brands/<slug:brand>/endpoints/<slug:slug>/<slug:verb>/",
    "brands/<slug:brand>/endpoints/<slug:slug>/answer/",
    "brands/<slug:brand>/endpoints/<slug:slug>/secret/",
    "brands/<slug:brand>/endpoints/<slug:slug>/suggested/",
    "brands/<slug:brand>/endpoints/<slug:slug>/workflow/",
    "brands/<slug:brand>/guide/draft/begin/",
    "brands/<slug:brand>/guide/draft/colours/take/",
    "brands/<slug:brand>/import/<int:import_id>/columns/",
    "brands/<slug:brand>/import/<int:import_id>/columns/preview/",
    "brands/<slug:brand>/import/<int:import_id>/encoding/",
    "brands/<slug:brand>/import/<int:import_id>/file/",
    "brands/<slug:brand>/import/<int:import_id>/fix/",
    "brands/<slug:brand>/import/<int:import_id>/mistakes.csv",
    "brands/<slug:brand>/import/<int:import_id>/progress/",
    "brands/<slug:brand>/notices/<int:notice_id>/",
    "brands/<slug:brand>/notices/<slug:verb>/",
    "brands/<slug:brand>/photos/<int:photo_id>/",
    "brands/<slug:brand>/photos/<int:photo_id>/move/",
    "brands/<slug:brand>/photos/<int:photo_id>/remove/",
    "brands/<slug:brand>/photos/<int:photo_id>/restore/",
    "brands/<slug:brand>/products/<int:pk>/return/",
    "brands/<slug:brand>/products/new/",
    "brands/<slug:brand>/products/photos/again/",
    "brands/<slug:brand>/products/photos/fetching/",
    "brands/<slug:brand>/prompts/<slug:slug>/try/",
    "brands/<slug:brand>/prompts/<slug:slug>/v<int:number>/ask/",
    "brands/<slug:brand>/prompts/<slug:slug>/v<int:number>/back/",
    "brands/<slug:brand>/prompts/<slug:slug>/v<int:number>/pictures/",
    "brands/<slug:brand>/reports/campaigns/<slug:slug>/",
    "brands/<slug:brand>/reports/runs/<int:run_id>/",
    "brands/<slug:brand>/review/tasks/<int:task_id>/revise/",
    "brands/<slug:brand>/runs/<int:run_id>/compare/<int:other_id>/",
    "brands/<slug:brand>/runs/<int:run_id>/rows/",
    "brands/<slug:brand>/runs/<int:run_id>/schedule/",
    "brands/<slug:brand>/sources/<slug:slug>/state/",
    "brands/<slug:brand>/studio/<int:run_id>/",
    "brands/<slug:brand>/studio/<int:run_id>/again/",
    "brands/<slug:brand>/studio/<int:run_id>/cancel/",
    "brands/<slug:brand>/studio/<int:run_id>/keep/",
    "brands/<slug:brand>/studio/pictures/",
    "brands/<slug:brand>/tasks/<int:task_id>/<slug:verb>/",
    "feeds/images/<str:name>",
    "files/<str:token>",
    "hooks/replicate/<slug:endpoint>/<uuid:marker>",
}


@pytest.fixture(scope="module")
def api(browser: Browser) -> api_requests.Maker:
    maker = api_requests.Maker(browser)
    maker.make_all()
    return maker


@pytest.fixture(scope="module")
def pages(browser: Browser) -> crawling.CrawlResult:
    """Return what a crawl finds; Django's admin pages are included only when every case is sent."""
    roles = [role for role in crawling.STARTS if IS_WHOLE or role != "operator"]
    return crawling.Crawler(browser, most_per_route=3 if IS_WHOLE else 1).crawl(roles, scripted.requests())


def send_all(browser: Browser, run: str, requests: Iterable[Iterable[Request]], most: int | None) -> None:
    cases = [case for group in requests for case in mutations.sample(group, most)]
    faults = find_faults(browser, run, cases)
    assert not faults, f"{len(faults)} of {len(cases)} cases:\n" + "\n".join(faults)


def test_every_operation_of_the_api_can_be_reached(api: api_requests.Maker) -> None:
    missing = [
        f"{operation.name}: {api.refusals.get(operation.name, 'no rows to ask for')}"
        for operation in api.operations
        if operation.name not in api.valid
    ]
    assert not missing, "\n".join(missing)


def test_every_page_can_be_reached(pages: crawling.CrawlResult) -> None:
    missing = set(crawling.project_routes()) - pages.reached - NOT_REACHED
    assert not missing, "\n".join(sorted(missing))


def test_no_leaf_of_a_json_body_causes_a_500_of_the_api(api: api_requests.Maker, browser: Browser) -> None:
    bodies = (mutations.mutate_json(request) for request in api.valid.values() if request.json is not None)
    send_all(browser, "JSON leaves", bodies, SAMPLE_OF_API)


def test_no_query_or_path_value_causes_a_500_of_the_api(api: api_requests.Maker, browser: Browser) -> None:
    cases = (
        [*mutations.mutate_query(request, api.read[name]), *mutations.mutate_path(request)]
        for name, request in api.valid.items()
    )
    send_all(browser, "query and path values of the API", cases, SAMPLE_OF_API)


def test_no_query_or_path_value_causes_a_500_of_a_page(pages: crawling.CrawlResult, browser: Browser) -> None:
    requests = [*pages.valid(), *pages.guesses()]
    cases = (
        [*mutations.mutate_query(request, pages.read_of(request, "query")), *mutations.mutate_path(request)]
        for request in requests
    )
    send_all(browser, "query and path values of pages", cases, SAMPLE_OF_PAGES)


def test_no_form_field_causes_a_500_of_a_page(pages: crawling.CrawlResult, browser: Browser) -> None:
    forms = [request for request in [*pages.valid(), *pages.guesses()] if request.form is not None]
    cases = (mutations.mutate_form(request, pages.read_of(request, "form")) for request in forms)
    send_all(browser, "form fields of pages", cases, SAMPLE_OF_PAGES)


def test_no_json_of_a_script_causes_a_500_of_a_page(pages: crawling.CrawlResult, browser: Browser) -> None:
    bodies = (mutations.mutate_json(request) for request in pages.valid() if request.json is not None)
    send_all(browser, "JSON leaves of pages", bodies, SAMPLE_OF_API)


def test_no_form_field_causes_a_500_of_the_api(api: api_requests.Maker, browser: Browser) -> None:
    cases = (mutations.mutate_form(request, ()) for request in api.valid.values() if request.form is not None)
    send_all(browser, "form fields of the API", cases, SAMPLE_OF_API)
