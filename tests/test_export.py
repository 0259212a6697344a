"""An exported network answers like the masked network it came from, read back by other means."""

import copy
import sys
from pathlib import Path

import onnxruntime
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

import mica
from mica import models
from mica.errors import TraceError, UserError
from tests.oracle.networks import random_masks, random_network

SHAPE = (3, 16, 16)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def network(name: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    if name == "densenet":  # densenet121's kinds of blocks, fewer of them
        return torchvision.models.DenseNet(8, (2, 3), 16, num_classes=10)
    if name == "resnet18":
        return torchvision.models.resnet18(num_classes=10)
    return models.build(name, input_shape=SHAPE, classes=10, seed=seed)


def trained(model: nn.Module, masks: mica.Masks, shape: tuple[int, ...] = SHAPE) -> nn.Module:
    """Masked and trained a little, so that shifts and batch norm's statistics are not as they began."""
    mica.apply(model, masks)
    for module in model.train().modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # an average over the steps, or few steps would leave signal near 0
    sgd = torch.optim.SGD(model.parameters(), 0.02, momentum=0.9)
    generator = torch.Generator().manual_seed(1)
    for _ in range(4):
        images = 1 + 2 * torch.randn(10, *shape, generator=generator)
        scores = model(images.to(next(model.parameters()).dtype))
        sgd.zero_grad()
        F.cross_entropy(scores, torch.arange(10) % scores.shape[1]).backward()
        sgd.step()
    return model


def scores_of(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return model.eval()(images)


def small_case() -> tuple[nn.Module, mica.Masks]:
    model = network("mlp")
    masks = mica.sparsify(model, "mica-erk", 30, 0, input_shape=SHAPE)
    return trained(model, masks), masks


def same_state(one: nn.Module, other: nn.Module) -> bool:
    state = other.state_dict()
    return all(torch.equal(value, state[name]) for name, value in one.state_dict().items())


def nothing_in(folder: Path) -> bool:
    return not list(folder.iterdir())


@pytest.mark.parametrize(("name", "method", "log10_ratio"), [
    ("vgg11", "mica-igq", 2.5), ("resnet20", "rpi-igq", 2), ("mlp", "rpi-igq", 2),
    ("resnet18", "rpi-igq", 3), ("densenet", "rpi-erk", 1),
])  # fmt: skip
def test_every_file_answers_like_the_masked_network(
    tmp_path: Path, name: str, method: str, log10_ratio: float
) -> None:
    model = network(name)
    masks = mica.sparsify(model, method, 10**log10_ratio, 0, input_shape=SHAPE)
    trained(model, masks)
    found = mica.export(model, masks, tmp_path / "small", input_shape=SHAPE)
    assert found.keys() == {"weights.pt", "model.onnx"}

    session = onnxruntime.InferenceSession(tmp_path / "small/model.onnx", providers=["CPUExecutionProvider"])
    for batch in (1, 2, 7):
        images = torch.randn(batch, *SHAPE)
        (answer,) = session.run(["scores"], {"images": images.numpy()})
        torch.testing.assert_close(torch.from_numpy(answer), scores_of(model, images), rtol=1e-4, atol=1e-5)

    weights = torch.load(tmp_path / "small/weights.pt", weights_only=True)
    small = mica.compact(model, masks, mica.trace(model, SHAPE))
    assert weights.keys() == small.model.state_dict().keys()
    assert mica.Masks.load(tmp_path / "small/masks.npz").digest() == small.masks.digest()
    assert small.masks.total < masks.total, "nothing was cut out: this case says little"

    again = mica.load_exported(tmp_path / "small", network(name, seed=5))
    assert again.masks.digest() == small.masks.digest()
    images = torch.randn(4, *SHAPE, dtype=torch.float64)
    answer, expected = scores_of(again.model.double(), images), scores_of(model.double(), images)
    assert expected.std(0).max() > 1e-4 * expected.abs().max(), (
        "all images score alike: this case says little"
    )
    torch.testing.assert_close(answer, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("seed", range(60))
def test_random_networks_are_read_back_as_they_were(tmp_path: Path, seed: int) -> None:
    torch.manual_seed(seed)
    net = random_network(seed, most_pixels=6)
    masks = mica.Masks(random_masks(net, seed))
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):  # some channels have a shift, some never had one
            nn.init.uniform_(module.bias[: len(module.bias) // 2])
    mica.apply(net, masks)
    try:
        small = mica.compact(net, masks, mica.trace(net, net.input_shape))
    except TraceError:
        with pytest.raises(TraceError, match="dropout by a function"):
            mica.export(net, masks, tmp_path / "small", input_shape=net.input_shape)
        assert nothing_in(tmp_path)
        return
    mica.export(net, masks, tmp_path / "small", input_shape=net.input_shape, onnx=False)
    again = mica.load_exported(tmp_path / "small", net)
    assert again.masks.digest() == small.masks.digest()
    assert same_state(again.model, small.model)
    for name, places in small.places.items():
        assert all(torch.equal(*pair) for pair in zip(again.places[name], places, strict=True)), name


def test_a_collapsed_mask_exports_a_constant(tmp_path: Path) -> None:
    model = network("vgg11")
    masks = mica.sparsify(model, "rpi-erk", 10**5, 0, input_shape=SHAPE)
    assert not mica.functional(mica.trace(model, SHAPE), masks).kept
    nn.init.normal_(list(model.parameters())[-1])
    found = mica.export(model, masks, tmp_path / "small", input_shape=SHAPE)
    assert set(found) == {"weights.pt", "model.onnx"}
    again = mica.load_exported(tmp_path / "small", model)
    answer = scores_of(again.model, torch.randn(3, *SHAPE))
    assert torch.equal(answer, list(model.parameters())[-1].expand(3, -1))


def test_a_loaded_network_can_be_trained_on(tmp_path: Path) -> None:
    model, masks = small_case()
    mica.export(model, masks, tmp_path / "small", input_shape=SHAPE, onnx=False)
    again, expected = mica.load_exported(tmp_path / "small", model), copy.deepcopy(model)
    trained(again.model, again.masks)
    trained(expected, masks)
    images = torch.randn(4, *SHAPE)
    torch.testing.assert_close(scores_of(again.model, images), scores_of(expected, images))


def test_the_network_and_the_images_are_left_as_they_are(tmp_path: Path) -> None:
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(3 * 16 * 16, 10)).train()
    masks = mica.sparsify(model, "rpi-uniform", 10, 0, input_shape=SHAPE)
    model.requires_grad_(False)
    before, images = copy.deepcopy(model), torch.randn(2, *SHAPE)
    given = images.clone()
    mica.export(model, masks, tmp_path / "small", input_shape=SHAPE, images=images, onnx=False)
    assert same_state(model, before) and torch.equal(images, given)
    assert model.training and not any(parameter.requires_grad for parameter in model.parameters())


def test_float64_and_bfloat16_weights_keep_their_precision(tmp_path: Path) -> None:
    for dtype in (torch.float64, torch.bfloat16):
        model, masks = small_case()
        found = mica.export(model.to(dtype), masks, tmp_path / str(dtype), input_shape=SHAPE)
        weights = torch.load(tmp_path / str(dtype) / "weights.pt", weights_only=True)
        assert {value.dtype for value in weights.values() if value.ndim} == {dtype}
        assert found["weights.pt"] < 1e-12 < found["model.onnx"] < 1e-5


def test_one_image_is_enough_to_compare(tmp_path: Path) -> None:
    model, masks = small_case()
    found = mica.export(
        model, masks, tmp_path / "small", input_shape=SHAPE, images=torch.randn(1, *SHAPE), onnx=True
    )
    assert set(found) == {"weights.pt", "model.onnx"}


def test_what_would_answer_otherwise_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, masks = small_case()
    write, save = torch.onnx.export, torch.save

    def faulty_onnx(given: nn.Module, *args: object, **options: object) -> object:
        with torch.no_grad():
            list(given.parameters())[-2][0] *= 1.001  # of one class, the weights
        return write(given, *args, **options)

    def faulty_weights(content: dict[str, object], file: Path) -> None:
        changed = {name: v * (1 + 1e-6) if name.endswith("weight") else v for name, v in content.items()}
        save(changed, file)

    monkeypatch.setattr(torch.onnx, "export", faulty_onnx)
    with pytest.raises(RuntimeError, match=r"model\.onnx would not answer like the masked network"):
        mica.export(model, masks, tmp_path / "small", input_shape=SHAPE)
    assert nothing_in(tmp_path)
    monkeypatch.setattr(torch, "save", faulty_weights)
    with pytest.raises(RuntimeError, match=r"weights\.pt would not answer like the masked network"):
        mica.export(model, masks, tmp_path / "small", input_shape=SHAPE, onnx=False)
    assert nothing_in(tmp_path)


def test_without_the_extra_the_state_dict_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, masks = small_case()
    monkeypatch.setitem(sys.modules, "onnxscript", None)  # as if it were not installed
    with pytest.raises(UserError, match=r"ONNX needs onnxscript.*pip install 'mica-sweep\[onnx\]'"):
        mica.export(model, masks, tmp_path / "small", input_shape=SHAPE, onnx=True)
    assert nothing_in(tmp_path)
    assert set(mica.export(model, masks, tmp_path / "small", input_shape=SHAPE)) == {"weights.pt"}
    assert {file.name for file in (tmp_path / "small").iterdir()} == {"weights.pt", "masks.npz", "places.pt"}


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    model, masks = small_case()
    (tmp_path / "empty").mkdir()
    mica.export(model, masks, tmp_path / "empty", input_shape=SHAPE, onnx=False)
    before = (tmp_path / "empty/weights.pt").read_bytes()
    with pytest.raises(UserError, match="empty exists already"):
        mica.export(model, masks, tmp_path / "empty", input_shape=SHAPE, onnx=False)
    assert (tmp_path / "empty/weights.pt").read_bytes() == before


def test_scores_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    model, masks = small_case()
    with pytest.raises(UserError, match="not finite"):
        mica.export(
            model, masks, tmp_path / "small", input_shape=SHAPE, images=torch.full((2, *SHAPE), torch.nan)
        )
    assert nothing_in(tmp_path)


@pytest.mark.parametrize("other", ["resnet20", "narrower"])
def test_another_architecture_is_refused(tmp_path: Path, other: str) -> None:
    model, masks = small_case()
    mica.export(model, masks, tmp_path / "small", input_shape=SHAPE, onnx=False)
    options = {"hidden": [8, 8]} if other == "narrower" else {}
    name = "mlp" if other == "narrower" else other
    wrong = models.build(name, input_shape=SHAPE, classes=10, seed=0, options=options)
    with pytest.raises(UserError, match="of another architecture"):
        mica.load_exported(tmp_path / "small", wrong)
