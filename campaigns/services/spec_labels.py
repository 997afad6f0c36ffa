"""The visible label of an output spec: the mistakes that a person can mend."""

from __future__ import annotations

from collections.abc import Iterator

from django.utils.translation import gettext as _

from campaigns import visible_labels
from campaigns.choices import LabelCorner
from campaigns.visible_labels import Label


def find_label_mistakes(label: Label, width: int, height: int) -> Iterator[tuple[str, str]]:
    """Yield (field of an output spec, sentence) of each mistake of a label in an image of this size."""
    least, most = visible_labels.PERCENT
    if not least <= label.percent <= most:
        yield "label_percent", _("Give %(least)s to %(most)s percent.") % {"least": least, "most": most}
        return
    if label.corner not in LabelCorner.values:
        yield "label_corner", _("Known are %(names)s.") % {"names": ", ".join(LabelCorner.values)}
    if label.text:
        yield from _find_text_mistakes(label, width, height)


def _find_text_mistakes(label: Label, width: int, height: int) -> Iterator[tuple[str, str]]:
    if len(label.text) > visible_labels.MAX_LENGTH or label.text != label.text.strip():
        message = _("Write at most %(most)s characters, without space around them.")
        yield "label_text", message % {"most": visible_labels.MAX_LENGTH}
        return
    if missing := visible_labels.find_missing_letters(label.text):
        message = _("The label’s font has no %(letters)s. Use letters from A to Z, digits and punctuation.")
        yield "label_text", message % {"letters": " ".join(missing)}
        return
    size = {"width": width, "height": height}
    measures = visible_labels.measure(label, width, height)
    if measures.height < visible_labels.MIN_HEIGHT:
        message = _("Nobody could read it in %(width)s × %(height)s px: give at least %(percent)s percent.")
        yield "label_percent", message % {**size, "percent": visible_labels.least_percent(width, height)}
    elif not measures.fits(width, height):
        message = _("It does not fit into %(width)s × %(height)s px: shorten it, or give fewer percent.")
        yield "label_text", message % size
