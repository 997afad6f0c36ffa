"""The reasons to reject an image or request changes: a brand's short list, chosen by digit."""

from __future__ import annotations

from django.db import transaction
from django.utils.translation import gettext as _

from core import access
from core.access import Action
from core.errors import Invalid, NotFound, Problem
from core.events import publish
from core.models import Brand, User
from review.events import ReasonSaved
from review.models import Reason

#: The reasons of a new brand. The digit that chooses a reason is its position.
DEFAULTS = (
    ("wrong-colour", "Colour is not the product's"),
    ("wrong-shape", "Shape or proportions are off"),
    ("artefact", "Visible artefact"),
    ("cut-out", "Cut-out edge is unclean"),
    ("light", "Light or shadow is wrong"),
    ("composition", "Placement or crop is wrong"),
    ("off-brand", "Does not fit the brand"),
    ("text", "Wording or logo is wrong"),
    ("other", "Something else"),
)


@transaction.atomic
def save(*, brand: Brand, by: User, code: str, label: str, position: int = 1, is_active: bool = True) -> Reason:
    """Create the reason with this code, or change its label, position and active state."""
    access.require(by, Action.EDIT_CHECKLIST, brand)
    if not label.strip():
        raise Invalid(_("A reason needs a label."), [Problem("label", _("must not be empty"))])
    reason, _is_new = Reason.objects.update_or_create(
        brand=brand, code=code, defaults={"label": label.strip(), "position": position, "is_active": is_active}
    )
    publish(ReasonSaved.of(reason, code=code, label=reason.label, is_active=is_active), by=by)
    return reason


@transaction.atomic
def add_defaults(*, brand: Brand, by: User) -> list[Reason]:
    """Add the nine default reasons to a brand. Existing reasons are not changed."""
    access.require(by, Action.EDIT_CHECKLIST, brand)
    existing_codes = set(Reason.objects.filter(brand=brand).values_list("code", flat=True))
    return [
        save(brand=brand, by=by, code=code, label=label, position=position)
        for position, (code, label) in enumerate(DEFAULTS, start=1)
        if code not in existing_codes
    ]


def get_active_reason(*, brand_id: int, code: str) -> Reason:
    """Return the active reason with this code. Raises NotFound, or Invalid without a code; both list the codes."""
    active = Reason.objects.filter(brand_id=brand_id, is_active=True)
    reason: Reason | None = active.filter(code=code).first()
    if reason is None:
        codes = ", ".join(active.values_list("code", flat=True)) or _("none yet")
        if not code:
            message = _("Give a reason; known are: %(codes)s.") % {"codes": codes}
            raise Invalid(message, [Problem("/reason", message)])
        raise NotFound(_("There is no reason %(code)r; known are: %(codes)s.") % {"code": code, "codes": codes})
    return reason
