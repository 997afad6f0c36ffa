"""The declaration of the `replicate` engine: its settings, and what is known of it without importing it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import field_validator

from core.plugin_config import Whole, setting
from generation.engines import base

SIGNING_PREFIX: Final = "whsec_"


class Config(base.EngineConfig):
    """One model of one account: a version, an official model or a deployment; or one Cog server of our own. secret:
    "token" or "token whsec_…": the API token and, where webhooks are used, the key that signs them; of a Cog server a
    bearer token, if a proxy before it wants one."""

    model: str = setting("Official model", default="", example="black-forest-labs/flux-dev")
    version: str = setting("Or a version", "Its hash; owner/name: before it if you like.", default="")
    deployment: str = setting("Or a deployment", default="", example="owner/name")
    inputs: dict[str, Any] | None = setting(
        "Names of the model’s inputs",
        "Without it prompt, seed, width and height.",
        example='{"prompt": "text", "seed": "seed"}',
    )
    max_side: Whole = base.max_side()
    size_multiple: Whole = base.size_multiple()
    cancel_after: str = setting("Cancel after", default="", default_text="never", example="10m")
    webhook_url: str = base.advanced("Webhook", "This site’s own address for it.", default="")
    wait_seconds: Whole = base.advanced("Wait for the result in the call, s", default=0, minimum=0, maximum=60)
    poll_seconds: float | None = base.poll_seconds(None, default_text="2, with a webhook 10")
    settle_seconds: float | None = base.settle_seconds(None, default_text="15")
    timeout_seconds: float = base.timeout_seconds(30.0)
    cog: bool = base.advanced("A Cog server of our own", default=False)
    base_url: str = base.advanced_for_operator("Address", "Of the Cog server, or of another service.", default="")
    answer_seconds: float = base.duration("A Cog server’s image takes, s", 600.0, minimum=1)
    output_hosts: list[str] | None = base.output_hosts(default_text="replicate.delivery")
    ca: str = base.certificates()

    @field_validator("webhook_url")
    @classmethod
    def _ensure_https(cls, address: str) -> str:
        if address and not address.startswith("https://"):
            raise ValueError(f'"webhook_url" is {address!r}; webhooks are sent to https addresses only.')
        return address


def credentials(secret: str) -> tuple[str, str]:
    """Return (API token, signing secret) of an endpoint's secret, "token" or "token whsec_…"; "" for a missing part."""
    words = secret.split()
    token = next((word for word in words if not word.startswith(SIGNING_PREFIX)), "")
    return token, next((word for word in words if word.startswith(SIGNING_PREFIX)), "")


def _make(config: Mapping[str, Any]) -> base.Engine:
    from generation.engines.replicate.cog import Cog
    from generation.engines.replicate.engine import Replicate

    return Cog(config) if config.get("cog") else Replicate(config)


PLUGIN: Final = base.EnginePlugin(
    "replicate",
    _make,
    label="Replicate, or a Cog server",
    config=Config,
    lanes=(base.CLOUD,),
    count_calls_at_once=lambda config: 1 if config.get("cog") else None,
    webhook_key=lambda secret: credentials(secret)[1],
)
