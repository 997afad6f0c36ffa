"""The YAML of an HTTP template: its requests as a typed model, read safely. mistakes.py says what is wrong with one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from review.delivery.http_template import placeholders
from review.delivery.http_template.placeholders import Text

Place = tuple[str | int, ...]
"""The keys that lead to a value, such as ("upload", "headers", "Authorization")."""


def _write_number(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Written = Annotated[str, BeforeValidator(_write_number)]
"""A text, also written as a whole number."""

_GENERAL: Final = (*placeholders.SECRETS, *placeholders.OF_ASSET)


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Request(Part):
    """One request. url: a path at the service's address, or a whole address. success: none means any 2xx.

    At most one body: raw is "{file}"; the fields of multipart and the strings of json are texts with placeholders, and
    a mapping or list in a field of multipart is sent as JSON.
    """

    allowed: ClassVar[tuple[str, ...]] = _GENERAL

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    url: str
    query: dict[str, Written] = Field(default_factory=dict)
    headers: dict[str, Written] = Field(default_factory=dict)
    raw: str = ""
    multipart: dict[str, JsonValue] = Field(default_factory=dict)
    json_body: JsonValue = Field(default=None, alias="json")
    success: list[int] = Field(default_factory=list)

    def texts(self) -> Iterator[tuple[Place, str]]:
        """Yield each text that may have placeholders, with its place in the request."""
        yield ("url",), self.url
        for name in ("query", "headers"):
            yield from (((name, key), text) for key, text in getattr(self, name).items())
        if self.raw:
            yield ("raw",), self.raw
        yield from strings(self.multipart, ("multipart",))
        yield from strings(self.json_body, ("json",))

    @property
    def bodies(self) -> list[str]:
        given = {"raw": self.raw, "multipart": self.multipart, "json": self.json_body is not None}
        return [name for name, body in given.items() if body]

    @property
    def placeholder_names(self) -> set[str]:
        return {name for _place, text in self.texts() for name in Text(text).names}


class UploadAnswer(Part):
    """The JSON pointers of the file's id and address in an answer. address: a text, if the answer has none."""

    id: str = ""
    url: str = ""
    address: str = ""


class FindAnswer(Part):
    """The JSON pointers of an answer that lists files. match: pointer and text that a file must have to be ours."""

    items: str = ""
    match: dict[str, str]
    id: str = ""
    url: str = ""


class UploadRequest(Request):
    allowed = (*_GENERAL, *placeholders.OF_UPLOAD, *placeholders.OF_FILE)
    answer: UploadAnswer = UploadAnswer()


class FindRequest(Request):
    allowed = (*_GENERAL, *placeholders.OF_UPLOAD)
    answer: FindAnswer


class UpdateRequest(Request):
    """Changes the texts of a file that is there."""

    allowed = (*_GENERAL, *placeholders.OF_UPLOAD, *placeholders.OF_ANSWER)


class DeleteRequest(Request):
    """gone: the statuses that mean that there is no such file."""

    allowed = (*_GENERAL, *placeholders.OF_UPLOAD, *placeholders.OF_ANSWER)
    gone: list[int] = [404, 410]


class ReadRequest(Request):
    allowed = (*placeholders.SECRETS, *placeholders.OF_UPLOAD, *placeholders.OF_ANSWER)
    gone: list[int] = [404, 410]


class TestRequest(Request):
    allowed = placeholders.SECRETS


class Template(Part):
    """headers: sent with each request."""

    headers: dict[str, Written] = Field(default_factory=dict)
    upload: UploadRequest
    find: FindRequest | None = None
    update: UpdateRequest | None = None
    delete: DeleteRequest | None = None
    read: ReadRequest | None = None
    test: TestRequest | None = None

    @property
    def requests(self) -> dict[str, Request]:
        given = {name: getattr(self, name) for name in ("upload", "find", "update", "delete", "read", "test")}
        return {name: request for name, request in given.items() if request is not None}

    @property
    def is_exact(self) -> bool:
        """Return whether a lost answer cannot lead to a second file: it is looked up, or written to the same place."""
        names = set(Text(self.upload.url).names)
        is_repeatable = self.upload.method == "PUT" and not names.isdisjoint(placeholders.OF_UPLOAD)
        return self.find is not None or is_repeatable

    @property
    def uses_secret(self) -> bool:
        texts = [*self.headers.values(), *(text for each in self.requests.values() for _place, text in each.texts())]
        return any(name in placeholders.SECRETS for text in texts for name in Text(text).names)


def strings(value: JsonValue | Mapping[str, JsonValue], place: Place) -> Iterator[tuple[Place, str]]:
    """Yield the strings in a JSON value, without the names of members, each with its place."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, Mapping):
        for name, member in value.items():
            yield from strings(member, (*place, name))
    elif isinstance(value, list):
        for number, element in enumerate(value):
            yield from strings(element, (*place, number))


def resolve(document: Any, pointer: str) -> Any:
    """Return what a JSON pointer (RFC 6901) leads to; None if there is nothing."""
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(document, list):
            document = document[int(name)] if name.isdecimal() and int(name) < len(document) else None
        elif isinstance(document, Mapping):
            document = document.get(name)
        else:
            return None
    return document
