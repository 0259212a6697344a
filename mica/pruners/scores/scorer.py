"""What top-k asks of a ranking pruner."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch import Tensor

from mica.pruners.scores.scored_network import Network


class Remaining(Protocol):
    """Edges that are scored and pruned in turns. Scores and flags are flat, layer by layer."""

    @property
    def kept(self) -> Mapping[str, Tensor]:
        """bool (edges,): to be set to False for edges that are pruned, in place."""
        ...

    def scores(self) -> Mapping[str, Tensor]:
        """(edges,), beside `kept`; of a pruned edge no more than of any kept one."""
        ...

    def masks(self) -> Mapping[str, Tensor]:
        """All edges of the network, bool: those kept."""
        ...


class Scorer(Protocol):
    """Scores edges; the highest scores are kept. As text it says who is to blame: name, file and line."""

    @property
    def iterations(self) -> int:
        """How often it scores and prunes."""
        ...

    @property
    def needs_images(self) -> bool:
        """Whether it looks at training images and labels."""
        ...

    @property
    def recovers(self) -> bool:
        """Whether it scores pruned edges too, and they may come back."""
        ...

    @property
    def options(self) -> Mapping[str, Any]:
        """All that is set of it."""
        ...

    @property
    def functions(self) -> tuple[Callable[..., object], ...]:
        """What it computes with: the one that scores first."""
        ...

    def score(self, network: Network, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Scores of the weights' shapes; pruned weights are zero."""
        ...

    def start(self, network: Network) -> Remaining | None:
        """A quicker way to the same scores, where there is one."""
        ...
