"""The moves of review tasks and deliveries. Pure; docs/states.md is drawn from these tables."""

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

# The observed side of a delivery; the desired side (present, absent) is a wish, not a state.
DELIVERY = machine(
    "delivery",
    {
        "absent": "sending",
        "sending": "present failed absent",
        "present": "sending removing",
        "removing": "absent failed present",
        "failed": "sending removing absent",
    },
)
