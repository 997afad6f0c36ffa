"""People, brands, and the roles of people in brands."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.contrib.auth.models import AbstractUser
from django.db import models, transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from knox.models import AuthToken

from core.access import BrandOwned
from core.choices import BannedWords, Role, StaleUse


class User(AbstractUser):
    """A person, or an integration's account. Written by allauth, the admin and `load_example`."""

    _password: str | None  # from Django: a new password that is not saved yet
    _roles: dict[int, set[str]] | None = None  # the roles of one request, read once
    is_without_password = False  # True after the password was made unusable, until that is saved

    notices_by_email = models.BooleanField(default=True, help_text=_("send notices to this person's address too"))

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save, and delete the API tokens if the password is new; Django's session hash ends the sessions.

        Whenever a password is changed (page, administration, command), Django keeps it in `_password` until it is
        saved. If Django only upgrades the hash, it sets `_password` to None.
        """
        is_new_password = self.pk is not None and (self._password is not None or self.is_without_password)
        with transaction.atomic():
            super().save(*args, **kwargs)
            if is_new_password:
                AuthToken.objects.filter(user_id=self.pk).delete()
        self.is_without_password = False

    def set_unusable_password(self) -> None:
        super().set_unusable_password()
        self.is_without_password = True

    def roles_in(self, brand: Brand) -> set[str]:
        """Return the person's roles in a brand; after `remember_roles`, from memory."""
        if self._roles is not None:
            return self._roles[brand.pk]
        return set(self.memberships.filter(brand=brand).values_list("role", flat=True))

    def remember_roles(self) -> None:
        """Read all roles now and keep them in this object. For the user of one request."""
        roles = defaultdict(set)
        for brand_id, role in self.memberships.order_by().values_list("brand_id", "role"):
            roles[brand_id].add(role)
        self._roles = roles

    def brand_ids(self) -> models.QuerySet[Any]:
        """Return the ids of the brands in which this person has a role, as a subquery."""
        return self.memberships.values("brand_id")

    @property
    def display_name(self) -> str:
        return self.get_full_name() or self.username


class Brand(models.Model):
    """A brand. It owns its data, and access is limited to its members. It is never deleted."""

    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=120)
    currency = models.CharField(max_length=3, default="EUR")
    monthly_budget = models.DecimalField(
        max_digits=12, decimal_places=2, null=True, blank=True, help_text=_("for all campaigns in a calendar month")
    )
    stale_use = models.CharField(
        max_length=8,
        choices=StaleUse.choices,
        default=StaleUse.KEEP,
        help_text=_("what happens to published images that went stale, until a person decides"),
    )
    banned_words = models.CharField(
        max_length=5,
        choices=BannedWords.choices,
        default=BannedWords.WARN,
        help_text=_("what happens when a word that the brand guide bans is used; try-outs are never refused"),
    )
    time_zone = models.CharField(
        max_length=60,
        blank=True,
        default="",
        help_text=_("of the dates in file names, such as Europe/Berlin; empty: that of the installation"),
    )

    objects = BrandOwned.through("pk").as_manager()

    class Meta:
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.name

    def local_date(self, moment: datetime) -> date:
        """Return the date of a moment in the brand's time zone."""
        zone = ZoneInfo(self.time_zone) if self.time_zone else timezone.get_default_timezone()
        return moment.astimezone(zone).date()


class Membership(models.Model):
    """One role of one person in one brand; a person may have several."""

    brand = models.ForeignKey(Brand, on_delete=models.PROTECT, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=20, choices=Role.choices)

    objects = BrandOwned.as_manager()

    class Meta:
        ordering = ["brand", "user", "role"]
        constraints = [
            models.UniqueConstraint(fields=["brand", "user", "role"], name="membership_once"),
            models.CheckConstraint(condition=models.Q(role__in=Role.values), name="membership_role_known"),
        ]

    def __str__(self) -> str:
        return f"{self.user} is {self.role} of {self.brand}"
