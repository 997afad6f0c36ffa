"""The declaration of the `openai` engine: its settings, and what is known of it without importing it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, Literal, Self, TypeVar

from pydantic import create_model

from core.plugin_config import Words, setting
from generation.engines import base
from generation.engines.openai import profiles

C = TypeVar("C", bound="Config")
NO_MODEL: Final = 'The endpoint needs "model": the id of an image model, such as "gpt-image-2".'
BASE_URL: Final = "https://api.openai.com/v1"


class Config(base.EngineConfig):
    """One account, or one server, with one model. The parameters of the model's profile are settings, too: the defaults
    of submissions that do not give them."""

    model: Words = setting("Model", "Its id, as the service calls it.", example="gpt-image-2", needed=NO_MODEL)
    base_url: str = base.for_operator("Address", "Of another server with the same API.", default=BASE_URL)
    profile: Any = setting(
        "What the model takes", "A family’s name, or JSON with what differs.", default_text="found by the model’s id"
    )
    organisation: str = base.advanced("Organisation", default="")
    project: str = base.advanced("Project", default="")
    output_format: Literal["png", "webp", "jpeg"] | None = base.advanced("File format", default_text="png")
    keep_outside: bool = base.advanced("Outside a mask, keep what was sent", default=True)
    timeout_seconds: float = base.timeout_seconds(600.0)
    output_hosts: list[str] | None = base.output_hosts()
    ca: str = base.certificates()

    @classmethod
    def model_of(cls, config: Mapping[str, Any]) -> type[Self]:
        """Return the model with the parameters of the profile as settings."""
        try:
            profile = profiles.read(config.get("profile"), str(config.get("model") or ""))
        except ValueError:  # the engine reports it
            return cls
        return _add_parameters(cls, tuple(profile.parameters.items()))

    def defaults(self, parameters: Iterable[str]) -> dict[str, Any]:
        """Return the given values of these parameters, by name."""
        given = self.model_dump(by_alias=True, exclude_unset=True)
        return {name: given[name] for name in parameters if given.get(name)}


@lru_cache(maxsize=64)
def _add_parameters(model: type[C], parameters: tuple[tuple[str, tuple[str, ...]], ...]) -> type[C]:
    """Return the model with these parameters (name, choices) as settings. Cached, because making a model is slow."""
    own = model.settings()
    fields: dict[str, Any] = {
        f"parameter_{number}": (
            Literal[choices] | None if choices else Any,
            setting(name.replace("_", " ").capitalize(), default_text="the service’s choice", name=name),
        )
        for number, (name, choices) in enumerate(parameters)
        if name not in own
    }
    return create_model(model.__name__, __base__=model, **fields) if fields else model


PLUGIN: Final = base.EnginePlugin(
    "openai",
    base.import_engine("generation.engines.openai.engine:OpenAIImages"),
    label="OpenAI’s images API, or one like it",
    config=Config,
    lanes=(base.CLOUD,),
)
