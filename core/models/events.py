"""The audit trail: events, and the sealed chain made from them."""

from __future__ import annotations

from django.db import models

from core.access import BrandOwned
from core.models.brands import Brand, User


class Event(models.Model):
    """One event, inserted by `events.publish` in the transaction of the change. A trigger makes the table append-only.

    `xid` is the writing transaction (txid_current). The sealer takes rows whose xid is below the oldest running one, so
    that the sealed order is the commit order and no reader ever misses a row.
    """

    id = models.BigAutoField(primary_key=True)
    brand = models.ForeignKey(Brand, on_delete=models.PROTECT, related_name="+")
    type = models.CharField(max_length=80)
    object_type = models.CharField(max_length=40)
    object_id = models.BigIntegerField()
    payload = models.JSONField(default=dict)
    actor = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    actor_label = models.CharField(max_length=150)
    at = models.DateTimeField()
    xid = models.BigIntegerField(db_default=models.Func(function="txid_current", output_field=models.BigIntegerField()))

    objects = BrandOwned.as_manager()

    class Meta:
        ordering = ["id"]
        indexes = [
            # The timeline of one object.
            models.Index(fields=["object_type", "object_id", "id"], name="event_object"),
            # The sealer's scan: a brand's events from the last sealed transaction on, in order.
            models.Index(fields=["brand", "xid", "id"], name="event_brand_xid"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.object_type}:{self.object_id}"


class SealedEvent(models.Model):
    """The gapless number and the hash (audit_chain.py) of an event in its brand's chain. By the sealer; insert-only."""

    id = models.BigAutoField(primary_key=True)
    brand = models.ForeignKey(Brand, on_delete=models.PROTECT, related_name="+")
    seq = models.BigIntegerField()
    event = models.OneToOneField(Event, on_delete=models.PROTECT, related_name="seal")
    previous_hash = models.CharField(max_length=64)
    hash = models.CharField(max_length=64)

    objects = BrandOwned.as_manager()

    class Meta:
        ordering = ["brand", "seq"]
        constraints = [models.UniqueConstraint(fields=["brand", "seq"], name="seal_seq_once")]

    def __str__(self) -> str:
        return f"{self.brand_id}#{self.seq}"
