"""Functional edges of any torch module by the written definition: mask × ∂(Σ outputs)/∂mask > 0."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn


def functional_by_gradient(
    model: nn.Module, masks: Mapping[str, Tensor], input_shape: tuple[int, ...]
) -> dict[str, Tensor]:
    """Weights become masks, batch norm and dropout rest, max pools sum; float64, rescaled layer by layer.

    Nothing is negative, so that ReLU (as a function too) is the identity. Max pooling must be a module.
    """
    model = copy.deepcopy(model).double().eval()
    for path, module in list(model.named_modules()):
        if isinstance(module, nn.MaxPool2d):
            parent, _, name = path.rpartition(".")
            setattr(model.get_submodule(parent), name, _summing(module))
        elif isinstance(module, nn.BatchNorm2d):
            module.running_mean.zero_()
            module.running_var.fill_(1)
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        if getattr(module, "bias", None) is not None:
            nn.init.zeros_(module.bias)
        if path in masks:
            module.weight = nn.Parameter(masks[path].double())
            module.register_forward_hook(_rescale)
    model(torch.ones(1, *input_shape, dtype=torch.float64)).sum().backward()
    return {name: _positive(model.get_submodule(name).weight) for name in masks}


def _positive(weight: nn.Parameter) -> Tensor:
    if weight.grad is None:
        return torch.zeros_like(weight, dtype=torch.bool)
    return weight.detach() * weight.grad > 0


def _rescale(module: nn.Module, given: object, result: Tensor) -> Tensor:
    return result / result.detach().max().clamp(min=1e-300)


def _summing(pool: nn.MaxPool2d) -> nn.AvgPool2d:
    assert pool.dilation == 1
    return nn.AvgPool2d(pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode)
