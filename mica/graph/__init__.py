"""The network as layers, operations and channels; what signal reaches."""

from mica.graph.layers import PASS_KINDS, Layer, LayerGraph, Op, Shape

__all__ = ["PASS_KINDS", "Layer", "LayerGraph", "Op", "Shape"]
