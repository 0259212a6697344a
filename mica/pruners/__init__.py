"""Pruners, one file each. `pruners.names()` lists them; add your own with `placing` or `ranking`."""

from mica.pruners import (
    edge_addition,
    grasp,
    iterative_snip,
    lamp,
    magnitude,
    mica,
    npb,
    ntk_sap,
    phew,
    px,
    random,
    small_dense,
    snip,
    synflow,
)
from mica.pruners.kinds import PlacingPruner, Pruner, Ranking, RankingPruner, placing, pruners, ranking
from mica.pruners.scores.scored_network import Network

__all__ = [
    "Network", "PlacingPruner", "Pruner", "Ranking", "RankingPruner", "edge_addition", "grasp",
    "iterative_snip", "lamp", "magnitude", "mica", "npb", "ntk_sap", "phew", "placing", "pruners", "px",
    "random", "ranking", "small_dense", "snip", "synflow",
]  # fmt: skip
