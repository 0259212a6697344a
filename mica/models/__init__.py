"""The paper's networks, and where a user's own are found."""

from mica.models import mlp, resnet, vgg
from mica.models.registration import Model, build, model, models

__all__ = ["Model", "build", "mlp", "model", "models", "resnet", "vgg"]
