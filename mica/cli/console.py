"""Where the commands print, what they share in doing so, and how they end."""

import json
from pathlib import Path

import click
from rich.console import Console

EXIT_TRIALS_FAILED = 1
EXIT_DIFFERENT = 1
EXIT_WRONG_USE = 2
EXIT_INTERRUPTED = 130

# Names and errors of a user's own may hold [brackets] and :colons:, which are no markup.
out = Console(markup=False, emoji=False)
err = Console(stderr=True, markup=False, emoji=False)

SWEEP = click.argument("sweep", type=click.Path(path_type=Path))
STORAGE = click.option("--storage", metavar="PLACE", help="Folder or URI, in place of the file's own.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for a program to read.")


def print_note(note: str | None) -> None:
    """What a reader should know of what follows; None: nothing."""
    if note:
        err.print(f"note: {note}", style="yellow", highlight=False, soft_wrap=True)


def print_json(value: object) -> None:
    """For a program to read."""
    click.echo(json.dumps(value, indent=2))
