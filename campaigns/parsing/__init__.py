"""Opens the files of strangers in processes of their own, with limits on memory and time.

Image decoders and the workbook reader are native code: a hostile file can crash them, or make them ask for more memory
or time than there is. So they work in a process that has nothing to lose: no database, no secrets in its environment.
`processes.py` starts and ends such processes, `child.py` is the program that runs in them, `messages.py` what they say.
"""

from __future__ import annotations

from campaigns.parsing.messages import Message
from campaigns.parsing.processes import Broken, Exceeded, Limits, ask, stream

__all__ = ["Broken", "Exceeded", "Limits", "Message", "ask", "stream"]
