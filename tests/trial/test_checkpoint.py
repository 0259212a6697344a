"""A checkpoint's bytes: small, exact, and refused whenever they are not a sound one of this trial."""

import hashlib
import json
import math
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

import mica
from mica.edgewise import substitution
from mica.training.engine import train
from mica.training.evaluation import Metrics
from mica.training.forms import choice, enter
from mica.training.state import Epoch, TrainState
from mica.trial import TrialSpec
from mica.trial.checkpoint import CHECKPOINT_VERSION, BadCheckpoint, pack, unpack
from mica.trial.prepare import PreparedTrial, prepare
from mica.trial.run import load
from tests.training.sample import in_float32, parts
from tests.training.test_state import FORMS, SHORT, SMALL, TwoNames, assert_same, first_masks, network, start
from tests.trial.sample import tiny

ROW = Epoch(
    number=1,
    lr=0.1 / 3,
    train=Metrics(math.nan, 10 / 3, 100.0),
    val=Metrics(math.inf, 0.1, 5e-324),
    test=Metrics(-math.inf, 1e300, -0.0),
    seconds=math.pi * 1e-5,
)


def prepared(spec: TrialSpec) -> PreparedTrial:
    return prepare(spec, load(spec), "cpu")


def of(model: nn.Module, masks: mica.Masks, graph: mica.LayerGraph | None = None) -> PreparedTrial:
    """A trial of any network; its spec only lends its key."""
    spec = tiny(protocol={"epochs": 200})
    return PreparedTrial(spec, load(spec), "cpu", model, graph or mica.trace(model, SMALL), masks)


def with_momentum(state: TrainState, model: nn.Module) -> TrainState:
    """As if a step had been done: random momentum where something is kept."""
    noise = torch.Generator().manual_seed(0)
    momentum = {}
    for name, parameter in model.named_parameters():
        value = state.tensors[name]
        drawn = torch.randn(parameter.shape, generator=noise, dtype=value.dtype)
        mask = state.masks.get(name.removesuffix(".weight"))
        momentum[name] = drawn if mask is None else drawn * mask
    return replace(state, momentum=momentum)


@pytest.fixture(scope="module")
def trial() -> PreparedTrial:
    """Its mask leaves every channel alive, so that any momentum is kept."""
    return prepared(tiny())


@pytest.fixture(scope="module")
def state(trial: PreparedTrial) -> TrainState:
    return replace(with_momentum(trial.begin(), trial.model), rows=(ROW,))


@pytest.fixture(scope="module")
def content(trial: PreparedTrial, state: TrainState) -> bytes:
    return pack(trial, state, ("a", "b"), ('it "sha256":"rained"', "größer"))


def test_what_is_packed_comes_back(trial: PreparedTrial, state: TrainState, content: bytes) -> None:
    found = unpack(content, trial)
    assert repr(found.state.rows) == repr(state.rows)  # not a number is no other
    assert_same(replace(found.state, rows=()), replace(state, rows=()))
    assert found.hosts == ("a", "b") and found.remarks == ('it "sha256":"rained"', "größer")


def test_the_head_is_text_that_anyone_can_read(content: bytes, trial: PreparedTrial) -> None:
    _, head = taken_apart(content)
    assert head["key"] == trial.spec.key and head["version"] == CHECKPOINT_VERSION
    assert head["epoch"] == 1 and head["masks"] == trial.masks.digest() and head["hosts"] == ["a", "b"]


# -- whatever a network is made of -------------------------------------------------------------


