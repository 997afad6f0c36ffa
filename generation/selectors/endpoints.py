"""Endpoints that a brand may use, and the capabilities of their engines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils.translation import gettext as _

from campaigns.prompts.tokens import Encoder
from core.models import Brand
from generation.choices import Breaker
from generation.engines import base as engines
from generation.models import Endpoint, Run


@dataclass(frozen=True)
class Offer:
    """One endpoint and the capabilities of its engine, without loading a model. problem: why the endpoint cannot be
    used; then the other fields are None."""

    endpoint: Endpoint
    capabilities: engines.Capabilities | None
    encoder: Encoder | None
    problem: str = ""


def list_usable(brand: Brand) -> QuerySet[Any]:
    """Return the enabled endpoints that serve this brand, by name."""
    return Endpoint.objects.filter(Q(brand=None) | Q(brand=brand), is_enabled=True).order_by("name")


def list_offered(brand: Brand, *, chosen: str = "") -> list[Endpoint]:
    """Return the usable endpoints without those whose circuit breaker is open after failures. `chosen`, the id of an
    endpoint that was chosen before, stays in the list. Where all breakers are open, all are offered."""
    listed = list(list_usable(brand).select_related("status"))
    awake = [endpoint for endpoint in listed if not _is_resting(endpoint) or str(endpoint.pk) == chosen]
    return awake if any(not _is_resting(endpoint) for endpoint in awake) else listed


def _is_resting(endpoint: Endpoint) -> bool:
    status = getattr(endpoint, "status", None)
    return status is not None and status.breaker != Breaker.CLOSED


def list_offers(brand: Brand) -> list[Offer]:
    """Return every offered endpoint as its engine describes it; one query."""
    return [build_offer(endpoint) for endpoint in list_offered(brand)]


def build_offer(endpoint: Endpoint) -> Offer:
    try:
        engine = engines.build(endpoint.engine, endpoint.config)
        return Offer(endpoint, engine.capabilities(), engines.encoder_of(engine))
    except (ValueError, TypeError, KeyError, OSError, engines.EngineError) as error:
        problem = _("%(endpoint)s cannot be used: %(error)s") % {"endpoint": endpoint.name, "error": error}
        return Offer(endpoint, None, None, problem)


def list_alternates(brand: Brand, run: Run) -> QuerySet[Any]:
    """Return the endpoints that a run could use besides its own, each with `is_alternate`."""
    named = Run.alternates.through.objects.filter(run=run, endpoint=OuterRef("pk"))
    return list_usable(brand).exclude(pk=run.endpoint_id).annotate(is_alternate=Exists(named))
