"""Write docs/states.md from the tables of the state machines. `make docs` runs it; a test checks that it is current."""

from __future__ import annotations

from pathlib import Path

from campaigns.states import PROMPT
from core.states import Machine
from generation import states as generation_states
from review import states as review_states

PAGE = Path(__file__).with_name("states.md")
MACHINES = [
    ("Prompt version", PROMPT, "campaigns/states.py"),
    ("Run", generation_states.RUN, "generation/states.py"),
    ("Job", generation_states.JOB, "generation/states.py"),
    ("Asset", generation_states.ASSET, "generation/states.py"),
    ("Review task", review_states.TASK, "review/states.py"),
    ("Delivery, as observed", review_states.DELIVERY, "review/states.py"),
    ("Webhook message", review_states.WEBHOOK_MESSAGE, "review/states.py"),
]
INTRODUCTION = """# States and the moves between them

Drawn from the tables in the code by `make docs`; change the table, not this page. A move is a compare-and-set in a
service: whoever comes second is told what happened instead (409).
"""


def draw(title: str, table: Machine, source: str) -> str:
    """Return one machine as a Mermaid diagram and a list of moves."""
    arrows = [f"    [*] --> {next(iter(table.transitions))}"]
    rows = []
    for old, targets in table.transitions.items():
        following = [new for new in table.transitions if new in targets]
        arrows += [f"    {old} --> {new}" for new in following]
        rows.append(f"| {old} | {', '.join(following) or 'nothing: it ends here'} |")
    diagram = "\n".join(["```mermaid", "stateDiagram-v2", *arrows, "```"])
    moves = "\n".join(["| from | may become |", "|---|---|", *rows])
    return f"## {title}\n\nTable: `{source}`\n\n{diagram}\n\n{moves}\n"


def page() -> str:
    return "\n".join([INTRODUCTION, *(draw(*entry) for entry in MACHINES)])


if __name__ == "__main__":
    PAGE.write_text(page())
