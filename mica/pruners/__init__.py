"""Pruners, one file each. `pruners.names()` lists them; add your own with `placing` or `ranking`."""

from mica.pruners import grasp, magnitude, mica, random, snip, synflow
from mica.pruners.network import Network
from mica.pruners.registry import PlacingPruner, Pruner, RankingPruner, placing, pruners, ranking

__all__ = [
    "Network", "PlacingPruner", "Pruner", "RankingPruner", "grasp", "magnitude", "mica", "placing",
    "pruners", "random", "ranking", "snip", "synflow",
]  # fmt: skip
