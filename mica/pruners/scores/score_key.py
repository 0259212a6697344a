"""What a ranking pruner's scores depend on, as one digest: equal digests mean equal scores."""

import ast
import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

import mica
from mica.graph.tracing import traced
from mica.pruners.scores.scored_network import Network
from mica.pruners.scores.scorer import Scorer

Tensors = Mapping[str, Tensor]


class ScoreCache(Protocol):
    """Keeps what is costly to compute."""

    def get_or_compute(self, key: str, compute: Callable[[], Tensors]) -> Tensors:
        """What `compute` gave for this key before, on the CPU; else what it gives now."""
        ...


def score_key(scorer: Scorer, network: Network, *more: object) -> str | None:
    """Digest of a pruner, a network, its images, this machine, and anything more that has a telling repr.

    None when they cannot be told apart for certain: a pruner from outside this package, or a network
    with hooks or with settings that are more than numbers and words.
    """
    functions = scorer.functions
    behaviour = _behaviour(network)
    if behaviour is None or any(not f.__module__.startswith("mica.") for f in functions):
        return None
    sha = hashlib.sha256("".join(sorted({code_of(f.__module__) for f in functions})).encode())
    names = [f"{f.__module__}.{f.__qualname__}" for f in functions]
    graph = network.graph
    about = (names, sorted(scorer.options.items()), _machine(network.device), behaviour, network.seed, more)
    sha.update(repr((*about, graph.ops, dict(graph.layers), graph.input_shape)).encode())
    tensors = _tensors(network.model)
    if scorer.needs_images and network.images is not None and network.labels is not None:
        tensors |= {"scored images": network.images, "scored labels": network.labels}
    for name, tensor in tensors.items():
        value = tensor.detach().cpu().contiguous()
        sha.update(repr((name, value.dtype, tuple(value.shape))).encode())
        sha.update(value.view(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


@functools.cache
def code_of(module: str) -> str:
    """Digest of the sources of a module and of all of mica's that it imports, directly or not."""
    sources: dict[str, bytes] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in sources and (file := _file_of(name)) is not None:
            sources[name] = file.read_bytes()
            waiting += _imported(sources[name])
    digests = [(name, hashlib.sha256(source).hexdigest()) for name, source in sorted(sources.items())]
    return hashlib.sha256(repr((mica.__version__, digests)).encode()).hexdigest()


def _imported(source: bytes) -> Iterator[str]:
    """Mica's modules that a source names; `from mica.a import b` may name one or something inside one."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (name for name in names if name.startswith("mica."))


def _file_of(module: str) -> Path | None:
    """A module's source; None for a name that is no module."""
    path = Path(mica.__file__).parent.joinpath(*module.split(".")[1:])
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def _machine(device: torch.device) -> tuple[object, ...]:
    """Whatever else makes torch add numbers up in another order."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    backends: Any = torch.backends  # its annotations lack some of its modules
    fp32 = (backends.mkldnn.matmul, backends.mkldnn.conv, backends.cuda.matmul, backends.cudnn.conv)
    return (
        name, str(torch.__version__), torch.get_num_threads(), backends.cpu.get_cpu_capability(),
        backends.mkldnn.enabled, *(operation.fp32_precision for operation in fp32),
    )  # fmt: skip


def _behaviour(network: Network) -> str | None:
    """All that the network computes with but its tensors: calls, arguments, settings of torch's modules."""
    model = network.model
    if any(module._forward_hooks or module._forward_pre_hooks for module in model.modules()):
        return None
    nodes = traced(network.graph, model).graph.nodes
    if any(n.op == "call_function" and not _is_torchs(n.target) for n in nodes):
        return None
    if any(n.op == "get_attr" and str(n.target) not in _tensors(model) for n in nodes):
        return None
    used = {str(node.target) for node in nodes if node.op == "call_module"}
    settings = {name: _settings(model.get_submodule(name)) for name in used}
    if any(found is None for found in settings.values()):
        return None
    calls = [(n.name, n.op, str(n.target), n.args, n.kwargs) for n in nodes]
    return repr((calls, sorted(settings.items())))


def _is_torchs(function: object) -> bool:
    return (getattr(function, "__module__", None) or "torch").split(".")[0] in {"torch", "_operator", "math"}


def _settings(module: nn.Module) -> str | None:
    """Class and settings of a module; None if a setting is no number, word, or list of such."""
    given = {name: value for name, value in vars(module).items() if name not in vars(nn.Module())}
    if not all(_is_plain(value) for value in given.values()):
        return None
    return repr((type(module).__module__, type(module).__qualname__, sorted(given.items())))


def _is_plain(value: object) -> bool:
    if isinstance(value, (tuple, list)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))
