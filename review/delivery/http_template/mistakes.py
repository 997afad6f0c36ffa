"""Read the YAML of an HTTP template, and say what is wrong with it: each mistake with its place and line, in words."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Final

import yaml
from pydantic import BaseModel, ValidationError

from review.delivery.http_template import placeholders
from review.delivery.http_template.placeholders import Text
from review.delivery.http_template.template import Place, Request, Template

MAX_CHARACTERS: Final = 20_000
_MAX_DEPTH: Final = 20
_POINTER = re.compile(r"(/[^/\s]*)*")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_ADDRESS = re.compile(r"(https?://[^/{}]+)?(/.*)?", re.DOTALL)
_OWN_HEADERS: Final = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding"})
_LOGINS = re.compile(r"authorization|cookie|.*(api|auth|access)[-_]?(key|token).*|.*secret.*", re.IGNORECASE)
_READABLE: Final = "Write {secret}, and enter the key as the secret: everybody in the brand can read this text."
_SENDING: Final = {placeholders.FILE, "file.base64", "file.url"}
_OF_TYPES: Final = frozenset({"[key]", "str", "int"})
"""The names of types that pydantic adds to the place of an error."""
_NAMING: Final = {"id", "url", *placeholders.OF_UPLOAD}

Mistake = tuple[Place, str]


class Mistakes(ValueError):
    """All mistakes of a template. sentences: each begins with its place."""

    def __init__(self, sentences: list[str]) -> None:
        super().__init__("\n".join(sentences))
        self.sentences = sentences


@lru_cache(maxsize=64)
def read(text: str) -> Template:
    """Return the template. Raises Mistakes."""
    data, lines = _load(text)
    try:
        template = Template.model_validate(data)
    except ValidationError as refusal:
        mistakes = [_explain(error) for error in refusal.errors(include_url=False)]
    else:
        mistakes = list(_check(template))
        if not mistakes:
            return template
    by_line = sorted(mistakes, key=lambda mistake: _line_of(mistake[0], lines))
    raise Mistakes([_describe(place, sentence, lines) for place, sentence in by_line])


class _Loader(yaml.SafeLoader):
    """A safe loader without references, by which a short text could become a very long one, and without dates."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="References (*) cannot be used", problem_mark=mark)
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=f"It has more than {_MAX_DEPTH} levels", problem_mark=mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        """Return the members by name; a name is a text, also if it looks like a number."""
        members: dict[Hashable, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value in members:
                problem = f"“{key.value}” is there twice" if isinstance(key, yaml.ScalarNode) else "A name is a text"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            members[key.value] = self.construct_object(value, deep=deep)
        return members


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _load(text: str) -> tuple[Any, dict[Place, int]]:
    """Return the data, and the line of each place. Raises Mistakes."""
    if len(text) > MAX_CHARACTERS:
        raise Mistakes([f"It has {len(text):,} characters; write at most {MAX_CHARACTERS:,}."])
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            data = loader.construct_document(node) if node else None
            lines: dict[Place, int] = dict(_find_lines(node, ())) if node else {}
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"Line {mark.line + 1}: " if mark else ""
        problem = (error.problem or "it is no YAML").rstrip(".")
        raise Mistakes([f"{where}{problem}. Texts with {{ }} or : stand in quotes."]) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Mistakes([f"This is no YAML: {str(error).splitlines()[0][:200]}."]) from None
    if not isinstance(data, dict):
        raise Mistakes(
            ["It has “upload:” with method, url and a body, and if you like find, update, delete, read and test."]
        )
    return data, lines


def _find_lines(node: yaml.Node, place: Place) -> Iterator[tuple[Place, int]]:
    yield place, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*place, key.value)
            yield from _find_lines(value, here)
            yield here, key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for number, element in enumerate(node.value):
            yield from _find_lines(element, (*place, number))


def _line_of(place: Place, lines: dict[Place, int]) -> int:
    """Return the line of a place, or of the nearest one around it; 0 if there is none."""
    return next((lines[place[:length]] for length in range(len(place), 0, -1) if place[:length] in lines), 0)


