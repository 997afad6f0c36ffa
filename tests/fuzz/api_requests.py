"""Valid requests of the API: one for each operation of its OpenAPI schema.

A new operation is fuzzed automatically; an operation that no such request reaches fails the test.
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

from tests.fuzz.api_bodies import Bodies, named_values, schema
from tests.fuzz.sending import Answer, Browser, Request, in_path
from tests.support import factories

#: The roles that send a request until one succeeds.
SENDERS = ("lead", "reviewer", "manager", "operator")
#: How many rows of one kind are read, because some rows may show nothing.
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
        """Return the bodies that it accepts, by content type."""
        content: Mapping[str, Any] = self.spec.get("requestBody", {}).get("content", {})
        return content


class Maker:
    """Finds a valid request of each operation. Reads come first, because writes name rows that reads have shown.

    valid: the request by the name of the operation. read: the query parameters that its view has read. refusals: the
    last answer of an operation that could not be reached.
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
        every = sorted(self.operations, key=lambda candidate: (candidate.method != "GET", candidate.path.count("{")))
        for operation in every + every:  # twice, because some need rows that are shown later
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
                if answer.status not in (403, 409):  # other roles would get the same answer
                    break

    def _learn(self, operation: Operation, answer: Answer) -> None:
        """Remember the rows that a read shows, and those whose addresses it contains."""
        if operation.method != "GET" or answer.content_type != "application/json":
            return
        shown = json.loads(answer.content)
        self._bodies.learn(shown)
        if isinstance(shown, dict) and isinstance(shown.get("results"), list):
            self._rows[operation.path] += shown["results"]
        for collection, number in re.findall(r"/api/v1/([\w-]+)/(\d+)/", answer.content.decode()):
            self._rows[f"/api/v1/{collection}/"].append({"id": int(number)})

    def _parameters(self, operation: Operation) -> Iterator[dict[str, Any]]:
        """Yield values for the path: rows of the collection that is named before the parameter."""
        names = re.findall(r"{(\w+)}", operation.path)
        choices = []
        for name in names:
            collection = operation.path.split(f"{{{name}}}")[0].split("/")[-2]
            rows = self._rows.get(f"/api/v1/{collection}/", [])
            values = [row.get(name, row.get("slug", row.get("id", row.get("asset")))) for row in rows]
            choices.append((values or self._bodies.seen_values.get(name, []))[:12])
        for chosen in itertools.product(*choices):
            yield dict(zip(names, chosen, strict=True))

    def _request(self, operation: Operation, parameters: dict[str, Any], body: dict[str, Any], role: str) -> Request:
        path = operation.path
        for name, value in parameters.items():
            path = path.replace(f"{{{name}}}", in_path(str(value)))
        query = {
            parameter["name"]: self._bodies.value(parameter["name"], parameter["schema"])
            for parameter in operation.spec.get("parameters", [])
            if parameter["in"] == "query" and parameter.get("required")
        }
        headers = {"If-Match": "*"}
        if any("basicAuth" in way for way in operation.spec.get("security", [])):
            pair = base64.b64encode(f"{role}:{factories.PASSWORD}".encode()).decode()
            headers["Authorization"] = f"Basic {pair}"
        body = self._about_its_row(operation, path, body, role)
        return Request(operation.method, operation.path.lstrip("/"), path, role, query=query, headers=headers, **body)

    def _about_its_row(self, operation: Operation, path: str, body: dict[str, Any], role: str) -> dict[str, Any]:
        """Add what depends on the row in the path to the body: the version to decide about, and its token."""
        content = json.loads(body.get("json", "null"))
        if not isinstance(content, dict) or not content.keys() & {"seen", "version"}:
            return body
        detail = path[: path.rstrip("/").rfind("/") + 1]
        answer = self.browser.send(Request("GET", operation.path, detail, role))
        if answer.status != 200:
            return body
        own: dict[str, Any] = {}
        for name, value in named_values(json.loads(answer.content)):
            own.setdefault(name, value)
        return {"json": json.dumps({name: own.get(name, value) for name, value in content.items()})}
