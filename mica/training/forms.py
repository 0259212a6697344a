"""The form in which a masked network is trained: the smallest and fastest that computes the same."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from mica.compaction import Compact, compact
from mica.edgewise import edgewise
from mica.errors import TraceError
from mica.masks import Masks, apply
from mica.training.on_cpu import quicken

_NEARLY_DENSE = 0.9
"""From this share of the edges on, a compact network is not worth its scattering back."""


@dataclass(frozen=True)
class Form:
    """A network to train in another's place."""

    network: nn.Module
    write_back: Callable[[], None]
    """Once it is trained: writes that into the network that it stands for."""


def training_form(
    model: nn.Module, masks: Masks, input_shape: tuple[int, ...], device: str, *, smaller: bool = True
) -> Form:
    """Mask a network, in place, and find what to train for it on a device.

    With `smaller` that is its compact network, on a CPU with the sparse convolutions edge by edge; the
    network itself where it cannot be compacted, or hardly, or is to stay as it is.
    """
    small = _compact(model, masks, input_shape) if smaller else None
    sparse = edgewise(small) if small and device == "cpu" else None
    if small is None or (sparse is None and small.masks.total > _NEARLY_DENSE * masks.total):
        undo = quicken(model) if device == "cpu" else _nothing
        apply(model, masks)
        return Form(model, undo)
    network = sparse.model if sparse else small.model.to(device)
    undo = quicken(network) if device == "cpu" else _nothing
    apply(network, sparse.masks if sparse else small.masks)

    def write_back() -> None:
        undo()
        if sparse:
            sparse.write_back()
        small.scatter(small.model.state_dict(), model.state_dict())

    # Its masks zero the whole network too: what is not trained is to be as pruned as what is.
    apply(model, masks)
    return Form(network, write_back)


def _compact(model: nn.Module, masks: Masks, input_shape: tuple[int, ...]) -> Compact | None:
    try:
        return compact(model, masks, input_shape)
    except TraceError:
        return None


def _nothing() -> None:
    pass
