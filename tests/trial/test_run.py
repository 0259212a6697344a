"""One trial from its spec to its record, in this process (design, section 3)."""

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from mica.errors import UserError
from mica.training.state import Epoch
from mica.trial import Record, run
from mica.trial.device import compute_exactly
from tests.trial.sample import EDGES, tiny, without_provenance

CONV = {"model": "resnet20", "protocol": {"epochs": 1, "train_size": 32, "test_size": 10}}


@pytest.fixture(scope="module")
def record() -> Record:
    return run(tiny())


@pytest.mark.parametrize("changes", [
    {}, {"method": "dense", "log10_ratio": 0.0}, {"method": "rpi-igq"}, {"method": "rbpi-snip"},
    {"method": "mica-grasp"}, {"method": "mica-synflow", "budget": "corrected"}, {"rounding": "exact"},
    {"protocol": {"augment": "crop-flip"}}, CONV,
])  # fmt: skip
def test_the_same_trial_gives_the_same_record_provenance_aside(changes: dict[str, object]) -> None:
    first, second = run(tiny(**changes)), run(tiny(**changes))
    assert first.outcome == "completed"
    assert without_provenance(first) == without_provenance(second)


@pytest.mark.parametrize("changes", [
    {"seed": 1}, {"method": "rpi-erk"}, {"log10_ratio": 0.7}, {"protocol": {"augment": "crop-flip"}},
    {"protocol": {"lr": 0.06}}, {"protocol": {"weight_decay": 0.1}}, {"protocol": {"precision": "bf16"}},
    {"protocol": {"momentum": 0.8}}, {"protocol": {"nesterov": False}}, {"protocol": {"batch_size": 15}},
    {"protocol": {"train_size": 40}},
])  # fmt: skip
def test_another_trial_gives_other_numbers(record: Record, changes: dict[str, object]) -> None:
    other = run(tiny(**changes))
    assert other.outcome == "completed"
    assert [row.train_loss for row in other.epochs] != [row.train_loss for row in record.epochs]


def test_a_record_survives_json(record: Record) -> None:
    assert Record.model_validate_json(record.model_dump_json()) == record


def test_a_record_that_lacks_a_field_or_has_another_is_not_half_read(record: Record) -> None:
    lacking, foreign = record.model_dump(mode="json"), record.model_dump(mode="json") | {"colour": "red"}
    del lacking["mask"]["flops_compact"]
    for content in (lacking, foreign):
        with pytest.raises(ValidationError, match=r"flops_compact|colour"):
            Record.model_validate(content)


def test_every_epoch_leaves_a_row(record: Record) -> None:
    assert [row.epoch for row in record.epochs] == [1, 2, 3]
    assert [row.lr for row in record.epochs] == pytest.approx([0.05, 0.005, 0.0005])
    assert record.results.epochs == 3
    for row in record.epochs:
        assert row.train_loss and row.val_loss and row.test_loss
        assert 0 <= row.test_top1 <= row.test_top5 == 100  # four classes: all are among the first five
        assert row.test_top1 * 20 / 100 == pytest.approx(round(row.test_top1 * 20 / 100))


def test_epochs_are_told_as_they_end() -> None:
    told: list[Epoch] = []
    record = run(tiny(), on_epoch=told.append)
    assert [epoch.test.top1 for epoch in told] == [row.test_top1 for row in record.epochs]


def noisy_run(seed: int) -> Record:
    """A training that goes up and down, so that last, best and highest are different epochs."""
    data = {"name": "synthetic", "size": 8, "channels": 1, "train": 100, "test": 50}
    protocol = {"epochs": 12, "lr": 0.4, "lr_drops": ()}
    return run(tiny(data=data, seed=seed, method="rpi-erk", log10_ratio=1.0, protocol=protocol))


