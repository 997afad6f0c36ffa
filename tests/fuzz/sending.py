"""Requests as plain data, and a browser that sends them in this process and rolls back the database."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, urlencode

from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.signals import got_request_exception
from django.db import transaction
from django.http import QueryDict
from django.test import Client
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart

PROBLEM = "application/problem+json"
FORM_CONTENT = "application/x-www-form-urlencoded"
Upload = tuple[str, bytes, str]
"""File name, content, content type."""


@dataclass(frozen=True)
class Request:
    """A request. `route` is the pattern of its address, e.g. "brands/<slug:brand>/"; `json` is the text of the body."""

    method: str
    route: str
    path: str
    role: str = "lead"
    query: Mapping[str, Any] = field(default_factory=dict)
    form: Mapping[str, Any] | None = None
    uploads: Mapping[str, Upload] = field(default_factory=dict)
    json: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    change: str = ""

    def but(self, change: str, **changes: Any) -> Request:
        """Return a copy of the request with changes; `change` describes them."""
        return replace(self, change=change, **changes)

    def curl(self) -> str:
        """Return the request as a curl command, with long values shortened."""
        words = [self.method, f"/{self.route} as {self.role}:", self.address()]
        if self.json is not None:
            words.append(f"json {_short(self.json)}")
        if self.form is not None:
            words.append(f"form {_short(json.dumps(self.form, default=str))}")
        if self.uploads:
            words.append(f"files {', '.join(self.uploads)}")
        return " ".join(words) + (f"   [{self.change}]" if self.change else "")

    def address(self) -> str:
        text = urlencode(list(_pairs(self.query)), errors="surrogatepass")
        return _short(f"{self.path}?{text}" if text else self.path)


def _short(text: str) -> str:
    return text if len(text) < 300 else f"{text[:200]}…({len(text)} characters)"


def _pairs(values: Mapping[str, Any]) -> Any:
    for name, value in values.items():
        for item in value if isinstance(value, list) else [value]:
            yield name, item


@dataclass
class Answer:
    """An answer. `error`: the exception behind a 500. `read`: the fields that the view read."""

    status: int
    content_type: str
    content: bytes
    seconds: float
    error: BaseException | None
    read: dict[str, set[str]]
    headers: Mapping[str, str]

    @property
    def where(self) -> str:
        """Return the deepest line of the project's own code in the traceback."""
        place, trace = "", self.error.__traceback__ if self.error else None
        while trace:
            name = trace.tb_frame.f_code.co_filename
            if "/site-packages/" not in name and "/tests/" not in name and "/lib/python" not in name:
                place = f"{'/'.join(name.split('/')[-3:])}:{trace.tb_lineno}"
            trace = trace.tb_next
        return place


