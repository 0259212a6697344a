"""A trial's key: all that changes its numbers, and nothing else."""

import json
from typing import Any

import pytest

from mica.training.protocol import Protocol, default_protocol
from mica.trial import Named, TrialSpec
from mica.trial import key as identity
from mica.trial.key import canonical, trial_key

DIGEST = "d" * 64


def paper(**changes: Any) -> TrialSpec:
    """A trial of the paper's sweep, with some fields changed; `protocol` takes its own changes."""
    protocol = Protocol(**{**default_protocol("vgg16", "crop-flip"), **changes.pop("protocol", {})})
    fields = {"data": "cifar10", "model": "vgg16", "method": "mica-igq"}
    return TrialSpec(**{**fields, "log10_ratio": 4.5, "seed": 0, "protocol": protocol, **changes})


def key(digest: str = DIGEST, **changes: Any) -> str:
    return trial_key(paper(**changes), digest)


PINNED = {
    "dense": (
        {"method": "dense", "log10_ratio": 0.0},
        "c2ad45e269ae9f9284d9dd995cbba007a0e28586969ed19094b23bdc19a487c5",
    ),
    "rpi-erk": (
        {"method": "rpi-erk", "seed": 2},
        "c52353338a13a7c2cbb2116fe58515bdb8426f6f9a13d080fdb25cde2650ae42",
    ),
    "mica-igq": ({}, "11b59ff677c3c3b92ab336da081839096d109952b97f02beaa70a47fa2a4d4a3"),
    "rbpi-snip": (
        {"method": "rbpi-snip", "log10_ratio": 0.5},
        "fff5f632dbbe3aeb6d4669b4491d37d0cf90eb0c67502a317702c2bbafcb62cc",
    ),
    "corrected": (
        {"method": "mica-synflow", "budget": "corrected", "model": "resnet20"},
        "8df3d87fc7dbefc28102cbae34676a7d426d1e096317d944e726eb4158bc046b",
    ),
    "options": (
        {"model": {"name": "mlp", "hidden": [8, 16]}},
        "af18b07c7f09d29745c13cdf2cd13d0b7c34dddc1945f7093de860e48be7a238",
    ),
}


def test_defaults_of_a_models_options_are_filled_in() -> None:
    given = {"name": "mlp", "hidden": [300, 100]}
    assert key(model=given) == key(model="mlp")


@pytest.mark.parametrize("name", PINNED)
def test_keys_are_pinned(name: str) -> None:
    """Were one to change, every result that was ever stored would be lost to its sweep.

    Whoever changes what a trial computes raises PROTOCOL_VERSION, and then these.
    """
    changes, expected = PINNED[name]
    assert key(**changes) == expected


def test_the_canonical_form_is_pinned() -> None:
    assert json.loads(canonical(paper(), DIGEST)) == {
        "protocol_version": 2,
        "data": DIGEST,
        "model": "vgg16",
        "model_options": {},
        "method": "mica-igq",
        "log10_ratio_e6": 4_500_000,
        "seed": 0,
        "budget": "nominal",
        "rounding": "floor",
        "node_counts": "random",
        "protocol": {
            "epochs": 160,
            "batch_size": 128,
            "lr": 0.1,
            "lr_drops": [0.375, 0.75],
            "lr_factor": 0.1,
            "momentum": 0.9,
            "nesterov": True,
            "weight_decay": 1e-4,
            "augment": "crop-flip",
            "precision": "fp32",
            "train_size": None,
            "val_size": None,
            "test_size": None,
        },
    }


PROTOCOL_CHANGES = {
    "epochs": 10, "batch_size": 64, "lr": 0.2, "lr_drops": (0.5,), "lr_factor": 0.2, "momentum": 0.8,
    "nesterov": False, "weight_decay": 0.0, "augment": "none", "precision": "bf16", "train_size": 100,
    "val_size": 100, "test_size": 100,
}  # fmt: skip


