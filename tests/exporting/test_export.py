"""An exported network answers like the masked network it came from, read back by other means."""

import copy
import sys
from pathlib import Path

import onnxruntime
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

import mica
from mica import models
from mica.errors import TraceError, UserError
from mica.exporting.network_file import NETWORK, read_network
from tests.oracle.networks import random_masks, random_network

SHAPE = (3, 16, 16)


def network(name: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    if name == "densenet":  # densenet121's kinds of blocks, fewer of them
        return torchvision.models.DenseNet(8, (2, 3), 16, num_classes=10)
    if name == "resnet18":
        return torchvision.models.resnet18(num_classes=10)
    return models.build(name, input_shape=SHAPE, classes=10, seed=seed)


def trained(model: nn.Module, masks: mica.Masks) -> nn.Module:
    """Masked and trained a little, so that shifts and batch norm's statistics are not as they began."""
    mica.apply(model, masks)
    return steps(model)


def steps(model: nn.Module) -> nn.Module:
    for module in model.train().modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # an average over the steps, or few steps would leave signal near 0
    sgd = torch.optim.SGD(model.parameters(), 0.02, momentum=0.9)
    generator = torch.Generator().manual_seed(1)
    for _ in range(4):
        images = 1 + 2 * torch.randn(10, *SHAPE, generator=generator)
        logits = model(images.to(next(model.parameters()).dtype))
        sgd.zero_grad()
        F.cross_entropy(logits, torch.arange(10) % logits.shape[1]).backward()
        sgd.step()
    return model


def logits_of(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return model.eval()(images)


def small_case() -> tuple[nn.Module, mica.Masks]:
    model = network("mlp")
    masks = mica.sparsify(model, "mica-erk", 30, 0, input_shape=SHAPE)
    return trained(model, masks), masks


def same_state(one: nn.Module, other: nn.Module) -> bool:
    state = other.state_dict()
    return all(torch.equal(value, state[name]) for name, value in one.state_dict().items())


def masked(small: mica.Compact) -> nn.Module:
    mica.apply(small.model, small.masks)
    return small.model


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
    assert found.sizes.keys() == found.differences.keys() == {NETWORK, "model.onnx"}

    session = onnxruntime.InferenceSession(tmp_path / "small/model.onnx", providers=["CPUExecutionProvider"])
    for batch in (1, 2, 7):
        images = torch.randn(batch, *SHAPE)
        (answer,) = session.run(["logits"], {"images": images.numpy()})
        torch.testing.assert_close(torch.from_numpy(answer), logits_of(model, images), rtol=1e-4, atol=1e-5)

    small = mica.compact(model, masks, mica.trace(model, SHAPE))
    assert small.masks.total < masks.total, "nothing was cut out: this case says little"
    again = mica.load_exported(tmp_path / "small", network(name, seed=5))
    assert same_state(again, masked(small)) and not again.training
    images = torch.randn(4, *SHAPE, dtype=torch.float64)
    answer, expected = logits_of(again.double(), images), logits_of(model.double(), images)
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
    assert same_state(again, masked(small)) and same_state(small.model, again)
    stored = read_network(tmp_path / "small" / NETWORK)
    assert stored.masks.digest() == small.masks.digest()
    for name, places in small.places.items():
        assert all(torch.equal(*pair) for pair in zip(stored.places[name], places, strict=True)), name


def test_a_collapsed_mask_exports_a_constant(tmp_path: Path) -> None:
    model = network("vgg11")
    masks = mica.sparsify(model, "rpi-erk", 10**5, 0, input_shape=SHAPE)
    assert not mica.functional(mica.trace(model, SHAPE), masks).kept
    nn.init.normal_(list(model.parameters())[-1])
    found = mica.export(model, masks, tmp_path / "small", input_shape=SHAPE)
    assert set(found.sizes) == {NETWORK, "model.onnx"}
    again = mica.load_exported(tmp_path / "small", model)
    answer = logits_of(again, torch.randn(3, *SHAPE))
    assert torch.equal(answer, list(model.parameters())[-1].expand(3, -1))


def test_a_loaded_network_can_be_trained_on(tmp_path: Path) -> None:
    model, masks = small_case()
    mica.export(model, masks, tmp_path / "small", input_shape=SHAPE, onnx=False)
    again = mica.load_exported(tmp_path / "small", copy.deepcopy(model).requires_grad_(False))
    kept = {name: value != 0 for name, value in again.named_parameters() if value.ndim > 1}
    expected = copy.deepcopy(model)
    mica.apply(expected, masks)
    steps(again)
    steps(expected)
    assert all((value[~kept[name]] == 0).all() for name, value in again.named_parameters() if name in kept)
    images = torch.randn(4, *SHAPE)
    torch.testing.assert_close(logits_of(again, images), logits_of(expected, images))


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
        again = mica.load_exported(tmp_path / str(dtype), network("mlp").to(dtype))
        assert {value.dtype for value in again.state_dict().values() if value.ndim} == {dtype}
        assert found.differences[NETWORK] < 1e-12 < found.differences["model.onnx"] < 1e-5


def test_one_image_is_enough_to_compare(tmp_path: Path) -> None:
    model, masks = small_case()
    found = mica.export(
        model, masks, tmp_path / "small", input_shape=SHAPE, images=torch.randn(1, *SHAPE), onnx=True
    )
    assert set(found.sizes) == {NETWORK, "model.onnx"}


def test_what_would_answer_otherwise_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, masks = small_case()
    write, save = torch.onnx.export, safetensors.torch.save

    def faulty_onnx(given: nn.Module, *args: object, **options: object) -> object:
        with torch.no_grad():
            list(given.parameters())[-2][0] *= 1.001  # of one class, the weights
        return write(given, *args, **options)

    def faulty_weights(tensors: dict[str, Tensor], metadata: dict[str, str]) -> bytes:
        changed = {
            name: value * (1 + 1e-6) if name.startswith("kept/") else value for name, value in tensors.items()
        }
        return save(changed, metadata)

    monkeypatch.setattr(torch.onnx, "export", faulty_onnx)
    with pytest.raises(RuntimeError, match=r"model\.onnx would not answer like the masked network"):
        mica.export(model, masks, tmp_path / "small", input_shape=SHAPE)
    assert nothing_in(tmp_path)
    monkeypatch.setattr(safetensors.torch, "save", faulty_weights)
    with pytest.raises(RuntimeError, match=r"network\.safetensors would not answer like the masked network"):
        mica.export(model, masks, tmp_path / "small", input_shape=SHAPE, onnx=False)
    assert nothing_in(tmp_path)


def test_without_the_extra_the_network_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, masks = small_case()
    monkeypatch.setitem(sys.modules, "onnxscript", None)  # as if it were not installed
    with pytest.raises(UserError, match=r"ONNX needs onnxscript.*pip install 'mica-sweep\[onnx\]'"):
        mica.export(model, masks, tmp_path / "small", input_shape=SHAPE, onnx=True)
    assert nothing_in(tmp_path)
    assert set(mica.export(model, masks, tmp_path / "small", input_shape=SHAPE).sizes) == {NETWORK}
    assert [file.name for file in (tmp_path / "small").iterdir()] == [NETWORK]


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    model, masks = small_case()
    (tmp_path / "empty").mkdir()
    mica.export(model, masks, tmp_path / "empty", input_shape=SHAPE, onnx=False)
    before = (tmp_path / "empty" / NETWORK).read_bytes()
    with pytest.raises(UserError, match="empty exists already"):
        mica.export(model, masks, tmp_path / "empty", input_shape=SHAPE, onnx=False)
    assert (tmp_path / "empty" / NETWORK).read_bytes() == before


def test_logits_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    model, masks = small_case()
    with pytest.raises(UserError, match="not finite"):
        mica.export(
            model, masks, tmp_path / "small", input_shape=SHAPE, images=torch.full((2, *SHAPE), torch.nan)
        )
    assert nothing_in(tmp_path)


@pytest.mark.parametrize("other", ["resnet20", "mlp(hidden=[8, 8])"])
def test_another_architecture_is_refused(tmp_path: Path, other: str) -> None:
    model, masks = small_case()
    mica.export(model, masks, tmp_path / "small", input_shape=SHAPE, onnx=False)
    wrong = models.build(other, input_shape=SHAPE, classes=10, seed=0)
    with pytest.raises(UserError, match=r"architecture: layer 'fc1' has the weight shape \(300, 768\)"):
        mica.load_exported(tmp_path / "small", wrong)


def test_it_must_be_told_of_the_images_and_takes_a_graph_too(tmp_path: Path) -> None:
    model, masks = small_case()
    for needing in (
        lambda: mica.export(model, masks, tmp_path / "small"),
        lambda: mica.sparsify(model, "mica-erk", 30, 0),
    ):
        with pytest.raises(UserError, match=r"needs graph=mica\.trace\(model, shape\), or input_shape=shape"):
            needing()
    graph = mica.trace(model, SHAPE)
    with pytest.raises(UserError, match=r"images of shape \(3, 16, 16\), and input_shape=\(3, 32, 32\)"):
        mica.export(model, masks, tmp_path / "small", graph=graph, input_shape=(3, 32, 32))
    assert nothing_in(tmp_path)
    mica.export(model, masks, tmp_path / "by graph", graph=graph, onnx=False)
    mica.export(model, masks, tmp_path / "by shape", input_shape=SHAPE, onnx=False)
    assert (tmp_path / "by graph" / NETWORK).read_bytes() == (tmp_path / "by shape" / NETWORK).read_bytes()


def test_the_result_says_what_was_written(tmp_path: Path) -> None:
    model, masks = small_case()
    found = mica.export(model, masks, tmp_path / "small", input_shape=SHAPE)
    assert found.sizes == {file.name: file.stat().st_size for file in (tmp_path / "small").iterdir()}
    assert found.largest == pytest.approx(float(logits_of(model, default_images()).abs().max()), rel=1e-4)
    first, second = str(found).splitlines()
    assert first.startswith(f"{tmp_path}/small/{NETWORK}: {found.sizes[NETWORK]:,} bytes; logits of up to ")
    assert "model.onnx" in second and second.endswith(
        f" differ by at most {found.differences['model.onnx']:.1g}"
    )


def default_images() -> Tensor:
    return torch.randn(8, *SHAPE, generator=torch.Generator().manual_seed(0))


def test_kept_weights_take_their_own_bytes_and_the_mask_less_than_a_bit_an_edge(tmp_path: Path) -> None:
    model = network("vgg11")
    masks = mica.sparsify(model, "mica-igq", 10**1.5, 0, input_shape=SHAPE)
    mica.export(model, masks, tmp_path / "small", input_shape=SHAPE, onnx=False)
    tensors = safetensors.torch.load_file(tmp_path / "small" / NETWORK)
    small = mica.compact(model, masks, mica.trace(model, SHAPE)).masks
    kept = {name.removeprefix("kept/"): len(v) for name, v in tensors.items() if name.startswith("kept/")}
    assert kept == small.counts()
    bits = sum(len(v) for name, v in tensors.items() if name.startswith("bits/"))
    assert bits < small.total / 8 / 2
    rest = sum(v.nbytes for name, v in tensors.items() if not name.startswith(("bits/", "kept/")))
    header = 20_000
    size = (tmp_path / "small" / NETWORK).stat().st_size
    assert size < 4 * small.kept + bits + rest + header < small.total


def test_what_is_no_export_is_told(tmp_path: Path) -> None:
    model, masks = small_case()
    with pytest.raises(
        UserError, match=r"network\.safetensors: there is no such file; mica\.export writes one"
    ):
        mica.load_exported(tmp_path, model)
    mica.export(model, masks, tmp_path / "small", input_shape=SHAPE, onnx=False)
    file = tmp_path / "small" / NETWORK
    content = file.read_bytes()
    foreign = safetensors.torch.save({"weight": torch.ones(2)})
    for damaged in (content[:-1], content[:100], b"", foreign, content.replace(b"bits/", b"bats/")):
        file.write_bytes(damaged)
        with pytest.raises(
            UserError, match=r"network\.safetensors is damaged, or not written by mica\.export"
        ):
            mica.load_exported(tmp_path / "small", model)


def test_one_flipped_bit_of_a_mask_is_noticed(tmp_path: Path) -> None:
    model, masks = small_case()
    mica.export(model, masks, tmp_path / "small", input_shape=SHAPE, onnx=False)
    file = tmp_path / "small" / NETWORK
    with safetensors.safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    tensors = safetensors.torch.load_file(file)
    bits = next(value for name, value in tensors.items() if name.startswith("bits/"))
    bits[len(bits) // 2] ^= 1
    file.write_bytes(safetensors.torch.save(tensors, metadata))
    with pytest.raises(UserError, match="is damaged"):
        mica.load_exported(tmp_path / "small", model)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    model, masks = small_case()
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"file/small'"):
        mica.export(model, masks, tmp_path / "file" / "small", input_shape=SHAPE, onnx=False)
