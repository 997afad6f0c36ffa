"""The rights of people in brands. Services call `require`; selectors start from `visible_to`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from core.choices import Role
from core.errors import NotAllowed

if TYPE_CHECKING:
    from core.models import Brand, User


class Action(StrEnum):
    """All actions that need a right. The permission matrix test uses this enum."""

    VIEW = "view"
    EDIT_BRAND = "edit_brand"  # members, guide, destinations
    EDIT_CAMPAIGN = "edit_campaign"
    IMPORT_FEED = "import_feed"
    EDIT_PHOTO = "edit_photo"  # photos of one subject, their roles and cut-outs
    EDIT_PROMPT = "edit_prompt"
    APPROVE_PROMPT = "approve_prompt"
    RUN_SANDBOX = "run_sandbox"
    RUN = "run"  # plan, release, pause, resume, cancel, retry
    OVERRIDE_GATE = "override_gate"
    REVIEW = "review"
    REVOKE = "revoke"
    EDIT_CHECKLIST = "edit_checklist"
    DELIVER = "deliver"
    PULL = "pull"  # changes, approved assets, file URLs
    READ_AUDIT = "read_audit"
    # Only operators (superusers) may do the following; no role of a brand allows it.
    CREATE_BRAND = "create_brand"
    REDACT_AUDIT = "redact_audit"
    EDIT_SHARED_ENDPOINT = "edit_shared_endpoint"  # endpoints of all brands, and settings that only operators may make
    REGISTER_MODEL = "register_model"


_R = Role
PERMISSIONS: dict[Action, frozenset[Role]] = {
    Action.VIEW: frozenset(Role),
    Action.EDIT_BRAND: frozenset({_R.LEAD, _R.ADMIN}),
    Action.EDIT_CAMPAIGN: frozenset({_R.CAMPAIGN_MANAGER, _R.LEAD, _R.ADMIN}),
    Action.IMPORT_FEED: frozenset({_R.CAMPAIGN_MANAGER, _R.LEAD, _R.INTEGRATOR, _R.ADMIN}),
    Action.EDIT_PHOTO: frozenset({_R.DESIGNER, _R.CAMPAIGN_MANAGER, _R.LEAD, _R.ADMIN}),
    Action.EDIT_PROMPT: frozenset({_R.DESIGNER, _R.CAMPAIGN_MANAGER, _R.LEAD, _R.ADMIN}),
    Action.APPROVE_PROMPT: frozenset({_R.LEAD, _R.ADMIN}),
    Action.RUN_SANDBOX: frozenset({_R.DESIGNER, _R.CAMPAIGN_MANAGER, _R.LEAD, _R.ADMIN}),
    Action.RUN: frozenset({_R.CAMPAIGN_MANAGER, _R.LEAD, _R.ADMIN}),
    Action.OVERRIDE_GATE: frozenset({_R.LEAD, _R.ADMIN}),
    Action.REVIEW: frozenset({_R.REVIEWER, _R.LEAD, _R.ADMIN}),
    Action.REVOKE: frozenset({_R.LEAD, _R.ADMIN}),
    Action.EDIT_CHECKLIST: frozenset({_R.LEAD, _R.ADMIN}),
    Action.DELIVER: frozenset({_R.CAMPAIGN_MANAGER, _R.LEAD, _R.INTEGRATOR, _R.ADMIN}),
    Action.PULL: frozenset(Role) - {_R.VIEWER},
    Action.READ_AUDIT: frozenset({_R.CAMPAIGN_MANAGER, _R.LEAD, _R.ADMIN}),
    Action.CREATE_BRAND: frozenset(),
    Action.REDACT_AUDIT: frozenset(),
    Action.EDIT_SHARED_ENDPOINT: frozenset(),
    Action.REGISTER_MODEL: frozenset(),
}
REFUSALS = {
    Action.VIEW: gettext_lazy("You may not see the brand %(brand)s."),
    Action.EDIT_BRAND: gettext_lazy("You may not edit the brand %(brand)s."),
    Action.EDIT_CAMPAIGN: gettext_lazy("You may not edit campaigns and products in %(brand)s."),
    Action.IMPORT_FEED: gettext_lazy("You may not import feeds and photos in %(brand)s."),
    Action.EDIT_PHOTO: gettext_lazy("You may not edit product photos in %(brand)s."),
    Action.EDIT_PROMPT: gettext_lazy("You may not edit prompts and styles in %(brand)s."),
    Action.APPROVE_PROMPT: gettext_lazy("You may not approve prompts in %(brand)s."),
    Action.RUN_SANDBOX: gettext_lazy("You may not use the sandbox in %(brand)s."),
    Action.RUN: gettext_lazy("You may not run campaigns in %(brand)s."),
    Action.OVERRIDE_GATE: gettext_lazy("You may not release a full run before its pilot is approved in %(brand)s."),
    Action.REVIEW: gettext_lazy("You may not review images in %(brand)s."),
    Action.REVOKE: gettext_lazy("You may not reopen approved images in %(brand)s."),
    Action.EDIT_CHECKLIST: gettext_lazy("You may not edit checklists in %(brand)s."),
    Action.DELIVER: gettext_lazy("You may not deliver images in %(brand)s."),
    Action.PULL: gettext_lazy("You may not download approved images in %(brand)s."),
    Action.READ_AUDIT: gettext_lazy("You may not read the audit trail in %(brand)s."),
    Action.CREATE_BRAND: gettext_lazy("You may not create brands."),
    Action.REDACT_AUDIT: gettext_lazy("You may not remove secrets from the audit trail in %(brand)s."),
    Action.EDIT_SHARED_ENDPOINT: gettext_lazy("You may not edit endpoints that serve all brands."),
    Action.REGISTER_MODEL: gettext_lazy("You may not register models."),
}


def can(user: User, action: Action, brand: Brand | None = None) -> bool:
    """Return whether a role of the user in `brand` allows `action`. Operators (superusers) need no role or brand."""
    if user.is_superuser:
        return True
    return brand is not None and bool(user.roles_in(brand) & PERMISSIONS[action])


_required: ContextVar[list[tuple[str, int]] | None] = ContextVar("required", default=None)


@contextmanager
def record_required_rights() -> Iterator[list[tuple[str, int]]]:
    """Collect the (action, brand id) of each call of `require` in this context."""
    collected: list[tuple[str, int]] = []
    token = _required.set(collected)
    try:
        yield collected
    finally:
        _required.reset(token)


def require(user: User, action: Action, brand: Brand) -> None:
    """Raise NotAllowed unless `can`."""
    if (collected := _required.get()) is not None and (str(action), brand.pk) not in collected:
        collected.append((str(action), brand.pk))
    if not can(user, action, brand):
        roles = ", ".join(sorted(role.label.lower() for role in PERMISSIONS[action])) or _("operator")
        needed = _("This needs one of these roles: %(roles)s.") % {"roles": roles}
        raise NotAllowed(f"{REFUSALS[action] % {'brand': brand.name}} {needed}", action=str(action))


class BrandOwned(models.QuerySet[Any]):
    """A queryset of rows that belong to a brand; `brand_path` is the lookup of the brand."""

    brand_path = "brand"

    def visible_to(self, user: User) -> BrandOwned:
        """Return the rows of the brands in which `user` has any role."""
        return self if user.is_superuser else self.filter(**{f"{self.brand_path}__in": user.brand_ids()})

    def allowed_to(self, user: User, action: Action) -> BrandOwned:
        """Return the rows of the brands in which `user` may do `action`."""
        if user.is_superuser:
            return self
        brands = user.memberships.filter(role__in=PERMISSIONS[action]).values("brand_id")
        return self.filter(**{f"{self.brand_path}__in": brands})

    def shared_or_visible_to(self, user: User) -> BrandOwned:
        """Return the rows without a brand, and those of the brands in which `user` has any role."""
        is_shared, is_own = Q(**{self.brand_path: None}), Q(**{f"{self.brand_path}__in": user.brand_ids()})
        return self if user.is_superuser else self.filter(is_shared | is_own)

    @classmethod
    def through(cls, path: str) -> type[BrandOwned]:
        """Return a queryset class for rows whose brand is at `path`, such as "campaign__brand"."""
        return type(f"OwnedThrough_{path}", (cls,), {"brand_path": path})
