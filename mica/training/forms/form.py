"""Form: a network in training in the full one's place, and the way between its tensors and the full one's."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mica.compaction.places import Index
from mica.masks import Masks, apply
from mica.training.graphed import GraphedLearner
from mica.training.learner import EagerLearner, Learner
from mica.training.optimiser import sgd
from mica.training.protocol import Protocol
from mica.training.state import Epoch, TrainState

if TYPE_CHECKING:  # numba takes half a second to import
    from mica.edgewise.chain import Chain

_MOMENTUM = "momentum_buffer"
"""What torch's SGD calls it."""


@dataclass(frozen=True)
class Part:
    """The part of one of the full network's tensors that a form trains: live[of_live] is full[of_full]."""

    live: Tensor
    """The form's own tensor: a parameter of its network where the full one is a parameter."""
    of_live: Index
    of_full: Index

    def enter(self, full: Tensor, live: Tensor) -> None:
        """Copy from a tensor of the full network's shape; `live` keeps its device and its order in memory."""
        live[self.of_live] = full[self.of_full].to(live.device)

    def hold(self, live: Tensor) -> Tensor:
        """A copy of the part, on the CPU."""
        return live.detach()[self.of_live].to("cpu", copy=True)


@dataclass(frozen=True)
class Body:
    """What makes one form differ from another: its network at initial weights, and what of it is what."""

    network: nn.Module
    """On its device, not masked yet; nothing of it is shared with the full network."""
    masks: Masks
    """Of those of the network's layers that still have pruned weights."""
    parts: Mapping[str, Part]
    """Name of a tensor of the full network → the part that is trained; droppable channels are in none."""
    chain: "Chain | None" = None
    """The network, where it is but one chain: it learns in its own way."""


@dataclass(frozen=True)
class Held:
    """What a form had come to: copies of its own parts alone, on the CPU."""

    values: Mapping[str, Tensor]
    """Name of a tensor of the full network → the part of it that the form trains."""
    momentum: Mapping[str, Tensor]
    """Likewise of a parameter's momentum; empty before the first step."""
    rows: tuple[Epoch, ...]
    """Of every epoch done."""


class Form:
    """A network in training, which begins at a state and whose state can be had after any epoch.

    Droppable channels (see `TrainState`) are in no part: nothing of them is taken from the state, and nothing
    is left. So in every form they enter as they were before the first step, and leave like that; what the
    plain form makes of them in between reaches no other channel. Which channels these are is read off the
    state that is entered, and a left state gives the same answer: its masks are the same, a shift that is 0
    for ever is 0, and any other stays different from 0, to which nothing decays altogether. So what is left
    enters again as the same network, and goes on with the same bits.
    """

    def __init__(self, body: Body, model: nn.Module, state: TrainState) -> None:
        """Copy the state into the body, and mask it, once.

        Args:
            body: the form's network and parts.
            model: the full network, which must keep its initial weights for as long as the form is used.
            state: to go on from.
        """
        self.network, self._chain = body.network, body.chain
        self.rows = list(state.rows)
        """Of every epoch done, those of the entered state included; who trains adds to them."""
        self._model, self._masks = model, state.masks
        # A buffer that the state dict leaves out is no part of a state.
        self._parts = {name: part for name, part in body.parts.items() if name in state.tensors}
        self._optimised: dict[Tensor, dict[str, Any]] = {}
        with torch.no_grad():
            for name, part in self._parts.items():
                part.enter(state.tensors[name], part.live)
                if name in state.momentum:
                    # A form may train several of the network's tensors as one of its own.
                    found = self._optimised.setdefault(part.live, {_MOMENTUM: torch.zeros_like(part.live)})
                    part.enter(state.momentum[name], found[_MOMENTUM])
        apply(body.network, body.masks)

    @property
    def innermost(self) -> bool:
        """Whether the network is the faster if images are innermost in memory."""
        return self._chain is not None

    @property
    def sociable(self) -> bool:
        """Whether several such networks can learn at a time, and from nothing but the images."""
        return self._chain is not None

    @contextmanager
    def on_one_thread(self) -> Iterator[None]:
        """Meanwhile a sociable network keeps to the thread that it is called in."""
        from mica.machine_code import threads_to_use  # numba takes half a second to import

        assert self._chain is not None
        threads_to_use()  # kernels will not ask, and would leave torch with a thread for each core
        self._chain.threads = 1
        try:
            yield
        finally:
            self._chain.threads = None

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return len(self.rows)

    def optimiser(self, protocol: Protocol, rate: Tensor | None = None) -> torch.optim.SGD:
        """The protocol's optimiser of the network, with the momentum that there is so far; see `sgd`."""
        optimiser = sgd(self.network, protocol, rate=rate)
        optimiser.state.update(self._optimised)
        self._optimised = optimiser.state
        return optimiser

    def learner(self, protocol: Protocol, *, graphed: bool = True) -> Learner:
        """What the network learns by, the learning rate apart; with the momentum that there is so far.

        `graphed`: whether a GPU may be given a step as one graph.
        """
        some = next(self.network.parameters())
        if graphed and some.is_cuda and some.dtype == torch.float32:
            rate = torch.tensor(protocol.lr, device=some.device)
            return GraphedLearner(
                EagerLearner(self.network, self.optimiser(protocol, rate), protocol.precision)
            )
        if self._chain is None or protocol.precision != "fp32":
            return EagerLearner(self.network, self.optimiser(protocol), protocol.precision)
        from mica.edgewise.learning import ChainLearner

        values = self._chain.values
        velocity = torch.zeros_like(values)
        if protocol.momentum > 0:  # else there is none that a state would keep
            velocity = self._optimised.setdefault(values, {_MOMENTUM: velocity})[_MOMENTUM]
        return ChainLearner(
            self._chain,
            velocity,
            momentum=protocol.momentum,
            weight_decay=protocol.weight_decay,
            nesterov=protocol.nesterov and protocol.momentum > 0,
        )

    def hold(self) -> Held:
        """What there is so far, for no more than a copy of what is trained; the form can go on training."""
        values, momentum = {}, {}
        for name, part in self._parts.items():
            values[name] = part.hold(part.live)
            found = self._optimised.get(part.live, {}).get(_MOMENTUM)
            if found is not None:
                momentum[name] = part.hold(found)
        return Held(values, momentum, tuple(self.rows))

    def leave(self, held: Held | None = None) -> TrainState:
        """The state so far, or as it was when `held` was; the form can go on training."""
        held = held or self.hold()
        state = TrainState.begin(self._model, self._masks)
        momentum: dict[str, Tensor] = {}
        if held.momentum:
            names = dict(self._model.named_parameters())
            momentum = {name: torch.zeros_like(state.tensors[name]) for name in names}
        for full, found in ((state.tensors, held.values), (momentum, held.momentum)):
            for name, value in found.items():
                full[name][self._parts[name].of_full] = value
        return replace(state, momentum=momentum, rows=held.rows)
