"""One convolution with what follows it, as a torch module that computes edge by edge."""

from typing import Any

import numba
import numpy as np
import torch
from numba.core import config
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mica.edgewise import kernels
from mica.edgewise.compiling import compile_apart
from mica.edgewise.kernels import Ints, Norm
from mica.edgewise.taps import runs, taps


class Block(nn.Module):
    """A masked convolution by its kept edges, then batch norm, ReLU and max pooling where there are any.

    Takes and returns (N, C, H, W) tensors of any strides; what it returns lies as CHWN in memory, which the
    next block takes as it is.
    """

    def __init__(
        self, conv: nn.Conv2d, mask: Tensor, norm: nn.BatchNorm2d | None, relu: bool, pool: int
    ) -> None:
        super().__init__()
        compile_apart(conv.weight.dtype)
        self.values = nn.Parameter(conv.weight.detach()[mask].clone())
        self.bias, self.norm, self.relu, self.pool = conv.bias, norm, relu, pool
        self.taps, self.transposed = taps(conv, mask)
        self.channels, self.padding, self.stride = conv.out_channels, conv.padding, conv.stride
        self._runs: dict[tuple[int, int, int], tuple[Ints, Ints]] = {}
        self._extent = tuple(d * (k - 1) + 1 for d, k in zip(conv.dilation, conv.kernel_size, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        weight, shift = (self.norm.weight, self.norm.bias) if self.norm is not None else (None, None)
        out: Tensor = _Function.apply(x, self.values, self.bias, weight, shift, self)  # type: ignore[no-untyped-call]
        return out.permute(3, 0, 1, 2)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the convolution's output."""
        padded = (height + 2 * int(self.padding[0]), width + 2 * int(self.padding[1]))
        rows, columns = ((p - e) // s + 1 for p, e, s in zip(padded, self._extent, self.stride, strict=True))
        return rows, columns

    def runs(self, columns: int, source_columns: int, images: int) -> tuple[Ints, Ints]:
        """Runs of the convolution and of its transpose."""
        key = (columns, source_columns, images)
        if key not in self._runs:
            there, back = runs(self.taps, *key), runs(self.transposed, source_columns, columns, images)
            self._runs[key] = there, back
        return self._runs[key]

    @property
    def bare(self) -> bool:
        """Whether nothing follows the convolution."""
        return self.norm is None and not self.relu and self.pool == 1


class _Function(torch.autograd.Function):
    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)  # type: ignore[untyped-decorator]
    def forward(
        ctx: Any,
        x: Tensor,
        values: Tensor,
        bias: Tensor | None,
        gamma: Tensor | None,
        beta: Tensor | None,
        block: Block,
    ) -> Tensor:
        _use_threads()
        x = _chwn(x)
        height, width, images = x.shape[1:]
        rows, columns = block.size(height, width)
        z = x.new_empty(block.channels, rows, columns, images)
        if block.norm is not None and block.norm.training and z[0].numel() == 1:
            raise ValueError(
                f"batch norm in training needs more than one value a channel, found {tuple(z.shape)}"
            )
        out = (
            z
            if block.bare
            else x.new_empty(block.channels, rows // block.pool, columns // block.pool, images)
        )
        x_array, z_array = x.numpy(), z.numpy()
        zeros = np.zeros(block.channels, x_array.dtype)
        offset = _array(bias, zeros)
        ctx.norm = _norm(block, zeros)
        ctx.runs = block.runs(columns, width, images)
        kernels.forward(
            x_array, block.taps, ctx.runs[0], _array(values, zeros), offset,
            ctx.norm, block.bare, block.relu, block.pool, z_array, out.numpy(),
        )  # fmt: skip
        if ctx.norm.by_batch and block.norm is not None and block.norm.num_batches_tracked is not None:
            block.norm.num_batches_tracked.add_(1)
        ctx.block = block
        # A bare convolution is its own output, which whoever reads it may overwrite: nobody needs it later.
        ctx.save_for_backward(x, values, None if block.bare else z)
        return out

    @staticmethod
    @once_differentiable
    @torch.amp.custom_bwd(device_type="cpu")  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        _use_threads()
        block: Block = ctx.block
        x, values, z = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        z = gradient if z is None else z
        d_z = gradient if block.bare else torch.empty_like(z)
        d_x = torch.empty_like(x) if ctx.needs_input_grad[0] else x[:0]
        d_values, d_gamma, d_beta = torch.empty_like(values), z.new_empty(len(z)), z.new_empty(len(z))
        kernels.backward(
            gradient.numpy(), x.numpy(), block.taps, ctx.runs[0], block.transposed, ctx.runs[1],
            values.detach().numpy(), ctx.norm, block.bare, block.relu, block.pool, z.numpy(),
            d_z.numpy(), d_x.numpy(), d_values.numpy(), d_gamma.numpy(), d_beta.numpy(),
        )  # fmt: skip
        return (
            d_x.permute(3, 0, 1, 2) if ctx.needs_input_grad[0] else None,
            d_values,
            d_z.sum(dim=(1, 2, 3)) if block.bias is not None else None,
            d_gamma if block.norm is not None else None,
            d_beta if block.norm is not None else None,
            None,
        )


def _use_threads() -> None:
    """Let kernels called from this thread use as many threads as torch may."""
    asked = torch.get_num_threads()
    count = min(asked, config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    if numba.get_num_threads() != count:
        numba.set_num_threads(count)
    if torch.get_num_threads() != asked:  # numba's pool, as it starts, sets the count that torch goes by
        torch.set_num_threads(asked)


def _chwn(x: Tensor) -> Tensor:
    """(N, C, H, W) of any strides → contiguous (C, H, W, N), without a copy where it lies so already."""
    return x.detach().permute(1, 2, 3, 0).contiguous()


def _array(x: Tensor | None, default: Any) -> Any:
    return default if x is None else x.detach().numpy()


def _norm(block: Block, zeros: Any) -> Norm:
    """The block's batch norm; where it has none, one that changes nothing."""
    norm = block.norm
    nothing = np.zeros(len(zeros))
    if norm is None:
        return Norm(False, nothing, nothing + 1, zeros + 1, zeros, 0.0, zeros, zeros, 0.0)
    gamma, beta = _array(norm.weight, zeros), _array(norm.bias, zeros)
    mean, variance = _array(norm.running_mean, zeros), _array(norm.running_var, zeros)
    if norm.training:
        moments = np.empty((2, len(zeros)))
        return Norm(True, moments[0], moments[1], gamma, beta, norm.eps, mean, variance, norm.momentum or 0.0)
    tracked = mean.astype(np.float64), variance.astype(np.float64)
    return Norm(False, *tracked, gamma, beta, norm.eps, mean, variance, 0.0)
