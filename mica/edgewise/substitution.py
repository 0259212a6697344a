"""A compact network with its sparse convolutions replaced by edge-wise ones."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from mica.compaction import Compact
from mica.masks import Masks

if TYPE_CHECKING:  # numba takes half a second to import: only those who train wait for it
    from mica.edgewise.block import Block

_DENSE_SPEED = 5
"""So many edges does a dense convolution compute while an edge-wise one computes one."""
_CHANNEL_COST = 25
"""What else a dense layer pays a channel, in edges: its batch norm and ReLU pass over memory on their own.
Both as measured on two x86 cores, from 3 to 512 channels and 2 to 32 pixels."""


@dataclass(frozen=True)
class Edgewise:
    """A network that computes and trains as `small` does; all but the replaced weights is shared with it."""

    model: nn.Module
    masks: Masks
    """Of the layers that stay as they are: still to be applied."""
    small: Compact
    blocks: "dict[str, Block]"
    """Layer → what computes it. Its parameter `values` holds the weight's kept edges, in row-major order."""


def edgewise(small: Compact) -> Edgewise | None:
    """Replace the convolutions of a compact network that are sparse enough; None if less than half are.

    Each takes the batch norm, ReLU and max pooling that follow it along. For networks on the CPU; gradients
    of gradients are not supported.
    """
    assert isinstance(small.model, fx.GraphModule)
    chosen = [name for name in small.masks if _suits(small, name)]
    convolutions = sum(mask.ndim == 4 for mask in small.masks.values())
    # A few among dense ones would lose on the way from layout to layout what they gain.
    if not chosen or 2 * len(chosen) < convolutions:
        return None
    try:
        from mica.edgewise.block import Block
    except ImportError:  # no numba for this machine or this numpy: the dense convolutions are as right
        return None

    graph = fx.Graph()
    graph.output(graph.graph_copy(small.model.graph, {}))
    modules: dict[str, nn.Module] = dict(small.model.named_modules())
    blocks: dict[str, Block] = {}
    for node in list(graph.nodes):
        if node.op != "call_module" or node.target not in chosen:
            continue
        conv = modules[node.target]
        assert isinstance(conv, nn.Conv2d)
        tail = _Tail(graph, node, modules)
        norm, relu, pool = tail.take(_is_norm), tail.take(_is_relu), tail.take(_is_pool)
        assert norm is None or isinstance(norm, nn.BatchNorm2d)
        window = _side(pool.kernel_size) if isinstance(pool, nn.MaxPool2d) else 1
        blocks[node.target] = Block(conv, small.masks[node.target], norm, relu is not None, window)
    model = fx.GraphModule({**modules, **blocks}, graph)
    rest = Masks({name: mask for name, mask in small.masks.items() if name not in blocks})
    return Edgewise(model, rest, small, blocks)


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


class _Tail:
    """The chain of operations behind a convolution; what is taken leaves the graph."""

    def __init__(self, graph: fx.Graph, head: fx.Node, modules: dict[str, nn.Module]) -> None:
        self._graph, self._head, self._modules = graph, head, modules

    def take(self, fits: Callable[[fx.Node, nn.Module | None], bool]) -> nn.Module | fx.Node | None:
        """The next operation, as its module if it has one; None if it is not fit or not the only reader."""
        readers = list(self._head.users)
        if len(readers) != 1:
            return None
        node = readers[0]
        module = self._modules[str(node.target)] if node.op == "call_module" else None
        if not fits(node, module):
            return None
        node.replace_all_uses_with(self._head)
        self._graph.erase_node(node)
        return module or node


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


def _side(size: int | tuple[int, ...]) -> int:
    """Of a square its side; -1 for another rectangle."""
    if isinstance(size, int):
        return size
    return size[0] if len(set(size)) == 1 else -1