def _describe(place: Place, sentence: str, lines: dict[Place, int]) -> str:
    words = " → ".join(str(step + 1) if isinstance(step, int) else step for step in place)
    line = _line_of(place, lines)
    return f"“{words}” (line {line}): {sentence}" if line else f"“{words}”: {sentence}"


# -- what the model says ----------------------------------------------------------------------------------------------


def _explain(error: Any) -> Mistake:
    """Return one error of pydantic with its place, in words."""
    place, kind = tuple(error["loc"]), error["type"]
    if kind == "missing":
        return place, "It is missing."
    if kind == "extra_forbidden":
        names = _names_at(place[:-1])
        near = get_close_matches(str(place[-1]), names, n=1)
        return (
            place,
            f"It is not known. Did you mean “{near[0]}”?" if near else f"It is not known; here are {_and(names)}.",
        )
    if kind == "literal_error":
        return place, f"It is {error['ctx']['expected'].replace(chr(39), '')}."
    while place and (place[-1] in _OF_TYPES or str(place[-1]).startswith("json-")):
        place = place[:-1]
    if kind.startswith("string"):
        return place, "Write a text, in quotes."
    if kind in {"dict_type", "model_type", "model_attributes_type"}:
        return place, "Write lines of “name: value” below it."
    if kind.startswith(("list", "int")):
        return place, "Write a list of statuses, such as [200, 201]."
    return place, "This value cannot be sent; write a text, in quotes."


def _names_at(place: Place) -> list[str]:
    """Return the names that the model knows at a place."""
    model: type[BaseModel] = Template
    for step in place:
        annotation = model.model_fields[str(step)].annotation
        options = [annotation, *getattr(annotation, "__args__", ())]
        model = next(each for each in options if isinstance(each, type) and issubclass(each, BaseModel))
    return [field.alias or name for name, field in model.model_fields.items()]


