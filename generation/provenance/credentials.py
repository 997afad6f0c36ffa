"""Content Credentials (C2PA): sign a file with how it was made, and read the state of such a signature.

https://spec.c2pa.org/specifications/specifications/2.2/specs/C2PA_Specification.html
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import chain
from threading import Thread
from typing import Any, Final

from c2pa import Builder, C2paError, Context, Reader, Settings

from core.fetching import redact_address, redact_text
from generation.provenance.signers import Identity
from generation.provenance.xmp import SOURCE_TYPES

LINEAGE: Final = "org.proofline.lineage"
"""The label of our assertion: {"document_id", "caution"}."""
MEDIA_TYPES: Final = {
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "avif": "image/avif",
}
TIME_STAMP_SECONDS = 10.0
"""For a signature with a time stamp; the library itself gives a request of the authority up after 30 s."""


class NoTimeStamp(ValueError):
    """The time stamp authority gave no valid time stamp. Its text is a sentence; a later try may succeed."""


@dataclass(frozen=True)
class Ingredient:
    """An image that another one was made from. is_parent: the image still shows it, as a composite its product photo.

    name: as people know it. suffix: of its file, such as "jpg". The marks of its file are kept in the manifest.
    """

    name: str
    suffix: str
    read: Callable[[], bytes]
    is_parent: bool = False


@dataclass(frozen=True)
class Making:
    """The way an image was made. agent, version: the AI system. steps: C2PA actions that followed, such as
    "c2pa.resized". lineage: the content of our assertion."""

    title: str
    source_type: str
    agent: str
    version: str = ""
    steps: Sequence[str] = ()
    ingredients: Sequence[Ingredient] = ()
    lineage: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Credentials:
    """The content of a file's manifest.

    state: "none", "invalid", "valid" (unchanged, by an unknown signer) or "trusted". problems: codes of
    C2PA, such as "assertion.dataHash.mismatch". actions: what was done, in order. stamped_at: the time of its time
    stamp, such as "2026-11-30T10:00:00+00:00".
    """

    state: str = "none"
    manifest: str = ""
    signer: str = ""
    stamped_at: str = ""
    problems: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    lineage: Mapping[str, Any] = field(default_factory=dict)


def sign(data: bytes, image_format: str, making: Making, identity: Identity) -> bytes:
    """Return the file with a signed manifest. Nothing may change the file afterwards. Raises C2paError, NoTimeStamp."""
    if not identity.time_stamp_url:
        return _sign(_builder(making, image_format, identity), data, image_format, identity)
    try:
        return _sign_in_time(_builder(making, image_format, identity), data, image_format, identity)
    except C2paError as error:
        plain = identity.without_time_stamp()
        _sign(_builder(making, image_format, plain), data, image_format, plain)  # raises what is wrong with the rest
        where = redact_address(identity.time_stamp_url)
        words = redact_text(str(error))
        raise NoTimeStamp(f"The time stamp authority {where} gave no valid time stamp: {words}") from error


def _builder(making: Making, image_format: str, identity: Identity) -> Builder:
    builder = Builder(_manifest(making, MEDIA_TYPES[image_format]), _context(identity.anchors))
    for number, ingredient in enumerate(making.ingredients):
        relation = "parentOf" if ingredient.is_parent else "componentOf"
        described = {"title": ingredient.name, "relationship": relation, "label": _label(number)}
        builder.add_ingredient(described, MEDIA_TYPES[ingredient.suffix], io.BytesIO(ingredient.read()))
    return builder


def _sign(builder: Builder, data: bytes, image_format: str, identity: Identity) -> bytes:
    signed = io.BytesIO()
    builder.sign(identity.open(), MEDIA_TYPES[image_format], io.BytesIO(data), signed)
    return signed.getvalue()


def _sign_in_time(builder: Builder, data: bytes, image_format: str, identity: Identity) -> bytes:
    """Return the signed file; wait for TIME_STAMP_SECONDS only, while its thread waits until the library gives up."""
    signed: Future[bytes] = Future()

    def run() -> None:
        try:
            signed.set_result(_sign(builder, data, image_format, identity))
        except BaseException as error:
            signed.set_exception(error)

    Thread(target=run, name="time-stamp", daemon=True).start()
    try:
        return signed.result(TIME_STAMP_SECONDS)
    except TimeoutError:
        where = redact_address(identity.time_stamp_url)
        message = f"The time stamp authority {where} gave no time stamp within {TIME_STAMP_SECONDS:g} s."
        raise NoTimeStamp(message) from None


def _manifest(making: Making, media_type: str) -> dict[str, Any]:
    return {
        "claim_generator_info": [{"name": "Proofline"}],
        "title": making.title,
        "format": media_type,
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": _actions(making)}},
            {"label": LINEAGE, "data": dict(making.lineage)},
        ],
    }


def _actions(making: Making) -> list[dict[str, Any]]:
    """Return the actions; the first says whether a parent was opened, or the image was made anew."""
    agent = {"name": making.agent, **({"version": making.version} if making.version else {})}
    made = {"digitalSourceType": SOURCE_TYPES + making.source_type, "softwareAgent": agent}
    parents = [_label(number) for number, one in enumerate(making.ingredients) if one.is_parent]
    others = [_label(number) for number, one in enumerate(making.ingredients) if not one.is_parent]
    actions: list[dict[str, Any]] = [{"action": "c2pa.created", **made}]
    if parents:
        opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": parents}}
        actions = [opened, {"action": "c2pa.edited", **made}]
    if others:
        actions.append({"action": "c2pa.placed", "parameters": {"ingredientIds": others}})
    return [*actions, *({"action": step} for step in making.steps)]


def _label(number: int) -> str:
    return f"ingredient{number}"


def read(data: bytes, image_format: str, *, anchors: str = "") -> Credentials:
    """Return the credentials of a file whose size in pixels was checked. anchors: PEM of the roots that are trusted."""
    try:
        reader = Reader(MEDIA_TYPES[image_format], io.BytesIO(data), context=_context(anchors))
        with reader:
            report = json.loads(reader.json())
    except (C2paError.ManifestNotFound, KeyError):
        return Credentials()
    except (C2paError, ValueError) as error:
        return Credentials("invalid", problems=(str(error)[:200],))
    manifest = report.get("manifests", {}).get(report.get("active_manifest"), {})
    assertions = {one["label"]: one["data"] for one in manifest.get("assertions", ()) if "data" in one}
    made = [data["actions"] for label, data in assertions.items() if label.startswith("c2pa.actions")]
    signature = manifest.get("signature_info", {})
    failures = report.get("validation_results", {}).get("activeManifest", {}).get("failure", ())
    return Credentials(
        state=str(report.get("validation_state", "invalid")).lower(),
        manifest=str(report.get("active_manifest", "")),
        signer=str(signature.get("common_name") or signature.get("issuer") or ""),
        stamped_at=str(signature.get("time") or ""),
        problems=tuple(sorted({str(failure.get("code", "")) for failure in failures})),
        actions=tuple(str(action.get("action", "")) for action in chain(*made)),
        lineage=assertions.get(LINEAGE, {}),
    )


def _context(anchors: str) -> Context:
    """Return the settings for one call: no thumbnails, no requests, and only the given roots are trusted."""
    settings: dict[str, Any] = {
        "verify": {"verify_trust": bool(anchors), "remote_manifest_fetch": False, "ocsp_fetch": False},
        "builder": {"thumbnail": {"enabled": False}},
    }
    if anchors:
        settings["trust"] = {"trust_anchors": anchors}
    return Context(settings=Settings.from_dict(settings))
