"""Moving: by what rule, how often and for how long masks move."""

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Moving(BaseModel):
    """A sparse training whose masks move; the published intervals in steps are whole epochs here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["set", "rigl"] = Field(
        description="What comes for the smallest weights of a layer, which go: places at random (SET), or "
        "those of the steepest gradients (RigL)."
    )
    every: int = Field(
        1,
        ge=1,
        le=1_000_000,
        strict=True,
        description="Epochs between two moves; published are one (SET) and 100 steps (RigL).",
    )
    share: float = Field(
        0.3,
        gt=0,
        le=1,
        strict=True,
        description="Of a layer's edges, how many move; RigL's falls to 0 by a cosine.",
    )
    until: float = Field(
        0.75, gt=0, le=1, strict=True, description="After this share of the epochs the masks stay."
    )

    def __str__(self) -> str:
        return f"{self.name}(every={self.every},share={self.share},until={self.until})"

    def share_after(self, epoch: int, epochs: int) -> float:
        """What share of the edges moves after so many of all epochs; 0 where none does."""
        end = self.until * epochs
        if epoch % self.every or epoch >= end:
            return 0.0
        return self.share if self.name == "set" else self.share / 2 * (1 + math.cos(math.pi * epoch / end))
