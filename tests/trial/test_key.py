"""A trial's key: all that changes its numbers, and nothing else."""

import json
from typing import Any

import pytest

from mica.errors import UserError
from mica.pruning.methods import combine
from mica.training.moving import Moving
from mica.training.protocol import Protocol, default_protocol
from mica.trial import TrialSpec
from mica.trial import key as identity
from mica.trial.key import canonical

DIGEST = "d" * 64


def paper(**changes: Any) -> TrialSpec:
    """A trial of the paper's sweep, with some fields changed; `protocol` takes its own changes."""
    protocol = Protocol(**{**default_protocol("vgg16", "crop-flip"), **changes.pop("protocol", {})})
    fields = {"data": "cifar10", "data_digest": DIGEST, "model": "vgg16", "method": "mica-igq"}
    return TrialSpec(**{**fields, "log10_ratio": 4.5, "seed": 0, "protocol": protocol, **changes})


def key(**changes: Any) -> str:
    return paper(**changes).key


PINNED = {
    "dense": (
        {"method": "dense", "log10_ratio": 0.0},
        "c732a885053ca7ffa49f81b3dd3455357f65e531decffd10f61af644b7d58cd1",
    ),
    "rpi-erk": (
        {"method": "rpi-erk", "seed": 2},
        "bc8d9ce5f5dafe6417047847c1c195ff16e17c2f49e8529669ca6296b7b9abd5",
    ),
    "mica-igq": ({}, "0bab06b37814a444a551954d39ceaf3e5044b8b35f7588b7d4961a552461e543"),
    "rbpi-snip": (
        {"method": "rbpi-snip", "log10_ratio": 0.5},
        "a93f9bd762a254a0aa7d652ff62aa77bf6034eb5980e1656645ecdfef0a2461b",
    ),
    "corrected": (
        {"method": "mica-synflow", "budget": "corrected", "model": "resnet20"},
        "0914cfad75553e24201b110da87a55296afa83955f8369aa659cf4d61a03258d",
    ),
    "options": (
        {"model": {"name": "mlp", "hidden": [8, 16]}},
        "2caa64c2f9932c7ee2ad0817ebd7069f29db10b14de7b356c74ff0de14eb8955",
    ),
}


@pytest.mark.parametrize("name", PINNED)
def test_keys_are_pinned(name: str) -> None:
    """Were one to change, every result that was ever stored would be lost to its sweep.

    Whoever changes what a trial computes raises PROTOCOL_VERSION, and then these.
    """
    changes, expected = PINNED[name]
    assert key(**changes) == expected


def test_the_canonical_form_is_pinned() -> None:
    assert json.loads(canonical(paper().identity)) == {
        "protocol_version": 5,
        "data": DIGEST,
        "model": ["vgg16", {}],
        "pruner": ["mica", {"node_counts": "random"}],
        "distribution": ["igq", {}],
        "log10_ratio_e6": 4_500_000,
        "seed": 0,
        "budget": "nominal",
        "rounding": "floor",
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
    "val_size": 100, "test_size": 100, "initial_weights": "rescaled", "moving": Moving(name="set"),
}  # fmt: skip


def test_every_change_that_matters_makes_another_key() -> None:
    changes: list[dict[str, Any]] = [
        {}, {"data_digest": "e" * 64}, {"model": "resnet20"}, {"method": "rpi-igq"}, {"seed": 1},
        {"model": "mlp"}, {"model": {"name": "mlp", "hidden": [1]}}, {"method": "mica-erk"},
        {"log10_ratio": 4.6}, {"budget": "corrected"}, {"rounding": "exact"}, {"target": "corrected"},
        {"wiring": "rewired"},
        *({"method": method} for method in (
            "mica(node_counts=max)-igq", "mica(node_counts=min)-igq", "rbpi-snip",
            "rbpi-snip(batch_norm=train)", "snip-igq", "snip(batch_norm=train)-igq", "rpi-snip",
            "rpi-snip(batch_norm=train)", "rpi-synflow", "rpi-synflow(iterations=3)",
            "rbpi-synflow(iterations=3)", "dense",
        )),
        *({"protocol": {field: value}} for field, value in PROTOCOL_CHANGES.items()),
        {"protocol": {"moving": Moving(name="rigl")}}, {"protocol": {"moving": Moving(name="set", every=2)}},
    ]  # fmt: skip
    keys = [key(**change) for change in changes]
    assert len(set(keys)) == len(keys)


