"""Django app configuration of the review app."""

from typing import Any

from django.apps import AppConfig
from django.core import checks


class ReviewConfig(AppConfig):
    name = "review"
    events_label = "Review and delivery"  # in the filter of the audit page

    def ready(self) -> None:
        from review import events, periodic_tasks, subscribers  # noqa: F401
        from review.selectors import deliveries  # noqa: F401

        checks.register(check_signer, checks.Tags.security, deploy=True)


def check_signer(**_: Any) -> list[checks.CheckMessage]:
    """Return error E001 if nothing can sign delivered files, and warning W001 if the self-made certificate signs."""
    from review.services import signing

    signer = signing.inspect_signer()
    if signer.trust == signing.Trust.MISSING:
        return [checks.Error(f"Delivered files cannot be signed: {signer.problem}", id="review.E001")]
    if signer.trust != signing.Trust.SELF_MADE:
        return []
    hint = "Set PROOFLINE_C2PA_CERTIFICATE and PROOFLINE_C2PA_KEY: see docs/provenance.md."
    return [checks.Warning("A self-made certificate signs delivered files.", hint=hint, id="review.W001")]
