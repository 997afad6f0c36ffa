"""The state machine of this app: prompt versions."""

from core.states import machine

PROMPT = machine("prompt version", {"draft": "requested approved", "requested": "approved draft", "approved": ""})
