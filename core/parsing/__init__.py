"""Opens untrusted files in child processes with limits on memory and time.

A hostile file can crash native decoders or exhaust memory. A child has no database and no secrets in its environment.
"""

from __future__ import annotations

from core.parsing.messages import Message
from core.parsing.processes import Broken, Exceeded, Limits, run_task, stream_task

__all__ = ["Broken", "Exceeded", "Limits", "Message", "run_task", "stream_task"]
