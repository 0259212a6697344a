"""Functional edges and nodes by walking single units: pure Python sets, no tensor arithmetic.

A unit is (op index, channel, row, column). An edge is (layer, *index into its weight); it joins many pairs
of units, one for each place its kernel visits. A path goes from an input unit to a unit of the last op.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import lru_cache

from torch import Tensor

from tests.oracle.networks import Op, OracleNet

Unit = tuple[int, int, int, int]
Edge = tuple[str | int, ...]
Link = tuple[Unit, Unit, Edge | None]


def functional_edges(net: OracleNet, masks: Mapping[str, Tensor]) -> set[Edge]:
    """The kept edges on at least one path from an input unit to an output unit."""
    links = list(kept_links(net, masks))
    live, read = live_units(net, links), read_units(net, links)
    return {edge for tail, head, edge in links if edge is not None and tail in live and head in read}


def every_path(net: OracleNet, masks: Mapping[str, Tensor], most: int) -> set[Edge] | None:
    """The same by listing the paths one by one; None beyond `most` of them."""
    leaving = defaultdict(list)
    for tail, head, edge in kept_links(net, masks):
        leaving[tail].append((head, edge))
    last, found, seen = len(net.ops) - 1, set(), 0
    stack: list[tuple[Unit, tuple[Edge, ...]]] = [(unit, ()) for unit in units(net, 0)]
    while stack:
        seen += 1
        if seen > most:
            return None
        unit, edges = stack.pop()
        if unit[0] == last:
            found |= set(edges)
        for head, edge in leaving[unit]:
            stack.append((head, edges if edge is None else (*edges, edge)))
    return found


def node_share(net: OracleNet, masks: Mapping[str, Tensor]) -> float | None:
    """Share of the reached input nodes (layer, channel, row, column) that have a functional edge."""
    functional = functional_edges(net, masks)
    links = [link for link in all_links(net, len(net.ops)) if link[2] is None or link[2] in functional]
    live = live_units(net, links)
    reached = {
        _node(net, edge)
        for tail, _, edge in all_links(net, len(net.ops))
        if edge is not None and tail in live
    }
    used = {_node(net, edge) for edge in functional}
    assert used <= reached
    return len(used) / len(reached) if reached else None


def open_places(net: OracleNet, masks: Mapping[str, Tensor]) -> set[Edge]:
    """The pruned edges of which each, put back alone, would be functional."""
    links = list(kept_links(net, masks))
    live, read = live_units(net, links), read_units(net, links)
    return {
        edge
        for tail, head, edge in all_links(net, len(net.ops))
        if edge is not None and not masks[str(edge[0])][edge[1:]] and tail in live and head in read
    }


def live_units(net: OracleNet, links: list[Link]) -> set[Unit]:
    """Units with a path from the input."""
    leaving = defaultdict(set)
    for tail, head, _ in links:
        leaving[tail].add(head)
    return _closure(set(units(net, 0)), leaving)


def read_units(net: OracleNet, links: list[Link]) -> set[Unit]:
    """Units with a path to the output."""
    entering = defaultdict(set)
    for tail, head, _ in links:
        entering[head].add(tail)
    return _closure(set(units(net, len(net.ops) - 1)), entering)


def _closure(start: set[Unit], steps: Mapping[Unit, set[Unit]]) -> set[Unit]:
    found, stack = set(start), list(start)
    while stack:
        for unit in steps.get(stack.pop(), ()):
            if unit not in found:
                found.add(unit)
                stack.append(unit)
    return found


def units(net: OracleNet, index: int) -> Iterator[Unit]:
    """All units of one op; a vector is a stack of 1×1 maps."""
    channels, rows, columns = _map(net.ops[index])
    for c in range(channels):
        for y in range(rows):
            for x in range(columns):
                yield index, c, y, x


def kept_links(net: OracleNet, masks: Mapping[str, Tensor]) -> Iterator[Link]:
    """Every pair of joined units whose edge the masks keep."""
    kept = {name: set(map(tuple, mask.nonzero().tolist())) for name, mask in masks.items()}
    for link in all_links(net, len(net.ops)):
        edge = link[2]
        if edge is None or edge[1:] in kept[str(edge[0])]:
            yield link


@lru_cache(maxsize=1)
def all_links(net: OracleNet, ops: int) -> list[Link]:
    """Every pair of joined units of the dense network, with the edge between them if it is a weight."""
    return [link for index in range(ops) for link in _links(net, index, net.ops[index])]


def _links(net: OracleNet, index: int, op: Op) -> Iterator[Link]:
    if op.kind == "conv":
        yield from _conv(net, index, op)
    elif op.kind == "linear":
        yield from _linear(net, index, op)
    elif op.kind in ("pool", "adaptive"):
        yield from _windows(net, index, op)
    elif op.kind != "input":
        yield from _plain(net, index, op)


def _map(op: Op) -> tuple[int, int, int]:
    channels, *size = op.shape
    rows, columns = size or (1, 1)
    return channels, rows, columns


def _two(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def _conv(net: OracleNet, index: int, op: Op) -> Iterator[Link]:
    module, source = net.get_submodule(op.layer), op.inputs[0]
    _, rows, columns = _map(net.ops[source])
    outs, ins, tall, wide = module.weight.shape
    (step_y, step_x), (gap_y, gap_x) = module.stride, module.dilation
    if module.padding == "same":  # torch puts the odd pixel on the far side
        pad_y, pad_x = gap_y * (tall - 1) // 2, gap_x * (wide - 1) // 2
    else:
        pad_y, pad_x = module.padding
    for _, o, y, x in units(net, index):
        first = o // (outs // module.groups) * ins
        for i in range(tall):
            for j in range(wide):
                v, u = y * step_y + i * gap_y - pad_y, x * step_x + j * gap_x - pad_x
                if 0 <= v < rows and 0 <= u < columns:
                    for c in range(ins):
                        yield (source, first + c, v, u), (index, o, y, x), (op.layer, o, c, i, j)


def _linear(net: OracleNet, index: int, op: Op) -> Iterator[Link]:
    source = op.inputs[0]
    for _, o, _, _ in units(net, index):
        for _, c, _, _ in units(net, source):
            yield (source, c, 0, 0), (index, o, 0, 0), (op.layer, o, c)


def _windows(net: OracleNet, index: int, op: Op) -> Iterator[Link]:
    source = op.inputs[0]
    size, result = _map(net.ops[source])[1:], _map(op)[1:]
    spans = [_adaptive if op.kind == "adaptive" else _fixed(op, axis) for axis in (0, 1)]
    for _, c, y, x in units(net, index):
        for v in spans[0](y, size[0], result[0]):
            for u in spans[1](x, size[1], result[1]):
                yield (source, c, v, u), (index, c, y, x), None


def _adaptive(at: int, size: int, result: int) -> range:
    return range(at * size // result, -(-(at + 1) * size // result))


def _fixed(op: Op, axis: int):
    numbers = {"padding": 0, "dilation": 1, **op.attrs}
    kernel = _two(numbers["kernel_size"])
    step, pad, gap = (_two(numbers[key])[axis] for key in ("stride", "padding", "dilation"))

    def span(at: int, size: int, result: int) -> list[int]:
        seen = (at * step - pad + i * gap for i in range(kernel[axis]))
        return [v for v in seen if 0 <= v < size]

    return span


def _plain(net: OracleNet, index: int, op: Op) -> Iterator[Link]:
    offset = 0
    for source in op.inputs:
        channels, rows, columns = _map(net.ops[source])
        for unit in units(net, source):
            _, c, y, x = unit
            if op.kind == "flatten":
                yield unit, (index, (c * rows + y) * columns + x, 0, 0), None
            elif op.kind == "mean":
                yield unit, (index, c, 0, 0), None
            else:
                yield unit, (index, offset + c, y, x), None
        offset += channels if op.kind == "cat" else 0


def _node(net: OracleNet, edge: Edge) -> tuple[str | int, ...]:
    """The input node an edge leaves: the channel counted over all groups."""
    name, o, c, *kernel = edge
    module = net.get_submodule(str(name))
    groups = getattr(module, "groups", 1)
    outs, ins = module.weight.shape[:2]
    return name, int(o) // (outs // groups) * ins + int(c), *kernel
