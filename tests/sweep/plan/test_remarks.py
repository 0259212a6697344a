"""What a plan says beforehand: models without a protocol, ratios with fewer edges than layers."""

from pathlib import Path

import pytest

from mica.sweep.plan import remarks
from mica.sweep.plan.grid import expand
from mica.sweep.plan.remarks import default_protocols, scarce_edges
from mica.sweep.plan.spec import load_sweep
from tests.sweep import user_models
from tests.sweep.sample import write


@pytest.fixture(autouse=True)
def own_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user_models.write(tmp_path, "remarked_models")
    monkeypatch.syspath_prepend(tmp_path)


def protocols(folder: Path, **lines: str) -> list[str]:
    return list(default_protocols(expand(load_sweep(write(folder, **lines))).trials.values()))


def scarce(folder: Path, **lines: str) -> list[str]:
    grid = expand(load_sweep(write(folder, **lines)))
    return list(scarce_edges(grid.trials.values(), grid.sources))


def test_a_model_of_which_nobody_said_how_it_trains(tmp_path: Path) -> None:
    (line,) = protocols(tmp_path, models="['remarked_models:sound', mlp, vgg16]", protocol="{epochs: 40}")
    assert line.startswith(
        "model 'remarked_models:sound' has no protocol of its own: it trains as VGG-16 does "
        "(lr 0.1, ×0.1 after 15 and 30 of 40 epochs, weight decay 0.0001); `protocol:` in the sweep file"
    )


@pytest.mark.parametrize("protocol", ["{lr: 0.1}", "{epochs: 0}"])
def test_who_names_a_learning_rate_or_trains_nothing_has_said_how(tmp_path: Path, protocol: str) -> None:
    assert protocols(tmp_path, models="'remarked_models:sound'", protocol=protocol) == []


def test_a_line_for_the_ratios_of_each_outcome(tmp_path: Path) -> None:
    # Of 270,608 and of 107,800 edges.
    ratios = "{log10: [2, 4.5, 4.75, 5, 5.5, 6]}"
    assert scarce(
        tmp_path, models="[resnet20, mlp]", ratios=ratios, data="{name: synthetic, channels: 1}"
    ) == [
        "resnet20 from 10^4.5 to 10^4.75: 9 to 5 edges for 22 layers: some layers stay empty",
        "resnet20 from 10^5 to 10^6: 3 to 1 edge for 22 layers: everything collapses",
        "mlp from 10^4.75 to 10^6: 2 to 1 edge for 3 layers: everything collapses",
    ]


def test_each_network_is_built_once_and_traced_only_where_it_must_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    for name in ("build", "trace"):
        real = getattr(remarks, name)
        monkeypatch.setattr(
            remarks, name, lambda *a, real=real, name=name, **k: done.append(name) or real(*a, **k)
        )
    assert scarce(tmp_path, seeds="[0, 1, 2]", ratios="[2, 10, 100]") == []
    assert done == ["build"]
    (line,) = scarce(tmp_path, seeds="[0, 1, 2]", ratios="[10, 100, 1000]")
    assert line.endswith("at 10^3: 2 edges for 3 layers: everything collapses")
    assert done == ["build", "build", "trace"]
    assert scarce(tmp_path, methods="dense", ratios="[1000000]") == [] and len(done) == 3


def test_data_sets_stand_beside_the_models_where_there_are_several(tmp_path: Path) -> None:
    lines = scarce(
        tmp_path, data="[digits, {name: synthetic, title: made-up}]", models="mlp", ratios="[10^4.5]"
    )
    assert lines == ["mlp on digits at 10^4.5: 2 edges for 3 layers: everything collapses"]


def test_a_network_that_cannot_be_built_is_told_of(tmp_path: Path) -> None:
    (line,) = scarce(tmp_path, models="'remarked_models:unbuildable'")
    assert line == "remarked_models:unbuildable cannot be made: TypeError: cannot be built"


def test_what_is_alike_on_several_data_sets_is_said_once(tmp_path: Path) -> None:
    named = "{name: synthetic, title: a}, {name: synthetic, seed: 1, title: b}"
    data = f"[{named}, {{name: synthetic, classes: 9, title: c}}]"
    lines = scarce(tmp_path, data=data, models="mlp", ratios="[10^5.5]")
    assert lines == ["mlp on a, b, c at 10^5.5: 1 edge for 3 layers: everything collapses"]


def test_a_data_set_that_is_in_memory_says_what_its_images_are_like(tmp_path: Path) -> None:
    (tmp_path / "remarked_data.py").write_text("""
from mica.data import datasets

def mine():
    return datasets.get("digits")().load()
""")
    (line,) = scarce(tmp_path, data="'remarked_data:mine'", models="mlp", ratios="[10^4.5]")
    assert line == "mlp at 10^4.5: 2 edges for 3 layers: everything collapses"
