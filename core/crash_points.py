"""Named points at which a test can have this process killed: the only way to prove what a crash leaves behind."""

from __future__ import annotations

import os
import signal

ENVIRONMENT_VARIABLE = "PROOFLINE_KILL_AT"

#: What a job passes on top of the others when a service makes it, in this order; "looked_up" after a lost answer only.
AT_SERVICES = ("intended", "submitted", "entrusted", "polled", "looked_up", "resumed")
#: What every job passes, in this order. The kill test walks this tuple.
POINTS = (
    "claimed",
    "generated",
    "developed",
    "stored",
    "finish.locked",
    "finish.written",
    "finished",
)


def point(name: str) -> None:
    """Die here, without any cleaning up, if the environment names this point."""
    if os.environ.get(ENVIRONMENT_VARIABLE) == name:
        os.kill(os.getpid(), signal.SIGKILL)
