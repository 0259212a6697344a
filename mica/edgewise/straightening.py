"""A compact network's graph, rewritten so that more of it is what a chain can hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import fx, nn


def drop_identities(graph: fx.Graph, modules: Mapping[str, nn.Module]) -> None:
    """Whoever reads an identity reads what it reads."""
    for node in list(graph.nodes):
        if node.op == "call_module" and isinstance(modules[str(node.target)], nn.Identity):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)


@dataclass(frozen=True)
class Head:
    """A linear layer over the means of channels."""

    mean: fx.Node
    """Of the pixels, as (N, C, 1, 1) or (N, C)."""
    flatten: fx.Node | None
    linear: fx.Node

    @property
    def name(self) -> str:
        return str(self.linear.target)


def head_of(graph: fx.Graph, modules: Mapping[str, nn.Module]) -> Head | None:
    """What ends a network: a mean over all pixels, maybe a flattening, and a linear layer used once."""
    linear = next(node for node in graph.nodes if node.op == "output").args[0]
    if not isinstance(linear, fx.Node) or not _is(linear, modules, nn.Linear) or len(linear.users) != 1:
        return None
    if sum(node.target == linear.target for node in graph.nodes) != 1:
        return None
    before: object = linear.args[0]
    flatten: fx.Node | None = None
    if isinstance(before, fx.Node) and _flattens(before, modules) and len(before.users) == 1:
        flatten, before = before, before.args[0]
    if not isinstance(before, fx.Node) or not _averages(before, modules) or len(before.users) != 1:
        return None
    return Head(before, flatten, linear)


def as_convolution(graph: fx.Graph, modules: dict[str, nn.Module], head: Head) -> None:
    """The same numbers by a convolution of the one pixel, flattened behind it."""
    linear = modules[head.name]
    assert isinstance(linear, nn.Linear)
    conv = nn.Conv2d(linear.in_features, linear.out_features, 1, bias=linear.bias is not None)
    conv.weight = nn.Parameter(linear.weight.detach()[:, :, None, None])
    conv.bias = linear.bias
    modules[head.name] = conv
    modules["mean_of_pixels"] = nn.AdaptiveAvgPool2d(1)
    with graph.inserting_before(head.linear):
        mean = graph.call_module("mean_of_pixels", (head.mean.args[0],))
        pixel = graph.call_module(head.name, (mean,))
        flat = graph.call_function(torch.flatten, (pixel, 1))
    head.linear.replace_all_uses_with(flat)
    for node in (head.linear, head.flatten, head.mean):
        if node is not None:
            graph.erase_node(node)


def averages(node: fx.Node, modules: Mapping[str, nn.Module]) -> bool:
    """Whether a node is the mean over all pixels, as a module."""
    return _is(node, modules, nn.AdaptiveAvgPool2d) and _averages(node, modules)


def _averages(node: fx.Node, modules: Mapping[str, nn.Module]) -> bool:
    if _is(node, modules, nn.AdaptiveAvgPool2d):
        return modules[str(node.target)].output_size in (1, (1, 1))
    if node.target is F.adaptive_avg_pool2d:
        return node.args[1:] in ((1,), ((1, 1),)) and not node.kwargs
    over = [*node.args[1:], *node.kwargs.values()]
    return node.target in ("mean", torch.mean) and _pixels(over[:1]) and over[1:] in ([], [True], [False])


def _pixels(over: Sequence[object]) -> bool:
    return over in ([(2, 3)], [[2, 3]], [(-2, -1)], [[-2, -1]])


def _flattens(node: fx.Node, modules: Mapping[str, nn.Module]) -> bool:
    """Whether a node makes (N, C) of (N, C, 1, 1): whatever a linear layer reads has to be flat."""
    names = ("flatten", "view", "reshape", "squeeze")
    return _is(node, modules, nn.Flatten) or node.target in (torch.flatten, torch.squeeze, *names)


def _is(node: fx.Node, modules: Mapping[str, nn.Module], kind: type[nn.Module]) -> bool:
    return node.op == "call_module" and isinstance(modules[str(node.target)], kind)
