"""The mutation runs: each case is a request with one place replaced by something hostile."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from typing import Any

from tests.fuzz.hostile import JSON_TOKENS, TEXTS
from tests.fuzz.sending import Request, in_path

MARK = "the place that is replaced"


def mutate_json(request: Request) -> Iterator[Request]:
    """Mutate every leaf, list and object of the body and the whole body, and add an unknown key."""
    assert request.json is not None
    body = json.loads(request.json)
    for place, marked in _places(body):
        text = json.dumps(marked)
        for name, token in JSON_TOKENS.items():
            yield request.but(f"{place or 'the body'}: {name}", json=text.replace(json.dumps(MARK), token))
    if isinstance(body, dict):
        for key in ("\x00", "\ud800", "", "x" * 10_000):
            yield request.but(f"one key too many: {key[:20]!r}", json=json.dumps({**body, key: 1}))
    for name, text in (("cut off", request.json[:-1]), ("empty", ""), ("not UTF-8", '"\udcff"'), ("BOM", "\ufeff{}")):
        yield request.but(f"the body: {name}", json=text)


def _places(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each place in the body, with a copy of the body that has the mark there."""
    yield place, MARK
    if isinstance(value, dict):
        for key, inner in value.items():
            for name, marked in _places(inner, f"{place}/{key}"):
                yield name, {**value, key: marked}
    elif isinstance(value, list):
        for index, inner in enumerate(value[:2]):
            for name, marked in _places(inner, f"{place}/{index}"):
                yield name, [*value[:index], marked, *value[index + 1 :]]


def mutate_query(request: Request, names: Iterable[str]) -> Iterator[Request]:
    """Mutate every query parameter that the request has or the view reads."""
    for name in sorted({*names, *request.query}):
        for change, text in TEXTS.items():
            yield request.but(f"?{name}: {change}", query={**request.query, name: text})
        yield request.but(f"?{name}: twice", query={**request.query, name: ["1", "\x00"]})


def mutate_path(request: Request) -> Iterator[Request]:
    """Mutate every value in the path that is a parameter of the route."""
    parts = request.path.split("/")
    for index, name in enumerate(f"/{request.route}".split("/")):
        if name.startswith(("<", "{", "v<")) and index < len(parts):
            for change, text in TEXTS.items():
                if len(text) < 10_000:
                    changed = [*parts[:index], in_path(text), *parts[index + 1 :]]
                    yield request.but(f"{name} in the path: {change}", path="/".join(changed))


def mutate_form(request: Request, names: Iterable[str]) -> Iterator[Request]:
    """Mutate every field that the form has or the view reads; send files as text and text as files."""
    form = dict(request.form or {})
    for name in sorted({*names, *form}):
        for change, text in TEXTS.items():
            yield request.but(f"{name}: {change}", form={**form, name: text})
        yield request.but(f"{name}: a list", form={**form, name: ["1", "\x00", "x"]})
        uploads = {**request.uploads, name: ("a\x00b.txt", b"\x00\xff", "text/plain")}
        yield request.but(
            f"{name}: a file", form={key: value for key, value in form.items() if key != name}, uploads=uploads
        )
    for name in request.uploads:
        kept = {key: upload for key, upload in request.uploads.items() if key != name}
        yield request.but(f"{name}: text", form={**form, name: "\x00"}, uploads=kept)
        for change, data in (
            ("empty", b""),
            ("NUL", bytes(100)),
            ("text", b"[" * 2000),
            ("half", request.uploads[name][1][:40]),
        ):
            yield request.but(f"{name}: {change}", uploads={**kept, name: ("x" * 300 + "\x00.jpg", data, "x/\x00")})


def sample(cases: Iterable[Request], most: int | None) -> list[Request]:
    """Return all cases, or a sample of `most` that is the same each time."""
    every = list(cases)
    if most is None or len(every) <= most:
        return every
    return random.Random(f"{every[0].method} {every[0].route}").sample(every, most)
