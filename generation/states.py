"""The allowed state changes of runs, jobs and assets. Pure; docs/states.md is generated from these tables."""

from core.states import machine

RUN = machine(
    "run",
    {
        "draft": "planned cancelled",
        "planned": "running cancelled",
        "running": "paused finished cancelled",
        "paused": "running cancelled",
        "finished": "running",  # after retrying failed jobs, or for the next round
        "cancelled": "",
    },
)

JOB = machine(
    "job",
    {
        "queued": "running held cancelled succeeded",  # succeeded: an equal fingerprint was reused
        "running": "succeeded failed cancelled waiting queued held quarantined",
        "waiting": "running cancelled failed held",
        "held": "queued cancelled",
        "succeeded": "",
        "failed": "queued",
        "cancelled": "",
        "quarantined": "queued cancelled",
    },
)

ASSET = machine(
    "asset",
    {
        "making": "in_review failed superseded rejected",  # rejected: it failed its checks, and its prompt says so
        "failed": "making superseded",
        "in_review": "approved rejected revising superseded",
        "revising": "in_review stale superseded failed",  # stale: the decision about a stale image was undone
        "approved": "in_review stale revoked superseded",
        "rejected": "in_review stale superseded",
        "stale": "approved rejected revising in_review revoked superseded",  # it has an open review task
        "revoked": "in_review superseded",
        "superseded": "",
    },
)
