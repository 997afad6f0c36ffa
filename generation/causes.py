"""Causes of failed images, each with an icon and a word for its cell, a sentence for people, and its remedy.

Pure. docs/errors.md describes what dispatch does by itself first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from generation.choices import HoldReason, JobState
from generation.engines.base import ErrorKind


class Remedy(StrEnum):
    """The remedies that a person can choose, each a button on the page of a run."""

    PLAN_ANEW = "plan_anew"  # plan these jobs again for the changed engine
    AGAIN = "again"  # queue these jobs again
    ONE_AGAIN = "one_again"  # queue one of these jobs again as a test
    CUTOUTS = "cutouts"  # open the page with the cut-outs of these products
    PROMPT = "prompt"  # open the prompt editor at this version, with the product pinned
    OPERATOR = "operator"  # tell the operators that the endpoint needs attention
    REVIEW = "review"  # review the images
    BUDGET = "budget"  # open the budget of the campaign


@dataclass(frozen=True)
class Cause:
    """One cause. word: at most 14 letters, for a cell of 96 px. icon: name of a symbol. sentence: what happened and
    what to do, for somebody who has never seen an error message."""

    code: str
    word: Promise
    icon: str
    remedy: Remedy
    sentence: Promise


_ALL = (
    Cause("cutout", _("cut-out"), "image", Remedy.CUTOUTS, _(
        "The product's cut-out cannot be used. Repair it, then make these images in a new run: this one keeps the "
        "cut-out that it was planned with."
    )),
    Cause("moderation", _("not allowed"), "lock", Remedy.PROMPT, _(
        "The service refuses to make this: its rules object to the words or to the image. Change the wording and "
        "make them again with the new version."
    )),
    Cause("input", _("job"), "prompt", Remedy.PROMPT, _(
        "The engine cannot carry out this job. Its own words say why; most often the prompt's parameters do not fit."
    )),
    Cause("endpoint", _("engine set-up"), "warn", Remedy.OPERATOR, _(
        "The endpoint lacks something or is not set up as it should be; the images are not to blame. When its operator "
        "has mended it, try them again."
    )),
    Cause("memory", _("no memory"), "panel", Remedy.AGAIN, _(
        "The image did not fit into the card's memory, even alone. Try again when less runs there; if it stays, ask "
        "for a smaller size."
    )),
    Cause("rate", _("slowed down"), "clock", Remedy.AGAIN, _(
        "The service asked to slow down twenty times in a row. It has more room later."
    )),
    Cause("lost", _("lost"), "search", Remedy.AGAIN, _(
        "The service or the worker no longer knows of this image. Nothing was paid for it; trying again is safe."
    )),
    Cause("transient", _("no answer"), "retry", Remedy.AGAIN, _(
        "The engine did not answer or broke off, five times in a row. Most often it is a restart, and trying again "
        "helps."
    )),
    Cause("quarantined", _("quarantined"), "stop", Remedy.ONE_AGAIN, _(
        "Making this image has cost three workers, so it is kept away from them. Try one alone first and see whether "
        "its worker lives."
    )),
    Cause("quota", _("account empty"), "pause", Remedy.AGAIN, _(
        "The account at this service is used up, or it refuses our key; its own words are below. These wait, and go "
        "on when the operator has seen to it."
    )),
    Cause("uncertain", _("uncertain"), "search", Remedy.AGAIN, _(
        "The submission was sent and its answer was lost, and this service cannot be asked. It may have been paid "
        "for and counts as spent. Look at the service's account: say so if it was not charged, then submit it again."
    )),
    Cause("storage", _("disk full"), "stop", Remedy.AGAIN, _(
        "These were made and could not be stored; the words below say why. Nothing else is lost. When somebody has "
        "made room, try again."
    )),
    Cause("changed", _("engine changed"), "warn", Remedy.PLAN_ANEW, _(
        "The engine was changed after these images were planned, so it would make other images than the plan says. "
        "Plan them again with what it is now, or put back what it was and try them again. Nothing was paid for them."
    )),
    Cause("rejected_before", _("seen before"), "undo", Remedy.PROMPT, _(
        "This very image was made before and rejected, so it was left out. Change the prompt, a value or the seed."
    )),
    Cause("checks", _("checks"), "warn", Remedy.REVIEW, _(
        "They are made, but a check objects. Look at them: a reviewer may still approve them."
    )),
    Cause("unknown", _("failed"), "fail", Remedy.AGAIN, _(
        "It could not be made; the words below are all there is."
    )),
)  # fmt: skip
CAUSES = {cause.code: cause for cause in _ALL}

_CUTOUT = re.compile(r"\bcut-?out", re.IGNORECASE)
_ENDPOINT = re.compile(
    r"^Endpoint |could not be loaded|is not a diffusers folder|is not a safetensors file|this engine runs|"
    r"holds neither Stable Diffusion"
)
#: Names and numbers, in which equal messages about two images differ.
_VARYING = ((re.compile(r"“[^“”]*”|\"[^\"]*\"|'[^']*'"), "…"), (re.compile(r"\b[0-9a-f]{12,}\b|\d+([.,]\d+)*"), "#"))


def find_cause(*, status: str, error_kind: str, message: str, hold_reason: str = "") -> Cause:
    if status == JobState.QUARANTINED:
        return CAUSES["quarantined"]
    if hold_reason in (HoldReason.CHANGED, HoldReason.UNCERTAIN, HoldReason.QUOTA):
        return CAUSES[hold_reason]
    if error_kind == ErrorKind.INPUT and _CUTOUT.search(message):
        return CAUSES["cutout"]
    if error_kind == ErrorKind.INPUT and _ENDPOINT.search(message):
        return CAUSES["endpoint"]
    return CAUSES.get(error_kind, CAUSES["unknown"])


def grouping_text(cause: Cause, message: str) -> str:
    """Return the message in a form that is equal for equal problems: quoted names become …, numbers become #."""
    if cause.code == "endpoint":  # all names count, because a missing model and a missing node are two problems
        return message
    for pattern, stand_in in _VARYING:
        message = pattern.sub(stand_in, message)
    return " ".join(message.split())
