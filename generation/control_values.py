"""Values of the engines' controls: text and JSON become what a spec or a prompt version stores.

Every form and the API convert here. Axes of a run are not controls: their values keep the types of the prompt's axes.
"""

from __future__ import annotations

import math
import re
import sys
from typing import Any, Final

from django.utils.translation import gettext as _

from campaigns import prompts
from generation.engines.base import Control

#: Controls that are fields of the spec itself, not engine parameters.
SPEC_FIELDS: Final = frozenset({"prompt", "negative", "seed"})
MAX_SEED: Final = 2**63 - 1
MAX_TEXT_LENGTH: Final = 4000


def parse(control: Control, given: Any) -> Any:
    """Return the value as a spec stores it. Raises ValueError with a sentence that says what the control takes."""
    text = str(given).strip()
    if control.kind in ("number", "seed"):
        return _parse_number(control, text)
    if control.kind == "choice" and text not in control.choices:
        raise ValueError(_("It is one of %(choices)s.") % {"choices": ", ".join(control.choices)})
    if control.kind == "colour" and not re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        raise ValueError(_("Give a colour such as #b5651d."))
    if len(text) > MAX_TEXT_LENGTH:
        raise ValueError(_("Write at most %(n)s characters.") % {"n": f"{MAX_TEXT_LENGTH:,}"})
    return text


def parse_for_prompt(control: Control, text: str) -> Any:
    """Return the value as a prompt version stores it: like `parse`, but "" for none, a text with placeholders, or
    the name of a colour, which planning replaces. Raises ValueError with a sentence."""
    text = text.strip()
    if not text:
        return ""
    if "{" in text or "}" in text:
        try:
            prompts.parse(text)
        except prompts.PromptSyntaxError as error:
            raise ValueError(f"{error.message} ({prompts.describe_position(text, error.position)}).") from None
        return text
    if control.kind == "colour":
        return text
    try:
        return parse(control, text)
    except ValueError as error:
        hint = _("A placeholder such as %(placeholder)s is possible too.")
        raise ValueError(f"{error} {hint % {'placeholder': f'{{{control.parameter}}}'}}") from None


def describe_range(control: Control) -> str:
    """Return the allowed range of a number: "from 1 to 50"; "" if it has no limit."""
    values = {"low": control.minimum, "high": control.maximum}
    if control.minimum is not None and control.maximum is not None:
        return _("from %(low)g to %(high)g") % values
    if control.minimum is not None:
        return _("from %(low)g up") % values
    return _("up to %(high)g") % values if control.maximum is not None else ""


def _parse_number(control: Control, text: str) -> float | int:
    if control.kind == "seed":
        if not (text.isdecimal() and len(text) <= len(str(MAX_SEED)) and int(text) <= MAX_SEED):
            raise ValueError(_("Give a whole number from 0 to %(highest)d.") % {"highest": MAX_SEED})
        return int(text)
    low = -sys.float_info.max if control.minimum is None else control.minimum
    high = sys.float_info.max if control.maximum is None else control.maximum
    try:
        number = float(text.replace(",", "."))
    except ValueError:
        number = math.nan
    if not low <= number <= high:
        span = describe_range(control)
        raise ValueError(_("Give a number %(range)s.") % {"range": span} if span else _("Give a number."))
    return int(number) if number.is_integer() and float(control.step or 1).is_integer() else number