def test_every_field_of_a_trial_is_looked_at_here() -> None:
    assert set(PROTOCOL_CHANGES) == set(Protocol.model_fields)
    assert set(TrialSpec.model_fields) == {
        "data", "data_digest", "model", "method", "log10_ratio", "seed", "budget", "rounding", "target",
        "wiring", "protocol", "keep", "compact",
    }  # fmt: skip


def test_what_mica_has_learnt_since_takes_no_part_at_its_default() -> None:
    """Or a sweep's records would lose their trials with every new option."""
    later = {"target": "nominal", "wiring": "kept", "protocol": {"initial_weights": "drawn", "moving": None}}
    assert key(**later, method="mica(focus=0)-igq") == key() == PINNED["mica-igq"][1]
    assert key(method="mica(focus=1)-igq") != key()


@pytest.mark.parametrize("change", [
    {"keep": "weights"}, {"compact": False},
    {"data": {"name": "cifar10", "title": "CIFAR-10"}}, {"model": {"name": "vgg16", "title": "VGG-16"}},
    {"data": {"name": "cifar10", "root": "/elsewhere"}},  # its content has the same digest
    {"data": "digits"},  # likewise: content counts, not where it is found
    {"method": combine({"name": "mica", "title": "MiCA"}, {"name": "igq", "title": "IGQ"})},
])  # fmt: skip
def test_what_changes_no_number_changes_no_key(change: dict[str, Any]) -> None:
    assert key(**change) == key()


def test_the_order_of_options_does_not_matter() -> None:
    data = [{"train": 90, "size": 8}, {"size": 8, "train": 90}]
    specs = [paper(data={"name": "synthetic", **options}, data_digest="") for options in data]
    assert specs[0] == specs[1] and specs[0].key == specs[1].key
    assert str(specs[0].data.text) == "synthetic(size=8,train=90)"
    fields = paper().identity
    assert canonical(fields) == canonical(dict(reversed(fields.items())))


@pytest.mark.parametrize("spelling", [4.5, 4.5 + 1e-9, 4.5 - 4e-7, 9 / 2])
def test_a_ratio_counts_to_six_decimals(spelling: float) -> None:
    assert key(log10_ratio=spelling) == key()


def test_ratios_that_differ_in_the_sixth_decimal_are_two() -> None:
    assert len({key(log10_ratio=4.5 + step * 1e-6) for step in range(-3, 4)}) == 7


@pytest.mark.parametrize(("method", "takes"), [
    ("rbpi-snip{}", True), ("rbpi-grasp{}", True), ("snip{}-erk", True), ("rpi-snip{}", True),
    ("mica-grasp{}", True), ("rbpi-synflow{}", False), ("rbpi-magnitude{}", False), ("mica-synflow{}", False),
    ("mica-igq{}", False), ("rpi{}-erk", False), ("dense{}", False),
])  # fmt: skip
def test_the_mode_of_batch_norm_is_an_option_where_images_are_scored(method: str, takes: bool) -> None:
    """Where none are it cannot be set, so that it can never split one trial in two."""
    trained = method.format("(batch_norm=train)")
    if takes:
        assert key(method=trained) != key(method=method.format(""))
        assert key(method=method.format("(batch_norm=eval)")) == key(method=method.format(""))
    else:
        with pytest.raises(UserError):
            key(method=trained)


@pytest.mark.parametrize(
    "method", ["rpi(node_counts=min)-igq", "rbpi-snip(node_counts=min)", "mica-igq(node_counts=min)"]
)
def test_node_counts_are_an_option_of_mica_only(method: str) -> None:
    with pytest.raises(UserError, match="has no option 'node_counts'"):
        key(method=method)
    assert key(method="mica(node_counts=min)-snip") != key(method="mica-snip")
    assert key(method="mica(node_counts=random)-snip") == key(method="mica-snip")


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
    assert key(method="MiCA(node_counts=random)-IGQ") == key()
    assert key(method="rbpi-synflow(iterations=100)") == key(method="synflow-global")
    assert key(model="mlp(hidden=[300,100])") == key(model=mlp)
    assert paper(model=spelled).model == paper(model=mlp).model
