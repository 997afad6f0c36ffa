"""Valid bodies for the API, made from its OpenAPI schema and from values in its answers."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from drf_spectacular.generators import SchemaGenerator

from tests.fuzz import world

#: Names of new rows. Existing names are refused, so these never come from answers.
FRESH = {"slug": "fuzzed", "name": "Fuzzed", "key": "fuzzed"}

#: Values for texts and objects whose form the schema cannot describe.
MEANT: dict[str, Any] = {
    "text": "{name} on oak",
    "negative": "text",
    "url": "https://shop.example/feed.csv",
    "kind": "folder",
    "stage": "pilot",
    "shape": "matrix",
    "axes": {"backdrop": ["white"]},
    "rows": [{"subject": "MUG-1", "aspect": "1:1"}],
    "subjects": ["MUG-1"],
    "aspects": ["1:1"],
    "events": ["run.finished"],
    "name_pattern": "{sku}-{spec}",
    "release_at": f"{datetime.now(UTC) + timedelta(days=30):%Y-%m-%dT%H:00:00Z}",
    "decision": "rejected",
    "reason": "composition",
    "needs": {},
    "parameters": {},
    "controls": {},
    "answers": {},
}
FILES = (
    ("feed.csv", world.FEED, "text/csv"),
    ("photos.zip", world.zip_bytes(), "application/zip"),
    ("photo.jpg", world.image_bytes(), "image/jpeg"),
)
FEED_ROW = {"sku": "F-1", "name": "Fuzzed mug"}
TYPES: dict[str, Any] = {"integer": int, "string": str, "boolean": bool, "object": dict, "number": (int, float)}
TEXTS = {"date": "2030-01-01", "date-time": "2030-01-01T12:00:00Z", "decimal": "1"}


def schema() -> dict[str, Any]:
    made: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return made


def named_values(shown: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value in an answer with its name, including objects and lists."""
    if name and shown not in (None, "", [], {}):
        yield name, shown
    if isinstance(shown, dict):
        for key, value in shown.items():
            yield from named_values(value, key)
    elif isinstance(shown, list):
        for value in shown:
            yield from named_values(value, name)


@dataclass
class Bodies:
    """Makes bodies of requests. `seen_values`: up to twenty values of each name in earlier answers."""

    schema: Mapping[str, Any]
    seen_values: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))

    def learn(self, shown: Any) -> None:
        for name, value in named_values(shown):
            if value not in self.seen_values[name] and len(self.seen_values[name]) < 20:
                self.seen_values[name].append(value)

    def of(self, content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield arguments of Request for each body: all fields, then the required ones, then both with other rows."""
        if not content:
            yield {}
            return
        is_form = "application/json" not in content and "multipart/form-data" in content
        kind = "multipart/form-data" if is_form else next(iter(content))
        for turn in range(6):
            for only_required in (False, True):
                made = self._object(content[kind]["schema"], turn, only_required=only_required)
                yield _form(made) if is_form else {"json": json.dumps(made)}

    def value(self, name: str, spec: Mapping[str, Any], turn: int = 0) -> Any:
        """Return a value for one field or parameter. `turn` chooses among the seen values."""
        default, spec = spec.get("default"), self._resolved(spec)
        if spec.get("format") == "binary":
            return FILES[turn % len(FILES)]
        choices = [choice for choice in spec.get("enum", []) if choice not in ("", None)]
        for meant in (MEANT.get(name), FRESH.get(name)):
            if meant is not None and (not choices or meant in choices):
                return meant
        fitting = [value for value in self.seen_values.get(name, []) if _fits(value, spec)]
        if fitting and not choices:
            return fitting[turn % len(fitting)]
        if choices:
            return choices[0]
        return self._made_up(spec, turn) if default is None else default

    def _made_up(self, spec: Mapping[str, Any], turn: int) -> Any:
        match spec.get("type"):
            case "array":
                inner = self._resolved(spec["items"])
                return [self._object(inner, turn)] if "properties" in inner else []
            case "object" | None:
                return self._object(spec, turn)
            case "integer" | "number":
                return max(spec.get("minimum", 1), 1)
            case "boolean":
                return False
        return TEXTS.get(spec.get("format", ""), "a")

    def _object(self, spec: Mapping[str, Any], turn: int, *, only_required: bool = False) -> Any:
        spec = self._resolved(spec)
        if "properties" not in spec:
            return [FEED_ROW] if spec.get("type") == "array" else {}
        names = spec.get("required", []) if only_required else spec["properties"]
        return {name: self.value(name, spec["properties"][name], turn) for name in names}

    def _resolved(self, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        """Resolve a reference; of several alternatives, return the first."""
        while "$ref" in spec or "allOf" in spec or "oneOf" in spec:
            if "$ref" in spec:
                spec = self.schema["components"]["schemas"][spec["$ref"].rsplit("/", 1)[-1]]
            else:
                spec = (spec.get("allOf") or spec["oneOf"])[0]
        return spec


def _fits(value: Any, spec: Mapping[str, Any]) -> bool:
    return isinstance(value, TYPES.get(spec.get("type", ""), object)) and spec.get("type") != "array"


def _form(made: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a multipart form; objects are sent as JSON."""
    uploads = {name: value for name, value in made.items() if isinstance(value, tuple)}
    texts = {name: value for name, value in made.items() if name not in uploads}
    form = {name: value if isinstance(value, str) else json.dumps(value) for name, value in texts.items()}
    return {"form": form, "uploads": uploads}
