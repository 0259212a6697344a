"""Convolutions over small images on a CPU: the weight's gradient as matrix products."""

from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_PIXELS = 16
"""Largest image for which it pays: with 512 channels the library's gradient takes 2.5 (fp32) to 4 (bf16)
times as long at 2×2 pixels, 1.2 to 1.5 times at 4×4, half as long at 8×8, on two x86 cores."""


class SmallImageConv2d(nn.Conv2d):
    """A `Conv2d` of the same numbers but for rounding; gradients of gradients are not supported."""

    @staticmethod
    def suits(module: nn.Module) -> bool:
        """Whether a module may become one."""
        if type(module) is not nn.Conv2d or module.groups > 1:
            return False
        return module.padding_mode == "zeros" and not isinstance(module.padding, str)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[2] * x.shape[3] > _PIXELS or not torch.is_grad_enabled():
            return super().forward(x)
        weight, bias = self.weight, self.bias
        if torch.is_autocast_enabled("cpu"):
            kind = torch.get_autocast_dtype("cpu")
            x, weight, bias = x.to(kind), weight.to(kind), bias if bias is None else bias.to(kind)
        out: Tensor = _Function.apply(x, weight, bias, self)  # type: ignore[no-untyped-call]
        return out


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, conv: nn.Conv2d) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.conv = conv
        return F.conv2d(x, weight, bias, conv.stride, conv.padding, conv.dilation)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        conv: nn.Conv2d = ctx.conv
        d_x, _, d_bias = torch.ops.aten.convolution_backward(
            gradients[0], x, weight, [conv.out_channels], conv.stride, conv.padding, conv.dilation,
            False, [0, 0], 1, [ctx.needs_input_grad[0], False, conv.bias is not None],
        )  # fmt: skip
        d_weight = _weight_gradient(gradients[0], x, conv) if ctx.needs_input_grad[1] else None
        return d_x, d_weight, d_bias, None


def _weight_gradient(d_out: Tensor, x: Tensor, conv: nn.Conv2d) -> Tensor:
    """One matrix product for each kernel position, over the pixels where it does not read the border."""
    d_out, x = d_out.permute(0, 2, 3, 1), x.permute(0, 2, 3, 1)
    height, width = conv.kernel_size
    gradient = x.new_empty(conv.out_channels, height, width, conv.in_channels)
    for row, column in product(range(height), range(width)):
        out_rows, in_rows = _span(conv, 0, row, x.shape[1], d_out.shape[1])
        out_columns, in_columns = _span(conv, 1, column, x.shape[2], d_out.shape[2])
        of_out = d_out[:, out_rows, out_columns].reshape(-1, conv.out_channels)
        of_x = x[:, in_rows, in_columns].reshape(-1, conv.in_channels)
        gradient[:, row, column] = of_out.T @ of_x
    return gradient.permute(0, 3, 1, 2)


def _span(conv: nn.Conv2d, axis: int, place: int, inputs: int, outputs: int) -> tuple[slice, slice]:
    """Outputs that a kernel position gives to, and the inputs that it takes for them, as many."""
    stride = conv.stride[axis]
    shift = place * conv.dilation[axis] - int(conv.padding[axis])
    first = max(0, -(shift // stride))
    end = max(first, min(outputs, (inputs - 1 - shift) // stride + 1))
    return slice(first, end), slice(first * stride + shift, end * stride + shift, stride)
