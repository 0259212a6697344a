"""A compact network whose sparse convolutions, and the sums between them, are computed edge by edge."""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from mica.compaction import Compact
from mica.edgewise.straightening import as_convolution, averages, drop_identities, head_of
from mica.masks import Masks

if TYPE_CHECKING:  # numba takes half a second to import: only those who train wait for it
    from mica.edgewise.chain import Chain
    from mica.edgewise.program import Operation

_DENSE_SPEED = 5
"""So many edges does a dense convolution compute while an edge-wise one computes one."""
_CHANNEL_COST = 25
"""What else a dense layer pays a channel, in edges: its batch norm and ReLU pass over memory on their own.
Both as measured on two x86 cores, from 3 to 512 channels and 2 to 32 pixels."""


@dataclass(frozen=True)
class Edgewise:
    """A network that computes and trains as `small` does; all but what its chains hold is shared with it."""

    model: nn.Module
    masks: Masks
    """Of the layers that stay as they are: still to be applied."""
    small: Compact
    chains: "Sequence[Chain]"
    whole: bool
    """Whether the network is one chain, and its logits flattened."""


def edgewise(small: Compact) -> Edgewise | None:
    """Replace the convolutions of a compact network that are sparse enough; None if less than half are.

    Each takes the batch norm, ReLU and max pooling that follow it along, and those that follow each other,
    with the sums between them, become one chain. For networks on the CPU; gradients of gradients are not
    supported.
    """
    assert isinstance(small.model, fx.GraphModule)
    chosen = [name for name in small.masks if _suits(small, name)]
    convolutions = sum(mask.ndim == 4 for mask in small.masks.values())
    # A few among dense ones would lose on the way from layout to layout what they gain.
    if not chosen or 2 * len(chosen) < convolutions:
        return None
    try:
        from mica.edgewise.chain import Chain
    except ImportError:  # no numba for this machine or this numpy: the dense convolutions are as right
        return None

    graph = fx.Graph()
    graph.output(graph.graph_copy(small.model.graph, {}))
    modules: dict[str, nn.Module] = dict(small.model.named_modules())
    masks = dict(small.masks)
    drop_identities(graph, modules)
    head = head_of(graph, modules) if len(chosen) == convolutions else None
    if head and _sparse_enough(masks[head.name], masks[head.name].shape[1]):
        as_convolution(graph, modules, head)
        masks[head.name] = masks[head.name][:, :, None, None]
        chosen.append(head.name)
    whole = _whole(graph, modules, masks, chosen)
    chains: dict[str, Chain] = {}
    for nodes in _stretches(graph, whole):
        name = f"chain_{len(chains)}"
        chains[name] = Chain([replace(whole[node], reads=_values(nodes, node)) for node in nodes])
        with graph.inserting_after(nodes[-1]):
            call = graph.call_module(name, (_input(nodes),))
        nodes[-1].replace_all_uses_with(call)
        for node in reversed(nodes):
            graph.erase_node(node)
            del whole[node]
    for node, left in whole.items():
        if left.relu:  # of a sum that no chain could take
            with graph.inserting_after(node):
                cut = graph.call_function(torch.relu, (node,))
            node.replace_all_uses_with(cut)
            cut.args = (node,)
    computing = [node for node in graph.nodes if node.op not in ("placeholder", "output")]
    alone = [node.target for node in computing if node.target is not torch.flatten]
    model = fx.GraphModule({**modules, **chains}, graph)
    rest = Masks({name: mask for name, mask in small.masks.items() if name not in chosen})
    return Edgewise(model, rest, small, list(chains.values()), alone == list(chains) and len(computing) == 2)


def _whole(
    graph: fx.Graph, modules: Mapping[str, nn.Module], masks: Mapping[str, Tensor], chosen: Sequence[str]
) -> "dict[fx.Node, Operation]":
    """The nodes that a chain may hold, reading nothing yet; what belongs to one has left the graph."""
    from mica.edgewise.program import Convolution, Mean, Sum

    found: dict[fx.Node, Operation] = {}
    for node in list(graph.nodes):
        tail = _Tail(graph, node, modules)
        if node.op == "call_module" and node.target in chosen:
            name, conv = str(node.target), modules[node.target]
            norm, relu, pool = tail.take(_is_norm), tail.take(_is_relu), tail.take(_is_pool)
            assert isinstance(conv, nn.Conv2d)
            found[node] = Convolution(
                name,
                conv,
                masks[name],
                norm_name=norm.name if norm else "",
                norm=norm.module if norm and isinstance(norm.module, nn.BatchNorm2d) else None,
                relu=relu is not None,
                pool=_side(pool.module.kernel_size) if pool and isinstance(pool.module, nn.MaxPool2d) else 1,
            )
        elif averages(node, modules):
            found[node] = Mean()
        elif _is_sum(node):
            found[node] = Sum(tail.take(_is_relu) is not None)
    return found


