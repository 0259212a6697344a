"""A table of texts: for a terminal, as Markdown, or as LaTeX."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class TextTable:
    """One table; its first column names the rows, the others are set to the right."""

    title: str
    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def for_terminal(table: TextTable) -> Iterator[RenderableType]:
    """What to print one after the other."""
    yield Text(table.title, style="bold")
    if table.rows:
        yield _grid(table)
    yield Text(table.caption + "\n", style="dim")


def _grid(table: TextTable) -> Table:
    found = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    first, *others = table.head
    found.add_column(first, overflow="fold")
    for name in others:
        found.add_column(name, justify="right", no_wrap=True)
    for row in table.rows:
        found.add_row(*row)
    return found


def markdown(table: TextTable) -> str:
    """Ready to paste."""
    lines = [table.head, ["---", *("---:" for _ in table.head[1:])], *table.rows]
    rows = ["| " + " | ".join(text.replace("|", r"\|") for text in line) + " |" for line in lines]
    return f"**{table.title}**\n\n" + "\n".join(rows) + f"\n\n{table.caption}"


def latex(table: TextTable) -> str:
    """A float with a caption, ready to paste; it needs the package booktabs."""
    head, *rows = [
        " & ".join(map(latex_text, line)) + r" \\" for line in (table.head, *(row for row in table.rows))
    ]
    return "\n".join([
        r"\begin{table}", r"\centering",
        rf"\caption{{{latex_text(table.title)}. {latex_text(table.caption)}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(table.head) - 1)}}}", r"\toprule", head, r"\midrule", *rows,
        r"\bottomrule", r"\end{tabular}", r"\end{table}",
    ])  # fmt: skip


_SPECIAL = (
    {c: "\\" + c for c in "&%$#_{}"}
    | {"^": r"\^{}", "~": r"\~{}", "\\": r"\textbackslash{}"}
    | {"±": r"$\pm$", "·": r"$\cdot$", "−": "$-$", "–": "--", "×": r"$\times$", "<": "$<$", "∞": r"$\infty$"}
)


def latex_text(text: str) -> str:
    """With LaTeX's own characters escaped, and powers of ten set as such."""
    base, power, exponent = text.partition("10^")
    if power and exponent.replace(".", "").isdigit():
        return f"{latex_text(base)}$10^{{{exponent}}}$"
    return "".join(_SPECIAL.get(c, c) for c in text)