class RecordingQueryDict(QueryDict):
    """A QueryDict that records the names that are read from it."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.names_read: set[str] = set()
        super().__init__(*arguments, **options)

    def __getitem__(self, key: str) -> Any:
        self.names_read.add(key)
        return super().__getitem__(key)

    def getlist(self, key: str, default: Any = None) -> Any:
        self.names_read.add(key)
        return super().getlist(key, default)

    def get(self, key: str, default: Any = None) -> Any:
        self.names_read.add(key)
        return super().get(key, default)

    def __contains__(self, key: object) -> bool:
        if isinstance(key, str):
            self.names_read.add(key)
        return super().__contains__(key)


def _recording(original: QueryDict, names_read: set[str]) -> QueryDict:
    made = RecordingQueryDict(mutable=True)
    for name, values in original.lists():
        made.setlist(name, values)
    made.names_read = names_read
    made._mutable = False
    return made


class RecordingMiddleware:
    """Tells `Browser` which query and form fields a view reads, so that new fields are fuzzed automatically."""

    read: dict[str, set[str]] = {"query": set(), "form": set()}

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        self.read["query"], self.read["form"] = set(), set()
        request.GET = _recording(request.GET, self.read["query"])
        return self.get_response(request)

    def process_view(self, request: Any, *_: Any) -> None:
        is_form = request.content_type in ("multipart/form-data", FORM_CONTENT)
        if request.method == "POST" and is_form and not request.path.startswith("/api/"):
            request.POST = _recording(request.POST, self.read["form"])


class Browser:
    """Sends requests as any person, each in a savepoint that is rolled back."""

    def __init__(self, people: Mapping[str, Any]) -> None:
        self.people = people
        self.errors: list[BaseException] = []
        self._clients: dict[str, Client] = {}
        got_request_exception.connect(self._note, weak=False, dispatch_uid="fuzz")

    def _note(self, **_: Any) -> None:
        error = sys.exc_info()[1]
        if error is not None:
            self.errors.append(error)

    def _client(self, role: str) -> Client:
        if role not in self._clients:
            self._clients[role] = Client(raise_request_exception=False)
            if role != "nobody":
                self._clients[role].force_login(self.people[role])
        return self._clients[role]

    def send(self, request: Request) -> Answer:
        client = self._client(request.role)
        cookies = dict(client.cookies.items())
        self.errors.clear()
        block = transaction.atomic()
        block._from_testcase = True  # as in Django's TestCase: services that must commit may run inside
        began = time.perf_counter()
        with block:
            response = client.generic(request.method, request.path, *_body(request), **_extra(request))
            content = b"".join(response.streaming_content) if response.streaming else response.content
            transaction.set_rollback(True)
        seconds = time.perf_counter() - began
        client.cookies.clear()
        client.cookies.update(cookies)
        return Answer(
            status=response.status_code,
            content_type=response.get("Content-Type", ""),
            content=content,
            seconds=seconds,
            error=self.errors[-1] if self.errors else None,
            read={name: set(names) for name, names in RecordingMiddleware.read.items()},
            headers=response.headers,
        )


def _extra(request: Request) -> dict[str, Any]:
    text = urlencode(list(_pairs(request.query)), errors="surrogatepass")
    return {"QUERY_STRING": text, "headers": dict(request.headers)}


def _body(request: Request) -> tuple[bytes, str]:
    if request.json is not None:
        return request.json.encode("utf-8", "surrogatepass"), request.headers.get("Content-Type", "application/json")
    if request.form is None and not request.uploads:
        return b"", FORM_CONTENT
    form = request.form or {}
    if not request.uploads:
        return urlencode(list(_pairs(form)), errors="surrogatepass").encode(), FORM_CONTENT
    parts: dict[str, Any] = {}
    for name, value in form.items():
        values = value if isinstance(value, list) else [value]
        parts[name] = [str(item).encode("utf-8", "surrogatepass") for item in values]
    for name, (file_name, data, kind) in request.uploads.items():
        parts[name] = SimpleUploadedFile(file_name, data, content_type=kind)
    return encode_multipart(BOUNDARY, parts), MULTIPART_CONTENT


def in_path(value: str) -> str:
    """Return the value as one part of a path; surrogates become the bytes that an attacker would send."""
    return quote(value, safe="", errors="surrogatepass")


#: Cases and answers with 500 by run, for the summary of `make fuzz`.
TALLY: dict[str, list[int]] = {}


def find_faults(browser: Browser, run: str, cases: Iterable[Request]) -> list[str]:
    """Send all cases; return a line for each 500 and for each refusal of the API that is not problem+json.

    Failures at the same line of the same view count once: the first request is shown.
    """
    counted = TALLY.setdefault(run, [0, 0])
    faults: dict[tuple[str, ...], str] = {}
    for case in cases:
        answer = browser.send(case)
        counted[0] += 1
        if answer.status >= 500:
            counted[1] += 1
            faults.setdefault(
                (case.route, answer.where),
                f"{answer.status} {answer.error!r:.200} at {answer.where}\n    {case.curl()}",
            )
        elif answer.status >= 400 and case.path.startswith("/api/") and answer.content_type != PROBLEM:
            what = f"{answer.status} is {answer.content_type}, not {PROBLEM}"
            faults.setdefault((case.route, what), f"{what}\n    {case.curl()}")
    return list(faults.values())
