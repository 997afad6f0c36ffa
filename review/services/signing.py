"""Read from the settings who signs the Content Credentials of delivered files, and whom this installation trusts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from django.conf import settings
from django.utils.module_loading import import_string

from generation.provenance import signers
from generation.provenance.signers import Identity


def get_identity() -> Identity:
    """Return the signer of the settings, or the self-made one. Raises ValueError for settings of no use."""
    values = settings.PROVENANCE
    time_stamp_url = values["time_stamp_url"]
    if time_stamp_url and not time_stamp_url.startswith(("https://", "http://")):
        raise ValueError("PROOFLINE_C2PA_TIME_STAMP_URL is no address that begins with https:// or http://.")
    if not values["certificate"]:
        made = replace(signers.self_made(Path(values["folder"])), time_stamp_url=time_stamp_url)
        return made if not values["anchors"] else made.trusting(_read_pem(values["anchors"]))
    if bool(values["key"]) == bool(values["signer"]):
        raise ValueError("Set either PROOFLINE_C2PA_KEY or PROOFLINE_C2PA_SIGNER beside PROOFLINE_C2PA_CERTIFICATE.")
    return Identity(
        certificates=_read_pem(values["certificate"]),
        key=_read_pem(values["key"]),
        sign=import_string(values["signer"]) if values["signer"] else None,
        algorithm=values["algorithm"],
        time_stamp_url=time_stamp_url,
        anchors=_read_pem(values["anchors"]),
    )


class Trust(StrEnum):
    """What readers of a delivered file make of its signer."""

    MISSING = "missing"  # nothing can sign, so nothing is delivered
    SELF_MADE = "self_made"
    ENDED = "ended"  # the certificate, or one of its issuers
    UNLISTED = "unlisted"  # a certificate of the settings that leads to none of the trusted roots
    TRUSTED = "trusted"


@dataclass(frozen=True)
class SignerState:
    """The signer of this installation. ends_at: of its certificate. problem: why it is missing, for operators."""

    trust: Trust
    name: str = ""
    ends_at: datetime | None = None
    has_time_stamps: bool = False
    problem: str = ""


def inspect_signer() -> SignerState:
    """Return who signs, and whether the roots that this installation trusts stand for it. Asks no other server."""
    try:
        identity = get_identity()
        identity.open()
        trust, name, ends_at = _find_trust(identity), identity.name, identity.ends_at
    except Exception as error:  # c2pa, cryptography and the settings' own function each raise errors of their own
        return SignerState(Trust.MISSING, problem=str(error))
    return SignerState(trust, name, ends_at, bool(identity.time_stamp_url))


def _find_trust(identity: Identity) -> Trust:
    if identity.is_self_made:
        return Trust.SELF_MADE
    if identity.ends_at <= datetime.now(UTC):
        return Trust.ENDED
    return Trust.TRUSTED if identity.is_anchored else Trust.UNLISTED


def get_anchors() -> str:
    """Return the roots that are trusted, as PEM; "" if the settings are of no use."""
    try:
        return get_identity().anchors
    except (OSError, ValueError, ImportError):
        return ""


def _read_pem(value: str) -> str:
    """Return the text itself if it is PEM, otherwise that of the file that it names."""
    return value.replace("\\n", "\n") if "-----BEGIN" in value or not value else Path(value).read_text()
