"""Trace any network of convolutions, linear layers and what lies between them into a LayerGraph."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from mica.errors import TraceError, UserError
from mica.graph.layers import Layer, LayerGraph, Op, Shape, Traced

_ACTIVATIONS: tuple[type[nn.Module], ...] = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish,
    nn.Sigmoid, nn.Tanh, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Softplus, nn.Softsign,
)  # fmt: skip
_DROPOUTS: tuple[type[nn.Module], ...] = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout)
_BATCH_NORMS: tuple[type[nn.Module], ...] = (nn.BatchNorm1d, nn.BatchNorm2d)
_ADAPTIVE: tuple[type[nn.Module], ...] = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)

# Functions and methods go by name: torch.relu, F.relu, Tensor.relu and Tensor.relu_ are one operation.
_ACTIVATION_NAMES = {kind.__name__.lower() for kind in _ACTIVATIONS} | {"leaky_relu"}
_DROPOUT_NAMES = {"dropout", "dropout1d", "dropout2d", "alpha_dropout", "feature_dropout"}
_RESHAPE_NAMES = {"flatten", "view", "reshape", "squeeze"}
_POOL_NAMES = {"max_pool2d", "avg_pool2d"}
_ADAPTIVE_NAMES = {"adaptive_avg_pool2d", "adaptive_max_pool2d"}
_CAT_NAMES = {"cat", "concat", "concatenate"}

_FOLLOWED = (
    "Conv2d, Linear, BatchNorm1d/2d, activations, dropout, max, average and adaptive pooling, "
    "flatten, addition and concatenation of branches"
)


def trace(model: nn.Module, input_shape: tuple[int, ...]) -> LayerGraph:
    """The layer graph of a network, from one symbolic and one real forward pass.

    The network is left as it was: parameters, buffers, and train or eval mode.

    Args:
        model: any module that maps a batch of images `(N, *input_shape)` to one tensor (N, classes).
        input_shape: of one image, such as (3, 32, 32).

    Raises:
        TraceError: it cannot be followed; the message names the module and the operation.
    """
    tracer = _Tracer()
    try:
        nodes = tracer.trace(model)
    except Exception as error:
        raise TraceError(
            f"the network cannot be traced in module {tracer.innermost or '(top)'}: {error}"
        ) from error
    _propagate_shapes(model, nodes, input_shape)
    return _Builder(model, nodes).build(tuple(input_shape))


def given_graph(
    asks: str, model: nn.Module, graph: LayerGraph | None, input_shape: tuple[int, ...] | None
) -> LayerGraph:
    """The graph that a caller of the function `asks` gave, or that of the network for the shape that he gave.

    Raises:
        UserError: he gave neither, or a graph of images of another shape.
        TraceError: the network cannot be followed.
    """
    if graph is None and input_shape is None:
        raise UserError(
            f"{asks} needs graph=mica.trace(model, shape), or input_shape=shape, that of one image such as "
            "(3, 32, 32)"
        )
    if graph is None:
        assert input_shape is not None
        return trace(model, input_shape)
    if input_shape is not None and tuple(input_shape) != graph.input_shape:
        raise UserError(
            f"{asks} is given a graph for images of shape {graph.input_shape}, and input_shape={input_shape}"
        )
    return graph


def traced(graph: LayerGraph, model: nn.Module) -> Traced:
    """What torch's tracer saw of the network that a graph is of; it looks again where the graph has lost it.

    Raises:
        TraceError: it looked again, and the network cannot be followed.
    """
    seen = graph.traced or trace(model, graph.input_shape).traced
    assert seen is not None
    return seen


class _Tracer(fx.Tracer):
    """Remembers the innermost module that tracing failed in."""

    innermost = ""

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            self.innermost = self.innermost or f"{self.path_of_module(m)} ({type(m).__name__})"
            raise


class _Shapes(fx.Interpreter):
    """Runs the network node by node and notes the shape of every tensor."""

    def run_node(self, n: fx.Node) -> Any:
        try:
            value = super().run_node(n)
        except Exception as error:
            raise TraceError(f"{_place(n)} does not accept its input: {error}") from error
        if isinstance(value, Tensor):
            n.meta["shape"] = tuple(value.shape)
        return value


def _propagate_shapes(model: nn.Module, nodes: fx.Graph, input_shape: Shape) -> None:
    """Run two blank images through in eval mode, so that batch norm's statistics stay untouched."""
    parameter = next(model.parameters(), torch.empty(0))
    images = torch.zeros(2, *input_shape, device=parameter.device, dtype=parameter.dtype)
    modes = {module: module.training for module in model.modules()}
    interpreter = _Shapes(model, graph=nodes)
    interpreter.extra_traceback = False
    try:
        model.eval()
        with torch.no_grad():
            interpreter.run(images)
    finally:
        for module, mode in modes.items():
            module.training = mode


