"""Valid requests of the API: one for each operation of its OpenAPI schema.

A new operation is fuzzed without anybody adding it here; one that no request made this way can reach fails the test.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.fuzz.api_bodies import Bodies, named, schema
from tests.fuzz.sending import Answer, Browser, Request, in_path
from tests.support import factories

#: In whose name a request is sent, until somebody's is answered well.
SENDERS = ("lead", "reviewer", "manager", "operator")
#: Rows of one kind that are read, as what one of them shows may be empty.
MOST_READS = 4


@dataclass
class Operation:
    """One method of one path of the schema."""

    method: str
    path: str
    spec: Mapping[str, Any]

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def content(self) -> Mapping[str, Any]:
        """The bodies that it takes, by content type."""
        content: Mapping[str, Any] = self.spec.get("requestBody", {}).get("content", {})
        return content


class Maker:
    """Finds a valid request of each operation. Reads come first, because writes name rows that reads have shown.

    valid: the request by the operation's name. read: the query parameters that its view has asked for. refusals: what
    an operation that could not be reached said last.
    """

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        whole = schema()
        self.operations = [
            Operation(method.upper(), path, spec)
            for path, methods in whole["paths"].items()
            for method, spec in methods.items()
        ]
        self.valid: dict[str, Request] = {}
        self.read: dict[str, set[str]] = defaultdict(set)
        self.refusals: dict[str, str] = {}
        self._bodies = Bodies(whole)
        self._rows: dict[str, list[dict[str, Any]]] = defaultdict(list)

    def make_all(self) -> None:
        every = sorted(self.operations, key=lambda one: (one.method != "GET", one.path.count("{")))
        for operation in every + every:  # once more, as some need rows that are shown later
            if operation.name not in self.valid:
                self._find(operation)

    def _find(self, operation: Operation) -> None:
        bodies = list({repr(body): body for body in self._bodies.of(operation.content)}.values())
        reads = MOST_READS if operation.method == "GET" else 1
        good = 0
        for parameters, body in itertools.product(self._parameters(operation), bodies):
            if good == reads:
                return
            for role in SENDERS:
                request = self._request(operation, parameters, body, role)
                answer = self.browser.send(request)
                self.read[operation.name] |= answer.read["query"]
                if answer.status < 400:
                    self.valid.setdefault(operation.name, request)
                    self._learn(operation, answer)
                    good += 1
                    break
                text = answer.content.decode(errors="replace")[-400:]
                self.refusals[operation.name] = f"{answer.status} {text}\n    {request.curl()}"
                if answer.status not in (403, 409):  # somebody else would get the same answer
                    break

    def _learn(self, operation: Operation, answer: Answer) -> None:
        """Remember the rows that a read shows, and those whose addresses it names."""
        if operation.method != "GET" or answer.content_type != "application/json":
            return
        shown = json.loads(answer.content)
        self._bodies.learn(shown)
        if isinstance(shown, dict) and isinstance(shown.get("results"), list):
            self._rows[operation.path] += shown["results"]
        for collection, number in re.findall(r"/api/v1/([\w-]+)/(\d+)/", answer.content.decode()):
            self._rows[f"/api/v1/{collection}/"].append({"id": int(number)})

    def _parameters(self, operation: Operation) -> Iterator[dict[str, Any]]:
        """What may stand in the path: rows of the collection that is named before the parameter."""
        names = re.findall(r"{(\w+)}", operation.path)
        choices = []
        for name in names:
            collection = operation.path.split(f"{{{name}}}")[0].split("/")[-2]
            rows = self._rows.get(f"/api/v1/{collection}/", [])
            values = [row.get(name, row.get("slug", row.get("id"))) for row in rows]
            choices.append((values or self._bodies.known.get(name, []))[:12])
        for chosen in itertools.product(*choices):
            yield dict(zip(names, chosen, strict=True))

    def _request(self, operation: Operation, parameters: dict[str, Any], body: dict[str, Any], role: str) -> Request:
        path = operation.path
        for name, value in parameters.items():
            path = path.replace(f"{{{name}}}", in_path(str(value)))
        query = {
            one["name"]: self._bodies.value(one["name"], one["schema"])
            for one in operation.spec.get("parameters", [])
            if one["in"] == "query" and one.get("required")
        }
        headers = {"If-Match": "*"}
        if any("basicAuth" in way for way in operation.spec.get("security", [])):
            pair = base64.b64encode(f"{role}:{factories.PASSWORD}".encode()).decode()
            headers["Authorization"] = f"Basic {pair}"
        body = self._about_its_row(operation, path, body, role)
        return Request(operation.method, operation.path.lstrip("/"), path, role, query=query, headers=headers, **body)

    def _about_its_row(self, operation: Operation, path: str, body: dict[str, Any], role: str) -> dict[str, Any]:
        """The body with what only the row in the path can say: the version to decide about, and its token."""
        given = json.loads(body.get("json", "null"))
        if not isinstance(given, dict) or not given.keys() & {"seen", "version"}:
            return body
        detail = path[: path.rstrip("/").rfind("/") + 1]
        answer = self.browser.send(Request("GET", operation.path, detail, role))
        if answer.status != 200:
            return body
        own: dict[str, Any] = {}
        for name, value in named(json.loads(answer.content)):
            own.setdefault(name, value)
        return {"json": json.dumps({name: own.get(name, value) for name, value in given.items()})}
