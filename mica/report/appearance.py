"""How a method looks: the colour says the distribution, line and marker say the pruner, in every figure."""

import hashlib
from dataclasses import dataclass

COLOURS = {
    "erk": "#0072B2",
    "igq": "#D55E00",
    "snip": "#009E73",
    "grasp": "#CC79A7",
    "synflow": "#E69F00",
    "magnitude": "#56B4E9",
    "uniform": "#332288",
    "uniform-plus": "#882255",
    "epl": "#999933",
}
"""Okabe and Ito's palette, then Tol's muted one: told apart with any colour vision."""

_SPARE_COLOURS = ("#661100", "#117733", "#6699CC", "#AA4466", "#4477AA")

_TITLES = {
    "random": "RPI",
    "mica": "MiCA",
    "erk": "ERK",
    "igq": "IGQ",
    "snip": "SNIP",
    "grasp": "GraSP",
    "synflow": "SynFlow",
    "magnitude": "Magnitude",
    "uniform": "Uniform",
    "uniform-plus": "Uniform+",
    "epl": "EPL",
}
"""As the paper writes them."""

_LINES: dict[str, tuple[str | tuple[int, tuple[float, ...]], str]] = {
    "mica": ("-", "o"),
    "mica (corrected)": ((0, (6, 1.5)), "D"),
    "random": ((0, (3, 1.5)), "s"),
    "rbpi": ((0, (1, 1.2)), "^"),
    "snip": ((0, (4, 1.2, 1, 1.2)), "v"),
    "grasp": ((0, (4, 1.2, 1, 1.2)), "<"),
    "synflow": ((0, (4, 1.2, 1, 1.2)), ">"),
    "magnitude": ((0, (4, 1.2, 1, 1.2)), "X"),
}
"""Pruner family → dashes and marker. A user's own pruner gets the last entry of `_own`."""

_SPARE_MARKERS = ("P", "h", "p", "8", "d")


def _pick(options: tuple[str, ...], name: str) -> str:
    """One of the options, the same one for the same name in every process."""
    return options[hashlib.sha256(name.encode()).digest()[0] % len(options)]


def title(name: str) -> str:
    """A pruner's or distribution's name as the paper writes it; a user's own without its module."""
    return _TITLES.get(name, name.rpartition(":")[2])


@dataclass(frozen=True)
class Series:
    """One line of a figure, one row of a table: a method, its budget, and what else tells it apart."""

    method: str
    pruner: str
    distribution: str
    budget: str
    variant: str = ""

    @property
    def group(self) -> str:
        """The distribution whose colour the line has; of a globally ranking pruner, its own ranking."""
        return self.pruner if self.distribution == "global" else self.distribution

    @property
    def family(self) -> str:
        """What line and marker stand for: `mica`, `random`, `rbpi`, or a pruner that ranks in layers."""
        if self.distribution == "global":
            return "rbpi"
        return f"{self.pruner} (corrected)" if self.budget == "corrected" else self.pruner

    @property
    def family_title(self) -> str:
        """The family as the paper writes it."""
        name = "RbPI" if self.family == "rbpi" else title(self.pruner)
        return name + self._remarks

    @property
    def group_title(self) -> str:
        """The group as the paper writes it."""
        return title(self.group)

    @property
    def label(self) -> str:
        """`MiCA-IGQ`, `RbPI-SNIP`, `MiCA-ERK (corrected)`; `Dense`."""
        if self.method == "dense":
            return "Dense" + self._remarks
        name = "RbPI" if self.family == "rbpi" else title(self.pruner)
        return f"{name}-{title(self.group)}{self._remarks}"

    @property
    def name(self) -> str:
        """As a sweep file writes it: `mica-igq`, `mica-erk (corrected)`."""
        return self.method + self._remarks

    @property
    def _remarks(self) -> str:
        found = ", ".join(filter(None, ("corrected" if self.budget == "corrected" else "", self.variant)))
        return f" ({found})" if found else ""

    @property
    def colour(self) -> str:
        """By distribution."""
        return COLOURS.get(self.group) or _pick(_SPARE_COLOURS, self.group)

    @property
    def line(self) -> str | tuple[int, tuple[float, ...]]:
        """matplotlib's line style, by family."""
        return _LINES[self.family][0] if self.family in _LINES else (0, (6, 1.2, 1, 1.2, 1, 1.2))

    @property
    def marker(self) -> str:
        """matplotlib's marker, by family; variants of one method get markers of their own."""
        if self.variant or self.family not in _LINES:
            return _pick(_SPARE_MARKERS, self.family + self.variant)
        return _LINES[self.family][1]

    @property
    def order(self) -> tuple[int, str, int, str, str]:
        """For sorting: by distribution as the paper has them, then MiCA, RPI, RbPI, the rest."""
        groups, families = list(COLOURS), list(_LINES)
        group = groups.index(self.group) if self.group in groups else len(groups)
        family = families.index(self.family) if self.family in families else len(families)
        return group, self.group, family, self.method, self.variant
