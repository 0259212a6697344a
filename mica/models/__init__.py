"""The paper's networks and others of the field, and where a user's own are found."""

from mica.models import mlp, mobilenet, resnet, vgg, wide_resnet
from mica.models.registration import Model, build, model, models

__all__ = ["Model", "build", "mlp", "mobilenet", "model", "models", "resnet", "vgg", "wide_resnet"]
