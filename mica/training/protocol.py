"""How a network is trained: every number that a trial's result depends on."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mica.data import Augment
from mica.errors import UserError
from mica.models import models
from mica.registry import place_of
from mica.training.moving import Moving
from mica.wording import quoted

Precision = Literal["fp32", "tf32", "bf16"]
InitialWeights = Literal["drawn", "redrawn", "rescaled", "normalised", "open"]
Share = Annotated[float, Field(ge=0, le=1, strict=True)]
MOST_IMAGES = 10**9
_LATER = ("initial_weights", "moving")
"""Fields that came after the first keys of this protocol version."""


class Protocol(BaseModel):
    """One training protocol. The defaults are the paper's for VGG-16 (section 4.2)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: int = Field(
        160,
        ge=0,
        le=1_000_000,
        strict=True,
        description="Passes over the training images; 0 makes masks only.",
    )
    batch_size: int = Field(
        128, ge=1, le=1_000_000, strict=True, description="Images a step; a smaller last batch is kept."
    )
    lr: float = Field(0.1, gt=0, le=1e30, strict=True, description="Learning rate at the start.")
    lr_drops: tuple[Share, ...] = Field(
        (0.375, 0.75),
        max_length=100,
        description="After these shares of the epochs (60 and 120 of 160) the learning rate drops.",
    )
    lr_factor: float = Field(
        0.1, gt=0, le=10, strict=True, description="What the learning rate is multiplied by at a drop."
    )
    momentum: float = Field(0.9, ge=0, lt=1, strict=True, description="Of SGD.")
    nesterov: bool = Field(
        True, strict=True, description="Nesterov's form of the momentum; needs a momentum above 0."
    )
    weight_decay: float = Field(1e-4, ge=0, le=1000, strict=True, description="L2 penalty on all parameters.")
    augment: Augment = Field(
        "crop-flip", description="Random crop (padding 4) and horizontal flip of training images, or none."
    )
    precision: Precision = Field(
        "fp32", description="Arithmetic of convolutions and linear layers; tf32 is a GPU's."
    )
    train_size: int | None = Field(
        None, ge=1, le=MOST_IMAGES, strict=True, description="Training images; all but the validation's."
    )
    val_size: int | None = Field(
        None,
        ge=1,
        le=MOST_IMAGES,
        strict=True,
        description="Validation images; a fifth of the training file.",
    )
    test_size: int | None = Field(None, ge=1, le=MOST_IMAGES, strict=True, description="Test images; all.")

    initial_weights: InitialWeights = Field(
        "drawn",
        description="drawn: as the masks were made for; redrawn: others of the same seed, drawn once the "
        "masks are made; rescaled: drawn, each unit's times the root of all / kept of its inputs; "
        "normalised: drawn, each unit's kept weights of length 1, and their sum not negative; "
        "open: normalised, and batch norm's shifts 1, so that ReLU passes most of what it gets.",
    )

    moving: Moving | None = Field(
        None, description="Masks that move: {name: set or rigl, every, share, until}; the layers' edges stay."
    )

    def moves_after(self, epoch: int) -> bool:
        """Whether masks move between this epoch, counted from 1, and the next."""
        return self.moving is not None and self.moving.share_after(epoch, self.epochs) > 0

    @property
    def identity(self) -> dict[str, Any]:
        """What a trial's key is made of.

        What came after the first keys takes no part as long as it is at its default: so a trial keeps its
        key, and its record, when mica learns something new.
        """
        fields = self.model_dump(mode="json")
        later = {name for name in _LATER if fields[name] == type(self).model_fields[name].default}
        return {name: value for name, value in fields.items() if name not in later}

    def lr_at(self, epoch: int) -> float:
        """Learning rate of an epoch, counted from 0."""
        drops = sum(epoch >= round(share * self.epochs) for share in self.lr_drops)
        return float(self.lr * self.lr_factor**drops)


def default_protocol(model: str, augment: Augment) -> dict[str, Any]:
    """What a protocol starts from, before a sweep's own settings: by model, and by kind of data."""
    registered = models.get(model)
    found = {**(registered.protocol or {}), "augment": augment}
    try:
        Protocol(**found)
    except ValidationError as error:
        faults = "; ".join(f"{item['loc'][0]} is {quoted(item['input'])}" for item in error.errors())
        raise UserError(
            f"model {model!r}{place_of(registered.build)}: its protocol cannot be: {faults}; "
            f"allowed are {', '.join(Protocol.model_fields)}"
        ) from error
    return found
