"""Read from the settings who signs the Content Credentials of delivered files, and whom this installation trusts."""

from __future__ import annotations

from dataclasses import replace
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


def get_anchors() -> str:
    """Return the roots that are trusted, as PEM; "" if the settings are of no use."""
    try:
        return get_identity().anchors
    except (OSError, ValueError, ImportError):
        return ""


def _read_pem(value: str) -> str:
    """Return the text itself if it is PEM, otherwise that of the file that it names."""
    return value.replace("\\n", "\n") if "-----BEGIN" in value or not value else Path(value).read_text()
