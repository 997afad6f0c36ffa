"""Messages to single persons, shown on the page of notices and sent by mail."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from core.access import BrandOwned
from core.clock import MomentField
from core.models.brands import Brand, User
from core.models.leases import LeasedRow


class Notice(LeasedRow):
    """One sentence to one person, with the page to act on it. Written with its event; mailed unless read before.

    The leased work is its mail.
    """

    id = models.BigAutoField(primary_key=True)
    brand = models.ForeignKey(Brand, on_delete=models.PROTECT, related_name="notices")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="notices")
    kind = models.CharField(max_length=40, help_text=_("run_finished, run_paused, budget_reached, …"))
    sentence = models.CharField(max_length=300)
    href = models.CharField(max_length=300)
    created_at = MomentField(auto_now_add=True)
    read_at = models.DateTimeField(null=True, blank=True)
    mailed_at = models.DateTimeField(null=True, blank=True)

    objects = BrandOwned.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [
            # A person's list, newest first.
            models.Index(fields=["user", "-id"], name="notice_of_user"),
            # The bell on every page counts what a person has not read.
            models.Index(fields=["user", "brand"], name="notice_unread", condition=models.Q(read_at=None)),
            # The mailer's work list.
            models.Index(fields=["due_at"], name="notice_to_mail", condition=models.Q(due_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return self.sentence
