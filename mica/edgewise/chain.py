"""Operations one after another as one torch module, computed edge by edge in one call each way."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mica.edgewise import kernels
from mica.edgewise.compiling import compile_apart
from mica.edgewise.layout import Layout, lay_out
from mica.edgewise.program import Convolution, Operation, Program
from mica.machine_code import threads_to_use


class Chain(nn.Module):
    """Operations of a network that nobody looks into: one value goes in, the last one comes out.

    Takes and returns (N, C, H, W) tensors of any strides; what it returns lies as CHWN in memory.
    """

    values: nn.Parameter
    """All parameters: of each convolution its kept edges and its bias, of each batch norm gamma and beta."""
    tracked: Tensor
    """Running mean and variance of all batch norms: (2, channels)."""
    batches: Tensor
    """How many batches each batch norm has seen."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        super().__init__()
        convolutions = [operation for operation in operations if isinstance(operation, Convolution)]
        dtype = convolutions[0].conv.weight.dtype
        compile_apart(dtype)
        self.program = Program(operations, convolutions[0].conv.in_channels)
        self.values = nn.Parameter(torch.cat([part.flatten() for part in _parameters(convolutions)]))
        norms = [operation.norm for operation in convolutions if operation.norm is not None]
        tracked = [
            torch.cat([getattr(norm, f"running_{name}") for norm in norms] or [torch.zeros(0)])
            for name in ("mean", "var")
        ]
        self.register_buffer("tracked", torch.stack(tracked).to(dtype))
        batches = [int(norm.num_batches_tracked or 0) for norm in norms]
        self.register_buffer("batches", torch.tensor(batches, dtype=torch.int64))
        self.threads: int | None = None
        """So many may be used; None: as many as torch may use."""
        self._layouts: dict[tuple[int, ...], Layout] = {}
        self._free: list[Memory] = []

    def forward(self, x: Tensor) -> Tensor:
        # Within the function gradients are off, and do not tell whether anybody wants them.
        back = torch.is_grad_enabled() and (x.requires_grad or self.values.requires_grad)
        out: Tensor = _Function.apply(x, self.values, self, back)  # type: ignore[no-untyped-call]
        return out.permute(3, 0, 1, 2)

    def begin(self, x: Tensor, *, back: bool, threads: int) -> "tuple[Layout, Memory]":
        """The layout for some images, and memory of which they are the beginning.

        Raises:
            ValueError: batch norm would have one value a channel, of which there is no variance.
        """
        key = (*x.shape, back, threads)
        if key not in self._layouts:
            size = (x.shape[2], x.shape[3])
            self._layouts[key] = lay_out(self.program, size, len(x), back=back, threads=threads)
        layout = self._layouts[key]
        if self.training and layout.single:
            raise ValueError("batch norm in training needs more than one value a channel")
        memory = self._free.pop() if self._free else Memory(self.tracked)
        memory.fit(layout)
        _part(memory.values, 0, (*x.shape[1:], len(x))).copy_(x.permute(1, 2, 3, 0))
        return layout, memory

    def give_back(self, memory: "Memory") -> None:
        """Nobody needs it any more."""
        self._free.append(memory)


def _parameters(convolutions: Sequence[Convolution]) -> list[Tensor]:
    """In the program's order."""
    found = []
    for operation in convolutions:
        found.append(operation.conv.weight.detach()[operation.mask])
        if operation.conv.bias is not None:
            found.append(operation.conv.bias.detach())
        if operation.norm is not None:
            found += [operation.norm.weight.detach(), operation.norm.bias.detach()]
    return found


class Memory:
    """What a pass writes, and the way back reads.

    Arrays, not tensors: those made under `torch.inference_mode` could not be written to afterwards.
    """

    def __init__(self, tracked: Tensor) -> None:
        self.values, self.gradients = (np.empty(0, tracked.numpy().dtype) for _ in range(2))
        self.means, self.variances = (np.empty(tracked.shape[1]) for _ in range(2))

    def fit(self, layout: Layout) -> None:
        if len(self.values) < layout.memory:
            self.values = np.empty(layout.memory, self.values.dtype)
        if len(self.gradients) < layout.gradients:
            self.gradients = np.empty(layout.gradients, self.values.dtype)


class _Function(torch.autograd.Function):
    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)  # type: ignore[untyped-decorator]
    def forward(ctx: Any, x: Tensor, values: Tensor, chain: Chain, back: bool) -> Tensor:
        program, threads = chain.program, chain.threads or threads_to_use()
        layout, memory = chain.begin(x, back=back, threads=threads)
        kernels.forward(
            layout.operations, program.edges, layout.runs, values.detach().numpy(), memory.means,
            memory.variances, chain.tracked.numpy(), memory.values, chain.training, len(x), threads,
        )  # fmt: skip
        if chain.training:
            chain.batches += 1
        out = _part(memory.values, layout.output_at, layout.output).clone()
        if back:
            ctx.save_for_backward(values)
            ctx.chain, ctx.training, ctx.threads = chain, chain.training, threads
            ctx.layout, ctx.memory, ctx.shape = layout, memory, (*x.shape[1:], len(x))
        else:
            chain.give_back(memory)
        return out

    @staticmethod
    @once_differentiable
    @torch.amp.custom_bwd(device_type="cpu")  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        (values,) = ctx.saved_tensors
        chain: Chain = ctx.chain
        layout: Layout = ctx.layout
        memory: Memory | None = ctx.memory
        if memory is None:
            raise RuntimeError("the gradients of a chain can be asked for once a pass")
        _part(memory.gradients, layout.gradient_at, layout.output).copy_(gradients[0])
        d_values = torch.zeros(len(values), dtype=torch.float64)
        d_x = values.new_empty(ctx.shape) if ctx.needs_input_grad[0] else None
        d_input = values.new_empty(0, 0) if d_x is None else d_x.flatten(1)
        program = chain.program
        kernels.backward(
            layout.operations, program.readers, program.edges, program.edges_back, layout.runs,
            values.detach().numpy(), memory.means, memory.variances, memory.values,
            memory.gradients, ctx.training, layout.output[3],
            min(ctx.threads, chain.threads or threads_to_use()), d_values.numpy(), d_input.numpy(),
        )  # fmt: skip
        chain.give_back(memory)
        ctx.memory = None
        return None if d_x is None else d_x.permute(3, 0, 1, 2), d_values.to(values.dtype), None, None


def _part(memory: NDArray[Any], at: int, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(memory[at : at + math.prod(shape)]).view(shape)
