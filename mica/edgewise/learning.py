"""Training of a network that is one chain: a whole step in one call."""

import torch
from torch import Tensor

from mica.edgewise import kernels
from mica.edgewise.chain import Chain
from mica.machine_code import threads_to_use


class ChainLearner:
    """Learns batch by batch: SGD with momentum and weight decay of the mean cross-entropy."""

    def __init__(
        self, chain: Chain, velocity: Tensor, *, momentum: float, weight_decay: float, nesterov: bool
    ) -> None:
        """`velocity`: of `chain.values`, as torch's SGD keeps it; zeros before the first step."""
        self._chain, self._velocity = chain, velocity
        self._momentum, self._weight_decay, self._nesterov = momentum, weight_decay, nesterov
        self._gradient = torch.empty(len(velocity), dtype=torch.float64)
        self.rate = 0.0

    def __call__(self, pixels: Tensor, labels: Tensor) -> Tensor:
        """One step; returns the batch's summed loss, and hits among the first and first five classes (3,)."""
        chain, totals = self._chain, torch.zeros(3, dtype=torch.float64)
        program, threads = chain.program, chain.threads or threads_to_use()
        layout, memory = chain.begin(pixels, back=True, threads=threads)
        kernels.learn(
            layout.operations, program.readers, program.edges, program.edges_back, layout.runs,
            chain.values.detach().numpy(), memory.means, memory.variances, chain.tracked.numpy(),
            memory.values, memory.gradients, len(pixels), threads, labels.numpy(),
            layout.output[0], self._gradient.numpy(), self._velocity.numpy(), self.rate, self._momentum,
            self._weight_decay, self._nesterov, totals.numpy(),
        )  # fmt: skip
        chain.batches += 1
        chain.give_back(memory)
        return totals
