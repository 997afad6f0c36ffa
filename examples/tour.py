"""The closing words of the demo: the result, the accounts, and the pages to open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.table import Table

from config import env
from examples.loading import Example
from examples.publishing import DeliveryCounts, SecondAct
from examples.sketches import ImageCounts

ROLE_ORDER = ("reviewer", "campaign_manager", "lead")


@dataclass(frozen=True)
class DemoResult:
    """The result that `--once` prints as its last line."""

    products: int
    jobs: int
    assets: int
    in_review: int
    failed: int
    seconds: float
    images_per_second: float
    little_model: ImageCounts = field(default_factory=ImageCounts)
    left_out: str = ""
    published: DeliveryCounts = field(default_factory=DeliveryCounts)

    @property
    def is_complete(self) -> bool:
        """Return whether every asset reached review, no job failed, and what was approved has been delivered."""
        has_no_failure = not self.failed and not self.little_model.failed
        return 0 < self.assets == self.in_review and has_no_failure and self.published.is_complete


def list_accounts(examples: Sequence[Example]) -> Table:
    """Return a table of the people who can log in."""
    table = Table("log in as", "password", "who", "of", box=None, padding=(0, 2))
    for example in examples:
        for login in sorted(example.logins, key=lambda login: [role not in login.roles for role in ROLE_ORDER]):
            roles = ", ".join(role.replace("_", " ") for role in login.roles)
            table.add_row(login.username, login.password, f"{login.name}, {roles}", example.brand.name)
    return table


def describe(site: str, main: Example, result: DemoResult, second_act: SecondAct) -> list[str]:
    """Return the lines of a tour. site: the address of the pages. main: the brand that it shows."""
    names = {role: next((login.username for login in main.logins if role in login.roles), "") for role in ROLE_ORDER}
    mistakes = main.feed.with_name("products-with-mistakes.csv")
    base = f"{site}/brands/{main.brand.slug}"
    drawn = result.little_model
    return [
        f"{result.in_review} of {result.assets} images came to review. Three minutes; docs/demo.md has more:",
        f"1. As [bold]{names['reviewer']}[/] open {base}/review/ and start reviewing: [bold]a[/] approves, "
        "[bold]x[/] rejects, [bold]r[/] sends back with what to change, [bold]z[/] takes back.",
        "2. The checklist asks one thing of every image: is this the product's colour? Remember it at KM-VAS-01; "
        "no check can see what is wrong there.",
        "3. KM-BWL-02 and KM-BWL-04 came with one photo: the finding shows the duplicate.",
        *(_describe_drawn(drawn) if drawn.places else ()),
        f"4. As [bold]{names['campaign_manager']}[/] open {base}/import/ and offer {display_path(mistakes)}: "
        "six kinds of mistakes, each with its cell.",
        f"5. As [bold]{names['lead']}[/] open {base}/audit/: all that you just did. `make demo-tamper` in another "
        "terminal forges one byte of a copy, and the check names the link.",
        *second_act.describe(site, display_path(env.var_dir() / "approved")),
        "What you approve arrives there, too, after half a minute. Ctrl-C stops all.",
    ]


def _describe_drawn(drawn: ImageCounts) -> list[str]:
    return [
        f"   {drawn.packshots} more packshots stand before places that the little model drew, beside "
        f"{drawn.ideas} tiles of ideas; what it drew is marked [bold]demo model[/]."
    ]


def display_path(path: Path) -> str:
    """Return the path, relative to the checkout if it is inside."""
    return str(path.relative_to(env.ROOT) if path.is_relative_to(env.ROOT) else path)
