"""Find valid requests of pages as a person does: follow the links, and send the forms on the pages.

Pages and fields are not listed here. The test reports a page that no link, form or address in a script leads to.
"""

from __future__ import annotations

import html
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

from django.urls import Resolver404, get_resolver, resolve
from django.urls.resolvers import URLPattern, URLResolver

from tests.fuzz import world
from tests.fuzz.sending import Answer, Browser, Request, Upload, in_path

#: Where a crawl begins, and as which role.
STARTS = {
    "lead": ("/", "/accounts/email/", "/accounts/password/change/"),
    "nobody": ("/accounts/login/",),
    "operator": ("/admin/",),
}
#: The roles that send a form until one is accepted: people may not approve their own work alone.
SENDERS = ("lead", "reviewer", "manager", "operator")
#: Texts for empty fields of a form that is refused without a change.
FILLED = {"text": "a mug on oak", "name": "Fuzzed", "words": "a mug\na jar", "reason": "composition", "note": "Why not"}
LINK_ATTRIBUTES = ("href", "src", "action", "formaction", "hx-get", "hx-post", "poster")
ADDRESS = re.compile(r"(?<![\w/])/[\w./~%:-]+/?(?:\?[\w=&;.%-]*)?")


def routes(patterns: Iterable[Any] | None = None, prefix: str = "") -> Iterator[str]:
    """Yield every address pattern of the URL configuration."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        here = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, here)
        elif isinstance(pattern, URLPattern):
            yield here


def project_routes() -> Iterator[str]:
    """Yield the pages of this project, without Django's admin, allauth and the API, which has a schema."""
    return (route for route in routes() if not route.lstrip("^").startswith(("admin/", "accounts/", "api/")))


def route_of(path: str) -> str | None:
    try:
        return resolve(path).route
    except Resolver404:
        return None


@dataclass
class Form:
    """A form of a page: its target, and the fields that a browser would send unchanged."""

    method: str
    action: str
    fields: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


