"""The state from which `tests.support.processes` forks: Django and the engines imported, no connection open.

A fork reads its settings again from its own environment, so it equals a process that `manage.py` starts.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

import django
from django.conf import Settings, settings
from django.core.management import call_command

PRELOADED = (
    "generation.engines.comfyui.engine",
    "generation.engines.openai.engine",
    "generation.engines.replicate.engine",
    "generation.finishing.develop",
    "generation.workers.process",
)

django.setup()
for name in PRELOADED:
    import_module(name)


def manage(arguments: tuple[str, ...], environment: dict[str, str]) -> None:
    """Run `manage.py …` without system checks in this process, which has just been forked."""
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    module = environment["DJANGO_SETTINGS_MODULE"]
    del sys.modules[module]
    settings._wrapped = Settings(module)  # type: ignore[assignment]
    call_command(*arguments)
