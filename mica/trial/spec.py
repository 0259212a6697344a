"""TrialSpec: one cell of a grid, with every default filled in."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from mica.training.protocol import Protocol
from mica.words import BudgetKind, Keep, NodeCounts, Rounding


class Named(BaseModel):
    """A data set or a model: a registered name (or `package.module:function`) and its options."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    options: dict[str, Any] = Field(default_factory=dict)
    title: str | None = Field(None, description="How tables and figures call it.")

    @property
    def label(self) -> str:
        """The title; without one the name, and the options where there are any."""
        if self.title or not self.options:
            return self.title or self.name
        options = ",".join(f"{key}={_short(value)}" for key, value in sorted(self.options.items()))
        return f"{self.name}({options})"


def _short(value: Any) -> str:
    if isinstance(value, str):
        return value.rpartition("/")[2]  # of a path its last part
    return "x".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


class TrialSpec(BaseModel):
    """All that decides a trial's numbers, and what it leaves besides its record."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Named
    model: Named
    method: str = Field(description="`dense`, or pruner and distribution: `mica-igq`, `rbpi-snip`, …")
    log10_ratio: float = Field(ge=0, description="log10 of the compression ratio; 0 for dense.")
    seed: int = Field(ge=0, description="Makes every random stream of the trial.")
    budget: BudgetKind = "nominal"
    rounding: Rounding = "floor"
    node_counts: NodeCounts = "random"
    protocol: Protocol
    compact: bool = Field(
        True, description="Train the small network that computes the same; changes no number but rounding."
    )
    keep: Keep = Field("nothing", description="Files left beside the record; changes no number.")

    @property
    def ratio(self) -> float:
        """The compression ratio."""
        return float(10**self.log10_ratio)