def test_results_are_those_of_the_last_the_best_and_the_highest_epoch() -> None:
    different = 0
    for record in (noisy_run(seed) for seed in range(4)):
        results, rows = record.results, record.epochs
        best = next(row for row in rows if row.val_top1 == max(other.val_top1 for other in rows))
        assert (results.test_top1, results.test_top5) == (rows[-1].test_top1, rows[-1].test_top5)
        assert results.val_top1 == rows[-1].val_top1
        assert results.test_top1_at_best_val == best.test_top1
        assert results.test_top1_max == max(row.test_top1 for row in rows)
        assert any(row.test_top1 < row.test_top5 < 100 for row in rows)
        different += len({results.test_top1, results.test_top1_at_best_val, results.test_top1_max}) == 3
    assert different, "these runs cannot tell the three apart"


def test_counts_of_the_mask(record: Record) -> None:
    mask, layers = record.mask, record.layers
    assert mask is not None
    assert [layer.shape for layer in layers] == [(16, 64), (16, 16), (4, 16)]
    assert [layer.edges for layer in layers] == [1024, 256, 64]
    assert mask.edges_total == EDGES
    assert abs(mask.edges_budget - EDGES / 10**0.6) < len(layers)  # rounding moves each layer by less than 1
    for field in ("budget", "placed", "functional"):
        assert getattr(mask, f"edges_{field}") == sum(getattr(layer, field) for layer in layers)
    assert mask.edges_placed == mask.edges_budget
    assert mask.corrected_ratio == EDGES / mask.edges_functional
    assert mask.functional_node_share == 1.0  # MiCA wastes none
    assert mask.flops_dense == 2 * EDGES
    assert mask.flops_masked == 2 * mask.edges_placed
    assert mask.flops_compact == 2 * EDGES  # at this ratio every unit has an edge
    for layer in layers:
        assert 0 < layer.nodes_out <= layer.shape[0] and 0 < layer.nodes_in <= layer.shape[1]


def test_provenance_says_where_and_how_long() -> None:
    where = run(tiny(), device="cpu").provenance
    assert where.device == "cpu" and where.threads == torch.get_num_threads() and where.host
    assert where.seconds_data > 0 and where.seconds_mask > 0 and where.seconds_train > 0
    assert set(where.versions) == {"mica", "python", "torch", "numpy", "numba"}
    assert where.started.endswith("+00:00")


def test_a_collapsed_mask_is_recorded_and_not_trained() -> None:
    told: list[Epoch] = []
    record = run(tiny(method="rpi-erk", log10_ratio=3.0), on_epoch=told.append)
    assert record.outcome == "collapsed"
    assert record.mask is not None
    assert (record.mask.edges_functional, record.mask.corrected_ratio) == (0, None)
    assert record.mask.edges_placed > 0
    assert not told and not record.epochs and record.results.epochs == 0
    accuracies = record.results.model_dump(exclude={"epochs"})
    assert len(accuracies) == 5 and set(accuracies.values()) == {None}


@pytest.mark.parametrize(("method", "share"), [("rpi-erk", (0.2, 0.95)), ("mica-erk", (1, 1))])
def test_mica_keeps_its_edges_functional_where_random_loses_some(
    method: str, share: tuple[float, float]
) -> None:
    mask = run(tiny(method=method, log10_ratio=1.5, protocol={"epochs": 0})).mask
    assert mask is not None
    assert share[0] <= mask.edges_functional / mask.edges_placed <= share[1]


def test_a_trial_that_diverges_is_recorded_as_far_as_it_came() -> None:
    record = run(tiny(protocol={"lr": 1e30, "epochs": 5}))
    assert record.outcome == "diverged"
    assert 1 <= len(record.epochs) < 5
    assert record.results.epochs == len(record.epochs)
    assert None in (record.epochs[-1].train_loss, record.epochs[-1].val_loss, record.epochs[-1].test_loss)
    assert Record.model_validate_json(record.model_dump_json()) == record


def test_zero_epochs_make_a_mask_and_train_nothing() -> None:
    record = run(tiny(protocol={"epochs": 0}))
    assert record.outcome == "completed"
    assert record.mask is not None and record.mask.edges_functional > 0
    assert record.epochs == () and record.results.test_top1 is None