class Strided(nn.Module):
    """No batch norm; a weight whose channels lie innermost in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.ReLU(), nn.Flatten())
        self.head = nn.Linear(20, 4)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


def half_masks(model: nn.Module) -> mica.Masks:
    noise = torch.Generator().manual_seed(1)
    shapes = mica.trace(model, SMALL).shapes
    return mica.Masks({name: torch.rand(shape, generator=noise) < 0.5 for name, shape in shapes.items()})


def two_names() -> tuple[nn.Module, mica.Masks]:
    return TwoNames(), mica.Masks({f"body.{name}": mask for name, mask in first_masks().items()})


NETWORKS: dict[str, Callable[[], tuple[nn.Module, mica.Masks]]] = {
    "dropout and batch norm": lambda: (network(), first_masks()),
    "float64": lambda: (network().double(), first_masks()),
    "two names": two_names,
    "strided, no batch norm": lambda: (Strided(), half_masks(Strided())),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_state_of_any_form_comes_back_to_the_bit(
    name: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(substitution, "_DENSE_SPEED", 1)  # every form where it is asked for
    monkeypatch.setattr(choice, "_NEARLY_DENSE", 1)
    model, masks = NETWORKS[name]()
    trial = of(model, masks)
    trained = start(form, model, trial.graph, trial.begin())
    images = parts() if name == "float64" else in_float32(parts())
    list(train(trained, images, SHORT.model_copy(update={"epochs": 2}), seed=0))
    left = trained.leave()
    assert left.momentum and left.epoch == 2
    comes_back(left, trial, of(*NETWORKS[name]()))


@pytest.mark.parametrize("model", [network(), network().bfloat16()], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("empty", ["8", "12"])
def test_so_does_one_with_an_empty_layer(model: nn.Module, empty: str) -> None:
    masks = first_masks()
    trial = of(model, mica.Masks({**masks, empty: torch.zeros_like(masks[empty])}))
    comes_back(trial.begin(), trial, trial)


def comes_back(left: TrainState, trial: PreparedTrial, again: PreparedTrial) -> None:
    found = unpack(pack(trial, left), again).state
    assert_same(found, left)
    for name, value in left.tensors.items():
        assert found.tensors[name].dtype == value.dtype and found.tensors[name].stride() == value.stride()


def test_a_tensor_with_two_names_stays_one() -> None:
    trial = of(*two_names())
    found = unpack(pack(trial, trial.begin()), trial).state
    assert found.tensors["first.weight"] is found.tensors["body.0.weight"]


# -- how large it is ---------------------------------------------------------------------------


def test_of_vgg16_at_10_to_the_4_5_it_has_tens_of_kilobytes_after_all_epochs() -> None:
    data = {"name": "synthetic", "size": 32, "channels": 3, "classes": 10, "train": 60, "test": 20}
    protocol = {"epochs": 160}
    trial = prepared(tiny(data=data, model="vgg16", method="mica-igq", log10_ratio=4.5, protocol=protocol))
    form = enter(trial.model, trial.graph, trial.begin(), "cpu")
    left = with_momentum(form.leave(), trial.model)
    rows = tuple(replace(ROW, number=epoch + 1, lr=random.random()) for epoch in range(160))
    content = pack(trial, replace(left, rows=rows), ("a machine's name",) * 3)
    assert trial.masks.kept == 461
    assert len(content) < 100_000
    assert unpack(content, trial).state.epoch == 160


# -- what is not sound -------------------------------------------------------------------------


def reason(content: bytes, trial: PreparedTrial) -> str:
    with pytest.raises(BadCheckpoint) as found:
        unpack(content, trial)
    assert str(found.value) == found.value.reason and "\n" not in found.value.reason
    return found.value.reason


def test_a_truncated_one_is_refused_at_any_length(content: bytes, trial: PreparedTrial) -> None:
    for length in [*range(64), *range(64, len(content), 41), len(content) - 1]:
        assert reason(content[:length], trial) == "damaged"
    assert reason(content + b"\0", trial) == "damaged"


def test_one_with_any_byte_flipped_is_refused(content: bytes, trial: PreparedTrial) -> None:
    draw = random.Random(0)
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1 << draw.randrange(8)
        assert reason(bytes(flipped), trial) == "damaged"


@pytest.mark.parametrize("foreign", [
    b"", b"\xff" * 8, b"\xff" * 7 + b"\x7f" + b"{}", b"\0" * 5000, b"PK\x03\x04" * 100, b"\x80\x04}.",
])  # fmt: skip
def test_foreign_bytes_are_refused(foreign: bytes, trial: PreparedTrial) -> None:
    assert reason(foreign, trial) == "damaged"


def signed(tensors: dict[str, Tensor], metadata: dict[str, str]) -> bytes:
    """A file whose digest is right, whatever else it holds."""
    content = safetensors.torch.save(tensors, {**metadata, "sha256": "0" * 64})
    digest = hashlib.sha256(content).hexdigest()
    return content.replace(b'"sha256":"' + b"0" * 64, b'"sha256":"' + digest.encode())


def taken_apart(content: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return safetensors.torch.load(content), json.loads(header["__metadata__"]["mica"])


def test_the_tests_sign_as_it_does(content: bytes, trial: PreparedTrial, state: TrainState) -> None:
    tensors, head = taken_apart(content)
    found = unpack(signed(tensors, {"mica": json.dumps(head)}), trial)
    assert_same(replace(found.state, rows=()), replace(state, rows=()))


@pytest.mark.parametrize(("changes", "expected"), [
    ({"version": CHECKPOINT_VERSION + 1}, f"of version {CHECKPOINT_VERSION + 1}, not {CHECKPOINT_VERSION}"),
    ({"version": CHECKPOINT_VERSION + 1, "colour": "red"}, "of version"),
    ({"version": None}, "of version None"),
    ({"key": "0" * 64}, "of another trial (000000000000)"),
    ({"code": {"own:net": "0" * 64}}, "made with other code"),
    ({"masks": "0" * 64}, "made with another mask"),
    ({"epoch": 2}, "of 2 epochs with 1 rows"),
    ({"epoch": 4, "rows": [[0] * 11] * 4}, "of 4 epochs"),
    ({"rows": [[1.0] * 10]}, "not a checkpoint (ValidationError)"),
    ({"rows": [["x"] * 11]}, "not a checkpoint (ValidationError)"),
    ({"rows": None}, "not a checkpoint (ValidationError)"),
    ({"colour": "red"}, "not a checkpoint (ValidationError)"),
])  # fmt: skip
def test_another_head_is_refused(
    changes: dict[str, Any], expected: str, content: bytes, trial: PreparedTrial
) -> None:
    tensors, head = taken_apart(content)
    assert reason(signed(tensors, {"mica": json.dumps(head | changes)}), trial).startswith(expected)


@pytest.mark.parametrize("text", ["", "{", "[]", "1", "{}", "[" * 100_000, '{"version":' * 100_000], ids=len)
def test_a_head_that_is_none_is_refused(text: str, content: bytes, trial: PreparedTrial) -> None:
    tensors, _ = taken_apart(content)
    assert reason(signed(tensors, {"mica": text}), trial).startswith("not a checkpoint")
    assert reason(signed(tensors, {"other": text}), trial) == "not a checkpoint (KeyError)"


def test_a_head_of_another_trial_is_refused(content: bytes) -> None:
    assert reason(content, prepared(tiny(seed=1))).startswith("of another trial")


def test_one_made_with_other_code_of_the_user_s_is_refused(
    content: bytes, trial: PreparedTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrialSpec, "code", property(lambda spec: {"own:net": "1"}))
    assert reason(content, trial) == "made with other code of the user's"


@pytest.mark.parametrize("kind", ["value", "momentum"])
@pytest.mark.parametrize("change", [
    lambda found: None, lambda found: found[1:], lambda found: found[None], lambda found: found.double(),
    lambda found: found.to(torch.float8_e4m3fn), lambda found: torch.zeros(0),
])  # fmt: skip
def test_tensors_of_another_kind_are_refused(
    kind: str, change: Callable[[Tensor], Tensor | None], content: bytes, trial: PreparedTrial
) -> None:
    tensors, head = taken_apart(content)
    name = min(name for name, found in tensors.items() if name.startswith(kind) and found.dim())
    changed = change(tensors.pop(name))
    if changed is not None:
        tensors[name] = changed.contiguous()
    found = reason(signed(tensors, {"mica": json.dumps(head)}), trial)
    assert found.startswith(f"lacks '{name}'" if changed is None else f"'{name}' is torch.")


def test_a_tensor_that_the_network_has_not_is_refused(content: bytes, trial: PreparedTrial) -> None:
    tensors, head = taken_apart(content)
    found = reason(signed({**tensors, "value/x": torch.zeros(1)}, {"mica": json.dumps(head)}), trial)
    assert found == "holds 'value/x', which the network has not"
