"""A trial's key: what makes two trials the same trial."""

import hashlib
import inspect
import json
from collections.abc import Callable
from typing import Any

from mica.models import models
from mica.pruning.methods import parse_method
from mica.trial.spec import TrialSpec

PROTOCOL_VERSION = 2
"""Raised whenever the same spec would give other numbers than before: the key then changes with it."""


def trial_key(trial: TrialSpec, data_digest: str) -> str:
    """SHA-256, in hex, of all that changes a trial's numbers, and of nothing else.

    Every default is filled in before, so changing one changes keys instead of reusing them silently.
    What a method does not look at is left out: the mode of batch norm while scoring, say, for a method
    that scores no images.
    """
    return hashlib.sha256(canonical(trial, data_digest).encode()).hexdigest()


def canonical(trial: TrialSpec, data_digest: str) -> str:
    """The text that is hashed: JSON with sorted keys and no spaces."""
    method = parse_method(trial.method)
    protocol = trial.protocol.model_dump(mode="json")
    if not method.needs_images:
        del protocol["scoring_batch_norm"]
    fields = {
        "protocol_version": PROTOCOL_VERSION,
        "data": data_digest,
        "model": trial.model.name,
        "model_options": _with_defaults(models.get(trial.model.name), trial.model.options),
        "method": trial.method,
        "seed": trial.seed,
        "protocol": protocol,
    }
    if trial.method != "dense":
        fields |= {
            # As an integer of millionths: no float formatting can split a cell in two.
            "log10_ratio_e6": round(trial.log10_ratio * 1e6),
            "budget": trial.budget,
            "rounding": trial.rounding,
        }
    if method.pruner == "mica":
        fields["node_counts"] = trial.node_counts
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def _with_defaults(build: Callable[..., object], options: dict[str, Any]) -> dict[str, Any]:
    """A model's options with the defaults of its function; its first two arguments are mica's own."""
    parameters = list(inspect.signature(build).parameters.values())[2:]
    return {p.name: p.default for p in parameters if p.default is not p.empty} | options
