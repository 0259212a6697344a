"""What scores depend on: equal keys mean equal scores, and what changes no score changes no key."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import mica
from mica.models import build
from mica.pruners import Network, Ranking, RankingPruner, pruners
from mica.pruners.scores import score_key as keys
from mica.pruners.scores.score_key import code_of, score_key

SHAPE = (3, 8, 8)


def model(seed: int = 0) -> nn.Module:
    return build("resnet20", input_shape=SHAPE, classes=4, seed=seed)


def data() -> tuple[Tensor, Tensor]:
    return torch.randn(8, *SHAPE, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 4


def ranking(name: str, **options: object) -> Ranking:
    pruner = pruners.get(name)
    assert isinstance(pruner, RankingPruner)
    return Ranking(pruner, pruners.choose({"name": name, **options}).all_options)


def network(**changes) -> Network:
    module = changes.pop("model", None) or model()
    images, labels = data()
    fields = {"graph": mica.trace(module, SHAPE), "images": images, "labels": labels, **changes}
    return Network(model=module, **fields)


def changed(edit) -> nn.Module:
    module = model()
    with torch.no_grad():
        edit(module)
    return module


class Slope(nn.Module):
    """A network whose call has an argument that no module holds."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.slope, self.layer = slope, nn.Linear(192, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.leaky_relu(self.layer(x.flatten(1)), self.slope)


def first_norm(module: nn.Module) -> nn.BatchNorm2d:
    return next(part for part in module.modules() if isinstance(part, nn.BatchNorm2d))


def test_the_key_changes_with_all_that_scores_depend_on() -> None:
    snip, (images, labels) = ranking("snip"), data()
    assert score_key(snip, network()) == score_key(snip, network())
    networks = [
        network(),
        network(model=model(1)),
        network(model=changed(lambda m: first_norm(m).running_mean.add_(1))),
        network(model=changed(lambda m: first_norm(m).bias.add_(1))),
        network(model=changed(lambda m: setattr(first_norm(m), "eps", 1e-3))),
        network(images=images + 1),
        network(labels=labels.flip(0)),
        network(model=Slope(0.1)),
        network(model=Slope(0.2)),
    ]
    keys = [score_key(snip, each) for each in networks]
    keys += [score_key(ranking(name), network()) for name in ("grasp", "magnitude", "synflow")]
    keys += [score_key(ranking("snip", batch_norm="train"), network()), score_key(snip, network(), [3])]
    keys += [score_key(ranking("synflow", iterations=count), network()) for count in (2, 3)]
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    keys.append(score_key(snip, network()))
    torch.set_num_threads(threads)
    assert None not in keys and len(set(keys)) == len(keys)
    blind = ranking("magnitude")
    assert score_key(blind, network()) == score_key(blind, network(images=images + 1))


def test_what_cannot_be_told_apart_for_certain_has_no_key() -> None:
    own = RankingPruner(lambda network, weights: {n: w.abs() for n, w in weights.items()})
    assert score_key(Ranking(own, {}), network()) is None
    borrowed = replace(own, score=ranking("snip").pruner.score, remaining=lambda network: None)
    assert score_key(Ranking(borrowed, {}), network()) is None
    hooked = changed(lambda m: first_norm(m).register_forward_hook(lambda *_: None))
    odd = changed(lambda m: setattr(first_norm(m), "forward", first_norm(m).forward))
    snip = ranking("snip")
    assert score_key(snip, network(model=hooked)) is None
    assert score_key(snip, network(model=odd)) is None


@pytest.fixture
def edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """A digest of a module's code as if one of mica's files had another line."""
    real = keys._file_of

    def digest(of: str, file: str | None) -> str:
        def instead(module: str) -> Path | None:
            path = real(module)
            if module != file or path is None:
                return path
            copy = tmp_path / f"{module}.py"
            copy.write_text(path.read_text() + "\n# another line\n")
            touched.append(module)
            return copy

        monkeypatch.setattr(keys, "_file_of", instead)
        code_of.cache_clear()
        return code_of(of)

    touched: list[str] = []
    yield digest
    code_of.cache_clear()


@pytest.mark.parametrize("file", [
    "mica.pruners.snip", "mica.pruners.scores.scored_network", "mica.pruners.kinds", "mica.graph.layers",
])  # fmt: skip
def test_an_edit_of_what_scores_snip_makes_another_key(edited, file: str) -> None:
    assert edited("mica.pruners.snip", file) != edited("mica.pruners.snip", None)


@pytest.mark.parametrize("file", [
    "mica.pruners.connection.repair", "mica.pruners.mica", "mica.pruners.grasp", "mica.pruning.methods",
    "mica.training.engine", "mica.sweep.plan.spec",
])  # fmt: skip
def test_an_edit_elsewhere_leaves_snips_scores_alone(edited, file: str) -> None:
    assert edited("mica.pruners.snip", file) == edited("mica.pruners.snip", None)


def test_the_key_of_the_scores_themselves_goes_by_the_code(edited) -> None:
    def key(file: str | None, name: str = "snip") -> str | None:
        edited(f"mica.pruners.{name}", file)
        return score_key(ranking(name), network())

    before = key(None)
    assert key("mica.pruners.connection.repair") == before
    assert key("mica.pruners.scores.scored_network") != before


def test_synflows_masks_depend_on_how_the_highest_are_found_and_snips_scores_do_not(edited) -> None:
    """Of several iterations the mask is kept, which `top_k` makes; of one the scores, which it only reads."""
    asked: list[str] = []

    class Noting:
        def get_or_compute(self, key, compute):
            asked.append(key)
            return compute()

    def key(method: str, file: str | None) -> str:
        edited("mica.pruners.snip", file)
        mica.sparsify(model(), method, 20, 0, input_shape=SHAPE, data=data(), cache=Noting())
        return asked[-1]

    top_k = "mica.pruners.scores.top_k"
    assert key("rbpi-synflow(iterations=2)", top_k) != key("rbpi-synflow(iterations=2)", None)
    assert key("rbpi-snip", top_k) == key("rbpi-snip", None)