def _stretches(graph: fx.Graph, whole: "Mapping[fx.Node, Operation]") -> list[list[fx.Node]]:
    """Nodes that become chains: each reads one value from outside, and only the last one is read there."""
    found: list[list[fx.Node]] = []
    taken: set[fx.Node] = set()
    for first in graph.nodes:
        if first in taken or first not in whole or not _begins(whole[first]):
            continue
        inside = [first]
        known = {first, *first.all_input_nodes}
        node = first.next
        while node.op != "root":
            if node in whole and node not in taken and known.issuperset(node.all_input_nodes):
                inside.append(node)
                known.add(node)
            node = node.next
        while not _closed(inside):
            inside.pop()
        found.append(inside)
        taken.update(inside)
    return found


def _begins(operation: "Operation") -> bool:
    from mica.edgewise.program import Convolution

    return isinstance(operation, Convolution)


def _closed(inside: Sequence[fx.Node]) -> bool:
    """Whether nobody outside reads any but the last."""
    return all(reader in inside for node in inside[:-1] for reader in node.users)


def _input(nodes: Sequence[fx.Node]) -> fx.Node:
    return nodes[0].all_input_nodes[0]


def _values(nodes: Sequence[fx.Node], node: fx.Node) -> tuple[int, ...]:
    """The numbers, in a chain, of the values that one of its nodes reads."""
    number = {_input(nodes): 0, **{other: index + 1 for index, other in enumerate(nodes)}}
    return tuple(number[read] for read in node.args if isinstance(read, fx.Node))


def _suits(small: Compact, name: str) -> bool:
    """Whether a layer is a convolution that the kernels know, sparse enough, and run once a pass."""
    conv = small.model.get_submodule(name)
    assert isinstance(small.model, fx.GraphModule)
    return (
        isinstance(conv, nn.Conv2d)
        and conv.padding_mode == "zeros"
        and not isinstance(conv.padding, str)
        and sum(node.target == name for node in small.model.graph.nodes) == 1
        and _sparse_enough(small.masks[name], conv.in_channels)
    )


def _sparse_enough(mask: Tensor, in_channels: int) -> bool:
    channels = in_channels + mask.shape[0]
    return int(mask.sum()) <= mask.numel() / _DENSE_SPEED + _CHANNEL_COST * channels


@dataclass(frozen=True)
class _Taken:
    """An operation that has left the graph."""

    name: str
    module: nn.Module | None


class _Tail:
    """The chain of operations behind a node; what is taken leaves the graph."""

    def __init__(self, graph: fx.Graph, head: fx.Node, modules: Mapping[str, nn.Module]) -> None:
        self._graph, self._head, self._modules = graph, head, modules

    def take(self, fits: Callable[[fx.Node, nn.Module | None], bool]) -> _Taken | None:
        """The next operation; None if it is not fit or not the only reader."""
        readers = list(self._head.users)
        if len(readers) != 1:
            return None
        node = readers[0]
        module = self._modules[str(node.target)] if node.op == "call_module" else None
        if not fits(node, module):
            return None
        node.replace_all_uses_with(self._head)
        self._graph.erase_node(node)
        return _Taken(str(node.target), module)


def _is_norm(node: fx.Node, module: nn.Module | None) -> bool:
    if not isinstance(module, nn.BatchNorm2d) or module.momentum is None:
        return False
    return module.affine and module.track_running_stats


def _is_relu(node: fx.Node, module: nn.Module | None) -> bool:
    if module is not None:  # then the target is a path, which may be called "relu" and be anything
        return isinstance(module, nn.ReLU)
    return node.target in (torch.relu, F.relu, "relu", "relu_")


def _is_pool(node: fx.Node, module: nn.Module | None) -> bool:
    """Max pooling whose windows do not overlap."""
    if not isinstance(module, nn.MaxPool2d):
        return False
    sides = {_side(of) for of in (module.kernel_size, module.stride)}
    whole = _side(module.padding) == 0 and _side(module.dilation) == 1 and not module.ceil_mode
    return len(sides) == 1 and -1 not in sides and whole and not module.return_indices


def _is_sum(node: fx.Node) -> bool:
    """The sum of two values of one shape."""
    if node.target not in (operator.add, operator.iadd, torch.add, "add", "add_") or node.kwargs:
        return False
    shapes = {read.meta.get("shape") if isinstance(read, fx.Node) else None for read in node.args}
    if len(node.args) != 2 or len(shapes) != 1 or None in shapes:
        return False
    first = node.args[0]
    assert isinstance(first, fx.Node)
    # Written into its first, which then nobody else may read.
    return node.target not in (operator.iadd, "add_") or len(first.users) == 1


def _side(size: int | tuple[int, ...]) -> int:
    """Of a square its side; -1 for another rectangle."""
    if isinstance(size, int):
        return size
    return size[0] if len(set(size)) == 1 else -1
