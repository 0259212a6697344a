"""The paper's networks, and where a user's own are found."""

from mica.models import mlp, resnet, vgg
from mica.models.registration import SMALLEST_SIDE, build, models

__all__ = ["SMALLEST_SIDE", "build", "mlp", "models", "resnet", "vgg"]