def test_every_change_that_matters_makes_another_key() -> None:
    changes: list[dict[str, Any]] = [
        {}, {"digest": "e" * 64}, {"model": "resnet20"}, {"method": "rpi-igq"}, {"seed": 1},
        {"model": {"name": "vgg16", "width": 1}}, {"method": "mica-erk"}, {"log10_ratio": 4.6},
        {"budget": "corrected"}, {"rounding": "exact"}, {"node_counts": "max"},
        *({"protocol": {field: value}} for field, value in PROTOCOL_CHANGES.items()),
    ]  # fmt: skip
    keys = [key(**change) for change in changes]
    assert len(set(keys)) == len(keys)


def test_every_field_of_a_trial_is_looked_at_here() -> None:
    assert set(PROTOCOL_CHANGES) == set(Protocol.model_fields) - {"scoring_batch_norm"}
    assert set(TrialSpec.model_fields) == {
        "data", "model", "method", "log10_ratio", "seed", "budget", "rounding", "node_counts", "protocol",
        "keep", "compact",
    }  # fmt: skip


@pytest.mark.parametrize("change", [
    {"keep": "weights"}, {"compact": False},
    {"data": {"name": "cifar10", "title": "CIFAR-10"}}, {"model": {"name": "vgg16", "title": "VGG-16"}},
    {"data": {"name": "cifar10", "root": "/elsewhere"}},  # its content has the same digest
])  # fmt: skip
def test_what_changes_no_number_changes_no_key(change: dict[str, Any]) -> None:
    assert key(**change) == key()


def test_the_order_of_options_does_not_matter() -> None:
    one, other = {"a": 1, "hidden": [2]}, {"hidden": (2,), "a": 1}
    assert key(model=Named(name="mlp", options=one)) == key(model=Named(name="mlp", options=other))


@pytest.mark.parametrize("spelling", [4.5, 4.5 + 1e-9, 4.5 - 4e-7, 9 / 2])
def test_a_ratio_counts_to_six_decimals(spelling: float) -> None:
    assert key(log10_ratio=spelling) == key()


def test_ratios_that_differ_in_the_sixth_decimal_are_two() -> None:
    assert len({key(log10_ratio=4.5 + step * 1e-6) for step in range(-3, 4)}) == 7


@pytest.mark.parametrize(("method", "matters"), [
    ("rbpi-snip", True), ("rbpi-grasp", True), ("snip-erk", True), ("rpi-snip", True), ("mica-grasp", True),
    ("rbpi-synflow", False), ("rbpi-magnitude", False), ("mica-synflow", False), ("mica-igq", False),
    ("rpi-erk", False), ("dense", False),
])  # fmt: skip
def test_the_mode_of_batch_norm_while_scoring_matters_where_images_are_scored(
    method: str, matters: bool
) -> None:
    trained = key(method=method, protocol={"scoring_batch_norm": "train"})
    assert (trained != key(method=method)) is matters


@pytest.mark.parametrize(
    ("method", "matters"), [("mica-snip", True), ("rpi-igq", False), ("rbpi-snip", False), ("dense", False)]
)
def test_node_counts_matter_to_mica_only(method: str, matters: bool) -> None:
    assert (key(method=method, node_counts="min") != key(method=method)) is matters


def test_the_dense_network_has_neither_ratio_nor_rounding() -> None:
    assert key(method="dense", log10_ratio=0, rounding="exact") == key(method="dense", log10_ratio=3)


def test_a_new_protocol_version_makes_new_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key()
    monkeypatch.setattr(identity, "PROTOCOL_VERSION", identity.PROTOCOL_VERSION + 1)
    assert key() != before


def test_spelling_a_default_out_gives_the_same_key() -> None:
    mlp, spelled = "mlp", {"name": "mlp", "hidden": [300, 100]}
    assert key(model=mlp) == key(model=spelled) != key(model={"name": "mlp", "hidden": [300]})
    assert key(protocol={"epochs": 160, "lr": 1e-1, "weight_decay": 0.0001}) == key()
    assert key(budget="nominal", rounding="floor") == key()