def test_the_dense_network_keeps_every_edge() -> None:
    mask = run(tiny(method="dense", log10_ratio=0.0, protocol={"epochs": 0})).mask
    assert mask is not None
    assert mask.edges_placed == mask.edges_functional == EDGES
    assert mask.corrected_ratio == 1.0
    assert mask.flops_masked == mask.flops_compact == mask.flops_dense


def test_a_corrected_budget_is_the_functional_count_of_the_random_mask() -> None:
    masks_only = {"log10_ratio": 1.3, "protocol": {"epochs": 0}}
    random = run(tiny(method="rpi-erk", **masks_only))
    corrected = run(tiny(method="mica-erk", budget="corrected", **masks_only))
    assert [layer.budget for layer in corrected.layers] == [layer.functional for layer in random.layers]
    assert random.mask and random.mask.edges_functional < random.mask.edges_placed


@pytest.mark.parametrize("changes", [{}, {"method": "rpi-erk", "log10_ratio": 1.3}, CONV])
def test_training_the_small_network_changes_no_count_and_no_number_but_its_rounding(
    changes: dict[str, object],
) -> None:
    small, whole = run(tiny(**changes)), run(tiny(**changes, compact=False))
    assert (small.mask, small.layers, small.outcome) == (whole.mask, whole.layers, whole.outcome)
    for one, other in zip(small.epochs, whole.epochs, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-3)


def test_fp32_is_fp32_whatever_was_set_before(monkeypatch: pytest.MonkeyPatch) -> None:
    backends: Any = torch.backends
    monkeypatch.setattr(backends, "fp32_precision", "tf32")
    backends.cudnn.conv.fp32_precision = backends.cuda.matmul.fp32_precision = "tf32"
    compute_exactly()
    assert backends.cudnn.conv.fp32_precision == backends.cuda.matmul.fp32_precision == "ieee"


def test_a_network_can_be_exported_where_trials_have_run() -> None:
    compute_exactly()
    torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),))  # reads torch's older setting


def test_tf32_is_refused_where_there_is_none() -> None:
    with pytest.raises(UserError, match="a GPU's"):
        run(tiny(protocol={"precision": "tf32"}), device="cpu")


def test_bfloat16_learns_too() -> None:
    record = run(tiny(protocol={"precision": "bf16", "epochs": 10}))
    assert record.outcome == "completed"
    first, last = record.epochs[0].train_loss, record.epochs[-1].train_loss
    assert first and last and last < first and math.isfinite(last)


def test_small_images_are_enlarged_for_convolutional_networks() -> None:
    record = run(tiny(data="digits", model="resnet20", protocol={"epochs": 0}))
    assert record.mask is not None
    # One 3×3 convolution of the first stage sees 16 × 16 pixels, not 8 × 8.
    first = record.layers[0]
    assert first.shape == (16, 1, 3, 3)
    assert record.mask.flops_dense > 2 * 16 * 16 * 16 * 16 * 9 * 6


@pytest.mark.parametrize(("changes", "message"), [
    ({"method": "mica-ekr"}, "did you mean 'erk'"),
    ({"model": "mpl"}, "did you mean 'mlp'"),
    ({"model": {"name": "mlp", "hiden": [3]}}, "did you mean 'hidden'"),
    ({"data": "digit"}, "did you mean 'digits'"),
    ({"data": {"name": "digits", "side": 8}}, "has no option 'side'"),
    ({"protocol": {"val_size": 60}}, "val_size is 60; allowed are 1 to 59"),
    ({"protocol": {"train_size": 59}}, "train_size is 59; allowed are 1 to 48"),
    ({"protocol": {"test_size": 21}}, "test_size is 21; allowed are 1 to 20"),
])  # fmt: skip
def test_what_cannot_be_is_the_user_s_error(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(tiny(**changes))


def test_a_model_is_named_by_its_title_or_by_its_options() -> None:
    assert tiny().model.label == "mlp(hidden=16x16)"
    assert tiny(model="mlp").model.label == "mlp"
    assert tiny(model={"name": "mlp", "hidden": [3], "title": "small"}).model.label == "small"
