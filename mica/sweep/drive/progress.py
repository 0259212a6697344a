"""How far trials are that run: as a lane tells it, and as a person sees it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """Where a lane lives."""

    host: str = ""
    node: str = ""
    """Ray's name of the node."""
    pid: int = 0


@dataclass(frozen=True)
class Report:
    """How far one trial is."""

    key: str
    steps: int = 0
    """Batches done so far, in this process."""
    slowest: float = 0.0
    """Seconds between two of them, at most so far: evaluations and checkpoints included."""
    epoch: int = 0
    """Epochs done, those before a checkpoint included."""
    val_top1: float | None = None
    """After the last of them, percent."""

    @property
    def trains(self) -> bool:
        """Whether a batch is done; before it a mask is made and, once on a machine, kernels are compiled."""
        return self.steps > 1 or self.epoch > 0


@dataclass(frozen=True)
class Running:
    """One trial that runs now."""

    key: str
    trial: str
    """In words."""
    host: str
    epoch: int
    """Epochs done."""
    epochs: int
    """Of how many; 0: it trains nothing."""
    val_top1: float | None
    """After the last epoch, percent."""
    seconds: float
    """Since it was handed out."""
    trains: bool = True
    """False: it is being prepared."""

    @property
    def share(self) -> float:
        """Of its epochs, those that are done."""
        return self.epoch / self.epochs if self.epochs else 0.0

    def __str__(self) -> str:
        if not self.trains:
            return f"{self.trial} in preparation"
        accuracy = "" if self.val_top1 is None else f", val top-1 {self.val_top1:.1f} %"
        return f"{self.trial} epoch {self.epoch}/{self.epochs}{accuracy}"
