"""The form in which a masked network is trained: the smallest and fastest that computes the same."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from mica.compaction import compact
from mica.edgewise import edgewise
from mica.errors import TraceError
from mica.masks import Masks, apply
from mica.training.on_cpu import quickened

_NEARLY_DENSE = 0.9
"""From this share of the edges on, a compact network is not worth its scattering back."""


@dataclass(frozen=True)
class Form:
    """A network to train in another's place."""

    network: nn.Module
    write_back: Callable[[], None]
    """Writes what was trained into the network that it stands for."""


def training_form(
    model: nn.Module, masks: Masks, input_shape: tuple[int, ...], device: str, *, smaller: bool = True
) -> Form:
    """Mask a network, in place, and find what to train for it on a device.

    With `smaller` that is its compact network, on a CPU with the sparse convolutions edge by edge; the
    network itself where it cannot be compacted, or hardly, or is to stay as it is.
    """
    found = _smaller(model, masks, input_shape, device) if smaller else None
    if found is not None:
        apply(model, masks)
        return found
    network = _for_device(model, device)
    apply(model, masks)
    return Form(network, lambda: None)


def _smaller(model: nn.Module, masks: Masks, input_shape: tuple[int, ...], device: str) -> Form | None:
    try:
        small = compact(model, masks, input_shape)
    except TraceError:
        return None
    sparse = edgewise(small) if device == "cpu" else None
    if sparse is None and small.masks.total > _NEARLY_DENSE * masks.total:
        return None
    network = _for_device(sparse.model if sparse else small.model.to(device), device)
    apply(network, sparse.masks if sparse else small.masks)

    def write_back() -> None:
        if sparse:
            sparse.write_back()
        small.scatter(small.model.state_dict(), model.state_dict())

    return Form(network, write_back)


def _for_device(network: nn.Module, device: str) -> nn.Module:
    """On the same parameters."""
    return quickened(network) if device == "cpu" else network
