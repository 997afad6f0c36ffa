"""Named points at which a test can kill this process, to check what a crash leaves behind."""

from __future__ import annotations

import os
import signal

ENVIRONMENT_VARIABLE = "PROOFLINE_KILL_AT"


def point(name: str) -> None:
    """Kill this process here, without clean-up, if the environment names this point."""
    if os.environ.get(ENVIRONMENT_VARIABLE) == name:
        os.kill(os.getpid(), signal.SIGKILL)
