"""How a method looks: colour and marker say the distribution, the line says the pruner, in every figure.

A pruner starts at a marker of its own, so that in grey too no two methods of a figure look alike.
"""

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

SPARE_COLOURS = ("#661100", "#117733", "#6699CC", "#AA4466", "#4477AA")

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
    "balanced": "Balanced",
    "pyramid": "Pyramid",
    "smart-ratio": "Smart-ratio",
    "power": "Power",
    "staged": "Staged",
    "lamp": "LAMP",
    "phew": "PHEW",
    "npb": "NPB",
    "px": "PX",
    "ntk_sap": "NTK-SAP",
    "edge_addition": "Edge addition",
    "resampling": "Resampling",
    "small_dense": "Small dense",
    "iterative_snip": "Iterative SNIP",
    "force": "FORCE",
}
"""As the paper writes them."""

_LINES: dict[str, tuple[str | tuple[int, tuple[float, ...]], int]] = {
    "mica": ("-", 0),
    "mica (corrected)": ((0, (6, 1.5)), 6),
    "random": ((0, (3, 1.5)), 3),
    "rbpi": ((0, (1, 1.2)), 9),
    "snip": ((0, (4, 1.2, 1, 1.2)), 4),
    "grasp": ((0, (4, 1.2, 1, 1.2)), 7),
    "synflow": ((0, (4, 1.2, 1, 1.2)), 10),
    "magnitude": ((0, (4, 1.2, 1, 1.2)), 1),
}
"""Pruner family → dashes, and which of the markers its first distribution has."""

_MARKERS = ("o", "v", "p", "s", "*", "<", "D", "P", ">", "^", "X", "h")
_SPARE_MARKERS = ("P", "*", "p", "d", "h")
_SPARE_LINES: tuple[tuple[int, tuple[float, ...]], ...] = (
    (0, (6, 1.2, 1, 1.2, 1, 1.2)),
    (0, (8, 2.5)),
    (0, (2, 1)),
    (0, (5, 1, 2, 1)),
)
"""Of different lengths, so that it takes 20 looks until one comes again."""


def title(name: str) -> str:
    """A pruner's or distribution's name as the paper writes it; a user's own without its module."""
    return _TITLES.get(name, name.rpartition(":")[2])


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line of a figure, one row of a table: a method, its budget, and what else tells it apart."""

    method: str
    """With all options, as a sweep file writes it: tells methods apart."""
    pruner: str
    distribution: str
    budget: str
    variant: str = ""
    """What tells its trials from others of this method."""
    unlike: str = ""
    """What all of this method's have and other methods' have not."""
    pruner_options: str = ""
    """Those that are not as by default, `node_counts=max`; likewise the distribution's."""
    distribution_options: str = ""
    pruner_title: str = ""
    """What a sweep file calls it; empty: as the paper does."""
    distribution_title: str = ""
    ambiguous: bool = False
    """Whether another method of the table would be called alike."""
    spare_look: int = 0
    """Which of the lines and markers that no family has of its own; 0: its family's."""
    spare_colour: int = 0
    """Likewise of the colours."""

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
    def special(self) -> str:
        """What needs a look of its own beside its family's; empty for a family as it is."""
        own = "; ".join(filter(None, (self.pruner_options, self.distribution_options, self.variant)))
        return f"{self.family}: {own}" if own or self.family not in _LINES else ""

    @property
    def family_title(self) -> str:
        """The family as the paper writes it, and what tells it apart whatever the distribution is."""
        if self.ambiguous:
            return self.name
        if self.distribution == "global":
            return _remarked(
                "RbPI", self.pruner_options and (self.pruner_title or self.pruner_options), *self._more
            )
        shares = self.distribution_options and (self.distribution_title or self.distribution_options)
        return _remarked(self._pruner, self._pruner_remark, shares, *self._more)

    @property
    def group_title(self) -> str:
        """The group as the paper writes it; with options it stands beside others of its group."""
        name, options = (
            (self.pruner_title, self.pruner_options)
            if self.distribution == "global"
            else (self.distribution_title, self.distribution_options)
        )
        return (not options and name) or title(self.group)

    @property
    def label(self) -> str:
        """`MiCA-IGQ`, `RbPI-SNIP`, `MiCA-ERK (corrected)`, `MiCA-IGQ (node_counts=max)`; `Dense`."""
        if self.ambiguous:
            return _remarked(self.method, *self._more)
        if self.method == "dense":
            return _remarked("Dense", *self._more)
        if self.distribution == "global":
            return _remarked(f"RbPI-{self._pruner}", self._pruner_remark, *self._more)
        distribution = self.distribution_title or title(self.distribution)
        options = "" if self.distribution_title else self.distribution_options
        return _remarked(f"{self._pruner}-{distribution}", self._pruner_remark, options, *self._more)

    @property
    def name(self) -> str:
        """As a sweep file calls it: by its titles if it has any, else `mica-igq`, `mica-erk (corrected)`."""
        titled = self.pruner_title or self.distribution_title
        return self.label if titled else _remarked(self.method, *self._more)

    @property
    def _pruner(self) -> str:
        return self.pruner_title or title(self.pruner)

    @property
    def _pruner_remark(self) -> str:
        return "" if self.pruner_title else self.pruner_options

    @property
    def _more(self) -> tuple[str, str, str]:
        return "corrected" if self.budget == "corrected" else "", self.variant, self.unlike

    @property
    def colour(self) -> str:
        """By distribution."""
        return COLOURS.get(self.group) or SPARE_COLOURS[(self.spare_colour - 1) % len(SPARE_COLOURS)]

    @property
    def line(self) -> str | tuple[int, tuple[float, ...]]:
        """matplotlib's line style, by family; a method with options has one of its own."""
        if not self.spare_look and self.family in _LINES:
            return _LINES[self.family][0]
        return _SPARE_LINES[(self.spare_look - 1) % len(_SPARE_LINES)]

    @property
    def marker(self) -> str:
        """matplotlib's marker, by distribution and family; a method with options has one of its own."""
        groups = list(COLOURS)
        known = groups.index(self.group) if self.group in groups else len(groups) + self.spare_colour
        return self._marker(known)

    @property
    def family_marker(self) -> str:
        """The marker where all lines are of one distribution: of the family alone."""
        return self._marker(0)

    def _marker(self, group: int) -> str:
        if not self.spare_look and self.family in _LINES:
            return _MARKERS[(_LINES[self.family][1] + group) % len(_MARKERS)]
        return _SPARE_MARKERS[(self.spare_look - 1) % len(_SPARE_MARKERS)]

    @property
    def order(self) -> tuple[int, str, int, int, str, str]:
        """For sorting: by distribution as the paper has them, then MiCA, RPI, RbPI, the rest."""
        groups, families = list(COLOURS), list(_LINES)
        group = groups.index(self.group) if self.group in groups else len(groups)
        family = families.index(self.family) if self.family in families else len(families)
        return group, self.group, family, self.spare_look, self.method, self.variant


def _remarked(name: str, *remarks: str) -> str:
    found = ", ".join(filter(None, remarks))
    return f"{name} ({found})" if found else name