class Page(HTMLParser):
    """Links, forms and addresses in attributes and in the JSON of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.forms: list[Form] = []
        self.loose: dict[str, Any] = {}
        self._form: Form | None = None
        self._by_id: dict[str, Form] = {}
        self._select: tuple[str, bool] | None = None
        self._area = ""
        self._buttons: list[tuple[str, str, Form | None, dict[str, Any]]] = []
        self.feed(text)
        for method, action, form, values in self._buttons:
            around = form or Form(method, action)
            self.forms.append(Form(method, action, {**around.fields, **values}, around.files))
        self.links += ADDRESS.findall(html.unescape(text))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.links += [attributes[name] for name in LINK_ATTRIBUTES if attributes.get(name)]
        if tag == "form":
            self._form = Form(attributes.get("method", "get").upper(), attributes.get("action", ""))
            self.forms.append(self._form)
            self._by_id[attributes.get("id", "")] = self._form
        for attribute, method in (("hx-post", "POST"), ("hx-get", "GET"), ("formaction", "POST")):
            if attributes.get(attribute):
                self._buttons.append((method, attributes[attribute], self._form, _own_values(attributes)))
        form = self._by_id.get(attributes.get("form", ""), self._form) if attributes.get("form") else self._form
        if attributes.get("name"):
            self._control(tag, attributes, form)
        if tag == "option" and self._select:
            name, _ = self._select
            if form is not None and ("selected" in attributes or not form.fields.get(name)):
                form.fields[name] = attributes.get("value", "")

    def _control(self, tag: str, attributes: dict[str, str], form: Form | None) -> None:
        name, fields = attributes["name"], self.loose if form is None else form.fields
        kind = attributes.get("type", "text")
        if tag == "textarea":
            fields[name], self._area = "", name
        elif tag == "select":
            fields.setdefault(name, "")
            self._select = (name, "multiple" in attributes)
        elif tag == "input" and kind == "file":
            if form is not None:
                form.files[name] = attributes.get("accept", "")
        elif tag == "input" and kind in ("checkbox", "radio"):
            if "checked" in attributes or name not in fields:
                fields[name] = attributes.get("value", "on")
        elif tag == "input":
            fields[name] = attributes.get("value", "")
        elif tag == "button" and attributes.get("value") and form is not None:
            self._buttons.append((form.method, form.action, form, _own_values(attributes)))

    def handle_data(self, data: str) -> None:
        if self._area:
            fields = self._form.fields if self._form is not None else self.loose
            fields[self._area] = data.lstrip("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        elif tag == "select":
            self._select = None
        elif tag == "textarea":
            self._area = ""


def _own_values(attributes: dict[str, str]) -> dict[str, Any]:
    """Return what a button or an htmx element sends in addition to the fields of its form."""
    more = json.loads(attributes["hx-vals"]) if attributes.get("hx-vals", "").startswith("{") else {}
    return more | (
        {attributes["name"]: attributes["value"]} if attributes.get("name") and "value" in attributes else {}
    )


@dataclass
class CrawlResult:
    """The results of a crawl: valid requests by route, and the fields that the views read."""

    requests: dict[str, list[Request]] = field(default_factory=lambda: defaultdict(list))
    read: dict[tuple[str, str], dict[str, set[str]]] = field(default_factory=dict)
    reached: set[str] = field(default_factory=set)

    def valid(self) -> Iterator[Request]:
        """Yield one valid request per route, method and set of fields."""
        seen = set()
        for route, requests in self.requests.items():
            for request in requests:
                shape = (route, request.method, tuple(sorted(request.form or ())))
                if shape not in seen:
                    seen.add(shape)
                    yield request

    def guesses(self) -> Iterator[Request]:
        """Yield requests for routes that no valid request reached, with values from other paths."""
        values: dict[str, Any] = {"marker": "00000000-0000-4000-8000-000000000000", "token": "abc:def"}
        for requests in self.requests.values():
            for request in requests:
                values |= {name: str(value) for name, value in resolve(request.path).kwargs.items()}
        for route in set(project_routes()) - self.reached:
            path = "/" + re.sub(r"<(?:\w+:)?(\w+)>", lambda match: in_path(values.get(match[1], "1")), route)
            yield Request("GET", route, path)
            yield Request("POST", route, path, form={})

    def read_of(self, request: Request, where: str) -> set[str]:
        """Return the query ("query") or form fields ("form") that the view of this request has read."""
        return self.read.get((request.method, request.route), {}).get(where, set())


class Crawler:
    """Follows links breadth first, then sends every form once unchanged."""

    def __init__(self, browser: Browser, *, most_per_route: int) -> None:
        """`most_per_route`: how many addresses of a route to visit; rows in other states have other forms."""
        self.browser = browser
        self.most_per_route = most_per_route
        self.crawled = CrawlResult()
        self._seen: set[tuple[str, str, str]] = set()
        self._per_kind: dict[tuple[str, str, str], int] = defaultdict(int)
        self._shapes: set[tuple[Any, ...]] = set()
        self._forms: list[Request] = []

    def crawl(self, roles: Iterable[str], more: Iterable[Request]) -> CrawlResult:
        """Follow links from the first pages of each role, then send all forms and the `more` requests."""
        for role in roles:
            waiting = list(STARTS[role])
            while waiting:
                waiting += self._look(waiting.pop(0), role)
        for request in [*self._forms, *more]:
            self._submit(request)
        return self.crawled

    def _submit(self, request: Request) -> None:
        """Send a form unchanged, then with its empty fields filled, each as several roles, until it is accepted."""
        forms = [request.form]
        if request.form is not None:
            forms.append({name: value or FILLED.get(name, "1") for name, value in request.form.items()})
        for form in forms:
            for role in dict.fromkeys((request.role, *SENDERS)):
                status = self.send(request.but("", role=role, form=form)).status
                if status < 400:
                    return
                if status not in (403, 409):
                    break

    def _look(self, address: str, role: str) -> list[str]:
        """Get one address; return the addresses that it leads to."""
        parts = urlsplit(address)
        route = route_of(parts.path)
        if route is None or not self._is_new(role, route, parts):
            return []
        query: dict[str, Any] = dict(parse_qsl(parts.query, keep_blank_values=True))
        request = Request("GET", route, parts.path, role, query=query)
        answer = self.send(request)
        if answer.status in (301, 302):
            return [urljoin(address, answer.headers["Location"])]
        if answer.status != 200 or "html" not in answer.content_type:
            return []
        page = Page(answer.content.decode())
        self._collect(page, request)
        return [urljoin(address, link) for link in page.links if not link.startswith(("http", "#", "data:"))]

    def _is_new(self, role: str, route: str, parts: Any) -> bool:
        names = "&".join(sorted(name for name, _ in parse_qsl(parts.query, keep_blank_values=True)))
        key, kind = (role, parts.path, parts.query), (role, route, names)
        if key in self._seen or self._per_kind[kind] >= self.most_per_route or route.endswith("logout/"):
            return False
        self._seen.add(key)
        self._per_kind[kind] += 1
        return True

    def _collect(self, page: Page, request: Request) -> None:
        for form in page.forms:
            action = urljoin(request.path, form.action)
            parts = urlsplit(action)
            route = route_of(parts.path)
            fields = {name: value for name, value in {**form.fields}.items() if name != "csrfmiddlewaretoken"}
            shape = (form.method, route, tuple(sorted(fields)), tuple(form.files), fields.get("verb"), fields.get("do"))
            if route is None or shape in self._shapes:
                continue
            self._shapes.add(shape)
            if form.method == "GET":
                made = Request("GET", route, parts.path, request.role, query=fields)
            else:
                query: dict[str, Any] = dict(parse_qsl(parts.query, keep_blank_values=True))
                uploads = {name: upload(accept) for name, accept in form.files.items()}
                made = Request("POST", route, parts.path, request.role, query=query, form=fields, uploads=uploads)
            self._forms.append(made)

    def send(self, request: Request) -> Answer:
        """Send the request; if it succeeds, keep it as a valid one of its route."""
        answer = self.browser.send(request)
        key = (request.method, request.route)
        read = self.crawled.read.setdefault(key, {"query": set(), "form": set()})
        for name, fields in answer.read.items():
            read[name] |= fields
        if answer.status < 400:
            self.crawled.reached.add(request.route)
            self.crawled.requests[request.route].append(request)
        return answer


def upload(accept: str) -> Upload:
    """Return a file that a field with this `accept` allows."""
    if "zip" in accept:
        return ("photos.zip", b"PK\x05\x06" + bytes(18), "application/zip")
    if "csv" in accept:
        return ("feed.csv", world.FEED, "text/csv")
    if "json" in accept:
        return ("workflow.json", b"{}", "application/json")
    return ("photo.jpg", world.image_bytes(), "image/jpeg")