def _and(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


# -- what no model says -----------------------------------------------------------------------------------------------


def _check(template: Template) -> Iterator[Mistake]:
    for name, text in template.headers.items():
        yield from _check_header(("headers", name), name, text)
        yield from _check_text(("headers", name), text, placeholders.SECRETS)
    for name, request in template.requests.items():
        for place, sentence in _check_request(request):
            yield (name, *place), sentence
    if any(True for request in template.requests.values() for _ in _check_request(request)):
        return  # what follows reads the placeholders of all requests
    yield from _check_upload(template)
    yield from _check_find(template)
    for name in ("update", "delete", "read"):
        other = template.requests.get(name)
        if other and other.placeholder_names.isdisjoint(_NAMING):
            yield (name,), "It does not say which file: use {id}, or {file.name}."
        if other and "id" in other.placeholder_names and not template.upload.answer.id:
            yield (name,), "It uses {id}. Say where the answer to the upload has it: upload → answer → id: /data/id."


def _check_request(request: Request) -> Iterator[Mistake]:
    yield from _check_address(("url",), request.url)
    for place, text in request.texts():
        if not (place[0] in {"raw", "multipart"} and len(place) < 3 and text.replace(" ", "") == "{file}"):
            yield from _check_text(place, text, request.allowed)
    for name, text in request.headers.items():
        yield from _check_header(("headers", name), name, text)
        if name.lower() == "content-type" and not request.raw:
            yield ("headers", name), "Leave it out: it follows from the body."
    for name, text in request.query.items():
        if _LOGINS.fullmatch(name) and "{secret" not in text:
            yield ("query", name), _READABLE
    for name in request.multipart:
        if not re.fullmatch(r"[^\"\\\x00-\x1f\x7f]+", name):
            yield ("multipart", name), "The name of a field has no quotes and no line breaks."
    if len(request.bodies) > 1:
        yield (request.bodies[1],), f"A request has one body; there is “{request.bodies[0]}” already."
    if request.bodies and request.method == "GET":
        yield (request.bodies[0],), "A GET has no body."


def _check_text(place: Place, text: str, allowed: tuple[str, ...]) -> Iterator[Mistake]:
    try:
        Text(text).check(allowed)
    except ValueError as error:
        yield place, str(error)


def _check_address(place: Place, text: str) -> Iterator[Mistake]:
    match = _ADDRESS.fullmatch(text)
    if not text or match is None or not (match[1] or match[2]):
        yield place, "Write a path that begins with /, or a whole https address whose host has no placeholder."
    elif "?" in text or "#" in text:
        yield place, "Write what follows the “?” as lines below “query”, so that values are written safely there."
    elif any(segment in {".", ".."} for segment in text.split("/")):
        yield place, "An address has no “.” or “..” between its slashes."


def _check_header(place: Place, name: str, text: str) -> Iterator[Mistake]:
    if not _HEADER_NAME.fullmatch(name):
        yield place, "The name of a header has letters, digits and hyphens."
    elif name.lower() in _OWN_HEADERS:
        yield place, "Leave it out: it is set when the request is sent."
    elif not text.isascii() or not text.isprintable():
        yield place, "A header is one line of plain ASCII."
    elif _LOGINS.fullmatch(name) and "{secret" not in text:
        yield place, _READABLE


def _check_upload(template: Template) -> Iterator[Mistake]:
    request, answer = template.upload, template.upload.answer
    if request.method == "GET":
        yield ("upload", "method"), "An upload is a POST, PUT or PATCH."
    if request.raw and not Text(request.raw).is_file:
        yield ("upload", "raw"), "Write “{file}”; other bodies are “json” or “multipart”."
    files = [name for name, value in request.multipart.items() if isinstance(value, str) and Text(value).is_file]
    if request.multipart and len(files) != 1:
        yield ("upload", "multipart"), "One field has the value “{file}”, which is the file itself."
    if request.placeholder_names.isdisjoint(_SENDING):
        yield ("upload",), "It does not send the file: use raw: “{file}”, a field of multipart, or {file.base64}."
    yield from _check_pointer(("upload", "answer", "id"), answer.id)
    yield from _check_pointer(("upload", "answer", "url"), answer.url)
    if answer.address:
        place = ("upload", "answer", "address")
        yield from _check_address(place, answer.address)
        yield from _check_text(place, answer.address, ("id", *placeholders.OF_UPLOAD))
        if answer.url:
            yield place, "The answer has the address already, at “url”."
        if "{id}" in answer.address and not answer.id:
            yield place, "It uses {id}. Say where the answer has it: id: /data/id."
    for name in ("find", "update", "delete", "read", "test"):
        other = template.requests.get(name)
        if other and ("raw" in other.bodies or "multipart" in other.bodies):
            yield (name, other.bodies[0]), "Only an upload has this body; use “json”."


def _check_find(template: Template) -> Iterator[Mistake]:
    if template.find is None:
        return
    answer, place = template.find.answer, ("find", "answer")
    for name in ("items", "id", "url"):
        yield from _check_pointer((*place, name), getattr(answer, name))
    for pointer, text in answer.match.items():
        yield from _check_pointer((*place, "match", pointer), pointer)
        yield from _check_text((*place, "match", pointer), text, (*placeholders.OF_ASSET, *placeholders.OF_UPLOAD))
    if not any("{file.name}" in text or "{file.sha256}" in text for text in answer.match.values()):
        example = "such as /name: “{file.name}”, so that no other file is taken for ours and deleted"
        yield (*place, "match"), f"Say where a file has its name or hash, {example}."
    if template.upload.answer.id and not answer.id:
        yield (*place, "id"), "It is missing: the id of a file that was found, such as /id."


def _check_pointer(place: Place, pointer: str) -> Iterator[Mistake]:
    if not _POINTER.fullmatch(pointer):
        yield place, "Write a JSON pointer, such as /data/id or /0/id."
