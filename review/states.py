"""State machines of this app. No database access; docs/states.md is drawn from these tables."""

from core.states import machine

TASK = machine(
    "review task",
    {
        "open": "awaiting_version decided withdrawn",
        "awaiting_version": "open withdrawn",
        "decided": "open",
        "withdrawn": "",
    },
)

# The observed state of a delivery. The desired state (present, absent) is what we want, so it is not in this machine.
DELIVERY = machine(
    "delivery",
    {
        "absent": "sending removing",  # removing: what was there before is put back after all
        "sending": "present failed uncertain absent",
        "present": "sending removing",
        "removing": "absent failed uncertain present",
        "failed": "sending removing absent",
        "uncertain": "sending removing absent",
    },
)

# A message that was delivered or given up waits again if a person replays it.
WEBHOOK_MESSAGE = machine(
    "webhook message",
    {
        "waiting": "delivered failed",
        "delivered": "waiting",
        "failed": "waiting",
    },
)
