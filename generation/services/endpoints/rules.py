"""Rules for endpoints: problems of an endpoint, and the settings that only the operator may change.

Settings that could read the server's files or reach its network are for the operator: addresses, paths, local models.
Values that must not be read again belong into the secret.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from django.conf import settings
from django.utils.translation import gettext as _

from core.choices import Lane
from core.errors import Problem
from core.fetching import redact_settings
from generation import prices
from generation.choices import WhenUncertain
from generation.engines import base as engines
from generation.engines.service import may_be_private
from generation.models import Endpoint

LOCAL_LANES: Final = (Lane.GPU, Lane.CPU)
RESERVED_SLUGS: Final = frozenset({"new", "now"})  # slugs that are used in addresses of other pages
MAX_CONFIG_BYTES: Final = 2 * 1024 * 1024
MAX_BATCH_SIZE: Final = 256
MAX_CONCURRENT: Final = 10_000
MAX_RATE: Final = 1_000_000
#: The setting with the art director's workflow, whose texts are prompts and not connection settings.
WORKFLOW: Final = "workflow"
# "api_key" and "X-Auth-Token", but not "max_tokens" or "token_normalization".
_SECRET: Final = re.compile(
    r"(?:^|[^a-z])(?:secret|password|passwd|token|authorization|bearer|credentials?|(?:api|access|auth|private)[_-]?key)$",
    re.IGNORECASE,
)
_SLUG: Final = re.compile(r"[-a-zA-Z0-9_]{1,50}")
_WITH_LOGIN: Final = re.compile(r"\s*(?:[\w+.-]+://[^/\s]*@|[^/\s:@]+:[^/\s@]+@)")
_PATH: Final = re.compile(r"^(?:/|~|[a-z]:[\\/]|\.{1,2}[\\/])", re.IGNORECASE)


def find_problems(endpoint: Endpoint) -> list[Problem]:
    """Return all problems that prevent the use of this endpoint, each with its field."""
    mistakes = [
        *_name_problems(endpoint),
        *_number_problems(endpoint),
        *(Problem("prices", sentence) for sentence in prices.find_problems(endpoint.prices)),
        *_find_secrets(endpoint.config),
    ]
    mistakes = mistakes or [
        Problem(f"config/{name}", sentence) for name, sentence in endpoint.plugin.config.problems(endpoint.config)
    ]
    return mistakes or _engine_problems(endpoint)


def find_operator_settings(endpoint: Endpoint, before: Mapping[str, Any] | None) -> list[Problem]:
    """Return problems for settings that only the operator may write. before: the config as the operator left it."""
    mistakes = []
    for place, text in sorted(_list_reachable_addresses(endpoint.config) - _list_reachable_addresses(before or {})):
        if not text.startswith(f"{settings.SITE_URL}/"):
            shown = redact_settings(text)[:120]
            message = _("%(name)s: only an operator may set addresses, folders and files of the server, here %(text)r.")
            mistakes.append(Problem(f"config/{place}", message % {"name": place, "text": shown}, shown))
    reported_names = {problem.pointer.split("/")[1] for problem in mistakes}
    mistakes += [
        Problem(f"config/{name}", _("%(name)s: only an operator may set or remove this.") % {"name": name})
        for name in sorted(endpoint.plugin.operator_settings - reported_names)
        if endpoint.config.get(name) != (before or {}).get(name)
    ]
    if not mistakes and before != endpoint.config and endpoint.config:
        is_remote = engines.build(endpoint.engine, endpoint.config).capabilities().is_remote
        if not is_remote:
            mistakes.append(Problem("config", _("Engines on the server's own machines are set up by the operator.")))
    return mistakes


def list_addresses(config: Any) -> set[tuple[str, str]]:
    """Return (setting, text) of every address and every path in a config."""
    return {
        (setting, text)
        for setting, text in _texts(config)
        if "://" in text or _PATH.match(text) or setting.partition("/")[0] in ("ca", "model_config")
    }


def _list_reachable_addresses(config: Any) -> set[tuple[str, str]]:
    """Return `list_addresses`, and the private hosts from which images may be fetched. These hosts get no secret."""
    hosts = (pair for pair in _texts(config) if pair[0].partition("/")[0] == "output_hosts")
    return list_addresses(config) | {(setting, text) for setting, text in hosts if may_be_private(text)}


def _name_problems(endpoint: Endpoint) -> Iterator[Problem]:
    if not endpoint.name.strip() or len(endpoint.name) > 120:
        yield Problem("name", _("Give it a name of at most 120 characters."), endpoint.name[:120])
    if not _SLUG.fullmatch(endpoint.slug):
        message = _("The short name has letters, digits, - and _, at most 50 of them.")
        yield Problem("slug", message, endpoint.slug[:50])
    elif endpoint.slug in RESERVED_SLUGS:
        message = _("“%(slug)s” is the address of a page; take another short name.") % {"slug": endpoint.slug}
        yield Problem("slug", message, endpoint.slug)
    if len(endpoint.disclaimer) > 40:
        message = _("Say it in at most 40 characters: it stands on every image.")
        yield Problem("disclaimer", message, endpoint.disclaimer)
    if endpoint.lane not in Lane.values:
        message = _("There is no lane %(lane)r; there are gpu, cpu and cloud.")
        yield Problem("lane", message % {"lane": endpoint.lane})
    if endpoint.when_uncertain not in WhenUncertain.values:
        message = _("An uncertain submission either waits for a person or is submitted again.")
        yield Problem("when_uncertain", message)


def _number_problems(endpoint: Endpoint) -> Iterator[Problem]:
    spans: tuple[tuple[str, float, float, str], ...] = (
        ("batch_size", 1, MAX_BATCH_SIZE, _("Give %(low)s to %(high)s images per batch.")),
        ("max_concurrent", 1, MAX_CONCURRENT, _("Give %(low)s to %(high)s submissions at once; empty to find out.")),
        ("max_per_second", 0.001, MAX_RATE, _("Give %(low)s to %(high)s submissions a second; empty to find out.")),
        ("max_per_minute", 0.01, MAX_RATE, _("Give %(low)s to %(high)s submissions a minute; empty to find out.")),
        ("seconds_per_image", 0.001, 86_400, _("Give %(low)s to %(high)s seconds for one image.")),
    )
    for field, low, high, message in spans:
        value: Any = getattr(endpoint, field)
        if value is None and field.startswith("max_"):
            continue
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not is_number or not low <= value <= high:
            yield Problem(field, message % {"low": f"{low:g}", "high": f"{high:,g}"}, str(value))
    price = endpoint.price_per_image
    if not isinstance(price, Decimal | int | float) or not 0 <= price < 10_000:
        yield Problem("price_per_image", _("Give an amount of money, 0 or more."), str(price))


def _find_secrets(config: Any) -> Iterator[Problem]:
    """Yield problems for values that must not be in the config, because people can read them there."""
    if not isinstance(config, Mapping):
        yield Problem("config", _('The settings are an object such as {"model": "…"}.'))
        return
    if len(json.dumps(config, default=str)) > MAX_CONFIG_BYTES:
        yield Problem("config", _("The settings are over %(n)d MB.") % {"n": MAX_CONFIG_BYTES >> 20})
    for setting, text in _texts(config):
        if text and _SECRET.search(setting.rpartition("/")[2]):
            message = _("%(setting)s: belongs into the secret, which nobody can read again.")
        elif _WITH_LOGIN.match(text):
            message = _("%(setting)s: leave name and password out of the address; they are a secret.")
        else:
            continue
        yield Problem(f"config/{setting}", message % {"setting": setting})


def _engine_problems(endpoint: Endpoint) -> list[Problem]:
    """Return problems if the engine is unknown, does not accept the config, or does not work on this lane."""
    try:
        is_remote = engines.build(endpoint.engine, endpoint.config).capabilities().is_remote
    except (engines.EngineError, ValueError, TypeError, KeyError, OSError, ImportError) as error:
        if isinstance(error, ValueError) and endpoint.engine not in engines.ENGINES:
            return [Problem("engine", str(error))]
        message = _("The engine %(engine)s does not take this: %(error)s")
        return [Problem("config", message % {"engine": endpoint.engine, "error": error})]
    if is_remote and endpoint.lane != Lane.CLOUD:
        message = _("%(engine)s asks a service: its lane is cloud.")
    elif not is_remote and endpoint.lane not in LOCAL_LANES:
        message = _("%(engine)s works on our own machines: its lane is gpu or cpu.")
    elif endpoint.lane not in endpoint.plugin.lanes:
        message = _("%(engine)s does not work there: its lane is %(lanes)s.")
    else:
        return []
    values = {"engine": endpoint.engine, "lanes": _(" or ").join(endpoint.plugin.lanes)}
    return [Problem("lane", message % values, endpoint.lane)]


def _texts(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield (path of keys, text) of every string in plain JSON; in a workflow only those with the key of a secret."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(inner, f"{path}/{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner, path)
    elif isinstance(value, str) and (
        path.partition("/")[0] != WORKFLOW or _SECRET.search(path.rpartition("/")[2]) is not None
    ):
        yield path, value
