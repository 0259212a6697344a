"""Compaction: train a masked network as the small dense network that computes the same."""

from mica.compaction.small_network import Compact, compact

__all__ = ["Compact", "compact"]