class _Builder:
    """Turns the nodes of an fx graph into operations, one by one."""

    def __init__(self, model: nn.Module, graph: fx.Graph) -> None:
        self.modules = dict(model.named_modules())
        self.graph = graph
        self.ops: list[Op] = []
        self.layers: dict[str, Layer] = {}
        self.index: dict[fx.Node, int] = {}

    def build(self, input_shape: Shape) -> LayerGraph:
        placeholders = [node for node in self.graph.nodes if node.op == "placeholder"]
        used = [node for node in placeholders if node.users]
        if len(used) != 1:
            raise TraceError(f"the network must read one input, found {[n.target for n in used]}")
        for node in self.graph.nodes:
            if node.op == "output":
                self._output(node)
            elif node in placeholders:
                if node in used:
                    self._add(node, "input", name="input", inputs=())
            elif node.op != "get_attr" and self._shape(node) is not None:
                self._operation(node)
            # What is left computes no single tensor: `x.size(0)` for a view, say.
        if not self.layers:
            raise TraceError("the network has no convolution and no linear layer: nothing to prune")
        seen = Traced(self.graph, {node.name: index for node, index in self.index.items()})
        return LayerGraph(self.layers, tuple(self.ops), input_shape, seen)

    # -- one node -----------------------------------------------------------------------------

    def _operation(self, node: fx.Node) -> None:
        if node.op == "call_module":
            self._module(node, self.modules[str(node.target)])
        else:
            self._function(node, _name_of(node))

    def _module(self, node: fx.Node, module: nn.Module) -> None:
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            self._layer(node, module)
        elif isinstance(module, _BATCH_NORMS):
            self._add(node, "batch_norm")
        elif isinstance(module, _ACTIVATIONS):
            self._add(node, "activation")
        elif isinstance(module, _DROPOUTS):
            self._add(node, "dropout")
        elif isinstance(module, nn.Identity):
            self._add(node, "identity")
        elif isinstance(module, nn.Flatten):
            self._reshape(node)
        elif isinstance(module, _ADAPTIVE):
            self._add(node, "adaptive_pool")
        elif isinstance(module, (nn.MaxPool2d, nn.AvgPool2d)):
            dilation = getattr(module, "dilation", 1)
            self._pool(node, module.kernel_size, module.stride, module.padding, dilation)
        else:
            raise self._error(node)

    def _function(self, node: fx.Node, name: str) -> None:
        if name in _ACTIVATION_NAMES:
            self._add(node, "activation")
        elif name in _DROPOUT_NAMES:
            self._add(node, "dropout")
        elif name == "contiguous":
            self._add(node, "identity")
        elif name in _RESHAPE_NAMES:
            self._reshape(node)
        elif name in ("add", "iadd"):
            self._sum(node)
        elif name in _CAT_NAMES:
            self._concatenation(node)
        elif name in _ADAPTIVE_NAMES:
            self._add(node, "adaptive_pool")
        elif name in _POOL_NAMES:
            kernel = _argument(node, 1, "kernel_size")
            dilation = _argument(node, 4, "dilation", 1) if name == "max_pool2d" else 1
            stride, padding = _argument(node, 2, "stride"), _argument(node, 3, "padding", 0)
            self._pool(node, kernel, stride, padding, dilation)
        elif name == "mean":
            self._global_mean(node)
        else:
            raise self._error(node)

    def _layer(self, node: fx.Node, module: nn.Conv2d | nn.Linear) -> None:
        name = str(node.target)
        source, shape = self._shape(self._sources(node)[0]), self._shape(node)
        assert source is not None and shape is not None
        for other in self.layers:
            if other != name and module.weight is self.modules[other].weight:
                raise self._error(node, f"shares its weight with {other!r}; every layer must have its own")
        if name in self.layers:
            raise self._error(node, "is used twice; every prunable layer must be used once")
        if isinstance(module, nn.Linear):
            if len(source) != 1:
                raise self._error(node, f"reads features of shape {source}; flatten them first")
            layer = Layer(name=name, shape=tuple(module.weight.shape), input_shape=source, output_shape=shape)
        else:
            if module.padding_mode != "zeros":
                raise self._error(node, f"pads with mode {module.padding_mode!r}; only zeros can be followed")
            padding = module.padding if isinstance(module.padding, str) else _pair(module.padding)
            layer = Layer(
                name=name, shape=tuple(module.weight.shape), input_shape=source, output_shape=shape,
                stride=_pair(module.stride), padding=padding, dilation=_pair(module.dilation),
                groups=module.groups,
            )  # fmt: skip
        self.layers[name] = layer
        self._add(node, "layer")

    def _reshape(self, node: fx.Node) -> None:
        before, after = self._shape(self._sources(node)[0]), self._shape(node)
        assert before is not None and after is not None
        if after == before:
            self._add(node, "identity")
        elif len(after) == 1:
            self._add(node, "flatten")
        else:
            raise self._error(node, f"turns shape {before} into {after}; only flattening can be followed")

    def _sum(self, node: fx.Node) -> None:
        sources = self._sources(node)
        if len(sources) != 2 or any(self._shape(s) != self._shape(node) for s in sources):
            raise self._error(node, "must add two branches of equal shape")
        self._add(node, "add")

    def _concatenation(self, node: fx.Node) -> None:
        rank = len(self._shape(node) or ()) + 1
        dim = int(_argument(node, 1, "dim", 0))
        if dim % rank != 1:
            raise self._error(node, f"joins along dimension {dim}; only channels (1) can be followed")
        self._add(node, "cat")

    def _global_mean(self, node: fx.Node) -> None:
        before, after = self._shape(self._sources(node)[0]), self._shape(node)
        dims = _argument(node, 1, "dim", None)
        given = {int(d) % 4 for d in (dims if isinstance(dims, (tuple, list)) else [dims or 0])}
        if before is None or len(before) != 3 or given != {2, 3}:
            raise self._error(node, "must average over height and width")
        self._add(node, "adaptive_pool", shape=(before[0], 1, 1))
        if after == (before[0],):
            self._add(node, "flatten", inputs=(len(self.ops) - 1,))

    def _pool(self, node: fx.Node, kernel: Any, stride: Any, padding: Any, dilation: Any) -> None:
        kernel = _pair(kernel)
        self._add(
            node, "pool", kernel=kernel, stride=_pair(stride) if stride else kernel,
            padding=_pair(padding), dilation=_pair(dilation),
        )  # fmt: skip

    def _output(self, node: fx.Node) -> None:
        result = node.args[0]
        if not isinstance(result, fx.Node) or result not in self.index:
            raise TraceError("the network must return one tensor of scores")
        shape = self._shape(result)
        if shape is None or len(shape) != 1:
            raise TraceError(f"the network must return one vector of scores an image, found shape {shape}")
        self._add(node, "output", name="output", inputs=(self.index[result],), shape=shape)

    # -- shared ------------------------------------------------------------------------------

    def _add(self, node: fx.Node, kind: str, **fields: Any) -> None:
        fields.setdefault("name", str(node.target) if node.op == "call_module" else _name_of(node))
        if "inputs" not in fields:
            fields["inputs"] = tuple(self.index[source] for source in self._sources(node))
        fields.setdefault("shape", self._shape(node))
        self.index[node] = len(self.ops)
        self.ops.append(Op(kind=kind, is_module=node.op == "call_module", **fields))

    def _sources(self, node: fx.Node) -> list[fx.Node]:
        """The images-tensors that a node reads, in order and with repeats (`x + x` reads x twice)."""
        sources: list[fx.Node] = []

        def note(argument: fx.Node) -> fx.Node:
            if self._shape(argument) is not None:
                if argument not in self.index:
                    raise self._error(node, f"reads the tensor {argument.target}, which is no image")
                sources.append(argument)
            return argument

        fx.node.map_arg((node.args, node.kwargs), note)
        return sources

    def _shape(self, node: fx.Node) -> Shape | None:
        """Of one image; None where the node's value is no tensor."""
        shape = node.meta.get("shape")
        if shape is None:
            return None
        if node.op != "get_attr" and shape[:1] != (2,):
            raise self._error(node, f"gives shape {shape}, which mixes the images of a batch")
        return tuple(shape[1:])

    def _error(self, node: fx.Node, what: str = f"cannot be followed; these can: {_FOLLOWED}") -> TraceError:
        return TraceError(f"{_place(node)} {what}")


def _place(node: fx.Node) -> str:
    """A node as a user knows it: its module's path and class, or its function and the module around."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path, kind = stack[-1] if stack else ("", None)
    if node.op == "call_module":
        return f"module {str(node.target)!r} ({getattr(kind, '__name__', kind)})"
    return f"operation {_name_of(node)!r} in module {path or '(top)'!r}"


def _name_of(node: fx.Node) -> str:
    """`relu` for torch.relu, F.relu, Tensor.relu and Tensor.relu_ alike."""
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    return name.removeprefix("_").rstrip("_")


def _argument(node: fx.Node, position: int, keyword: str, default: Any = None) -> Any:
    if len(node.args) > position:
        return node.args[position]
    return node.kwargs.get(keyword, default)


def _pair(value: Any) -> tuple[int, int]:
    first, second = value if isinstance(value, (tuple, list)) else (value, value)
    return int(first), int(second)
