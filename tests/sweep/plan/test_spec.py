"""Sweep files: every fault at once, each with its line and key; and what a sound file means."""

from pathlib import Path

import pytest
import yaml

from mica.errors import UserError
from mica.sweep.plan.ratios import log10_ratios
from mica.sweep.plan.spec import SweepSpec, load_sweep
from tests.sweep.sample import SWEEP, write


def fault(folder: Path, text: str = SWEEP, **lines: str) -> str:
    with pytest.raises(UserError) as error:
        load_sweep(write(folder, text, **lines))
    return str(error.value)


def names(sweep: SweepSpec) -> list[str]:
    return [method.name for method in sweep.methods or ()]


def ratios(text: str) -> tuple[float, ...]:
    return log10_ratios(yaml.safe_load(text))


@pytest.mark.parametrize(("text", "expected"), [
    ("10", (1,)), ("1", (0,)), ("[1, 10, 1000]", (0, 1, 3)), ("2", (0.30103,)), ("1e4", (4,)),
    ("10^4.5", (4.5,)), ("[10^0.5, 10]", (0.5, 1)), ("10^0", (0,)),
    ("{log10: 4.5}", (4.5,)), ("{log10: [1, 2.5]}", (1, 2.5)),
    ("{log10: {from: 0.5, to: 6, step: 0.5}}", tuple(n / 2 for n in range(1, 13))),
    ("{log10: {from: 0, to: 1, step: 0.1}}", (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)),
    ("{log10: {from: 1, to: 2, step: 0.4}}", (1, 1.4, 1.8)),
    ("{log10: {from: 3, to: 3, step: 1}}", (3,)),
])  # fmt: skip
def test_ratios_are_kept_as_their_log10(text: str, expected: tuple[float, ...]) -> None:
    assert ratios(text) == expected


@pytest.mark.parametrize(("text", "message"), [
    ("0.5", "found the ratio 0.5; a compression ratio .* is at least 1"),
    ("0", "at least 1"), ("-10", "at least 1"), ("[10, 0.999]", "found the ratio 0.999"),
    ("10^-1", "found 10.-1; the log10 .* lies between 0 and 30"), ("10^31", "between 0 and 30"),
    ("10^x", "found 'x'"), ("ten", "found 'ten'; allowed is a number from 1 on"), ("true", "found True"),
    (".nan", "found nan"), (".inf", "found inf"), ("null", "found None"), ("[[10]]", r"found \[10\]"),
    ("{log2: 5}", "{'log2': 5}"), ("{log10: {from: 1, to: 2}}", "from, to and step, found from, to"),
    ("{log10: {from: 2, to: 1, step: 0.5}}", "goes up, found from 2.0 to 1.0 by 0.5"),
    ("{log10: {from: 1, to: 2, step: 0}}", "goes up"), ("{log10: {from: -1, to: 2, step: 1}}", "between 0"),
    ("{log10: {from: a, to: 2, step: 1}}", "found 'a'"),
])  # fmt: skip
def test_ratios_that_are_none(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ratios(text)


def test_a_sweep_file_means_what_it_says(tmp_path: Path) -> None:
    sweep = load_sweep(write(tmp_path, seeds="[3]", keep="masks"))
    assert (sweep.name, sweep.seeds, names(sweep)) == ("tiny", (3,), ["rpi-erk", "mica-erk"])
    assert sweep.data and sweep.data[0].options["size"] == 8
    assert sweep.models and sweep.models[0].options == {"hidden": [16, 16]}
    assert sweep.ratios == (0.60206, 3)
    assert sweep.protocol and (sweep.protocol.epochs, sweep.protocol.batch_size) == (2, 16)
    assert (sweep.store, sweep.keep, sweep.mlflow) == ("results/tiny", "masks", False)
    assert (sweep.resources.cpu, sweep.resources.gpu) == (1, "auto")


def test_one_value_may_stand_for_a_list_of_one(tmp_path: Path) -> None:
    listed = load_sweep(write(tmp_path, seeds="[3]", methods="[dense]", data="[digits]", models="[mlp]"))
    single = load_sweep(write(tmp_path, seeds="[3]", methods="dense", data="digits", models="mlp"))
    assert listed == single


def test_a_method_has_one_spelling(tmp_path: Path) -> None:
    sweep = load_sweep(write(tmp_path, methods="[random-erk, rpi-erk, snip-global, rbpi-snip]"))
    assert names(sweep) == ["rpi-erk", "rpi-erk", "rbpi-snip", "rbpi-snip"]


MANY_FAULTS = """\
nam: x
data: digit
models: [mlp, {name: mlp, hiden: [8]}]
seeds: [0, 1.5, two, -1]
methods: [rpi-erk, mcia-erk]
ratios: [10, 0.5]
protocol:
  epochs: 5
  epoch: 5
  lr: -1
resources: {cpu: 0, gpu: -1}
mlflow: 5
keep: all
grids:
  - methods: rpi-ekr
  - sedes: [1]
"""


def test_all_faults_are_told_at_once_each_with_its_line_and_key(tmp_path: Path) -> None:
    lines = fault(tmp_path, MANY_FAULTS).splitlines()
    file = tmp_path / "sweep.yaml"
    expected = {
        f"{file}:1: nam: unknown key": "did you mean 'name'?",
        f"{file}: name: is missing": "",
        f"{file}:2: data.0: unknown data set 'digit'": "did you mean 'digits'?",
        f"{file}:3: models.1: model 'mlp' has no option 'hiden'": "did you mean 'hidden'?",
        f"{file}:4: seeds.1: found 1.5": "allowed is a whole number",
        f"{file}:4: seeds.2: found 'two'": "allowed is a whole number",
        f"{file}:4: seeds.3: found -1": "greater than or equal to 0",
        f"{file}:5: methods.1: unknown pruner 'mcia'": "did you mean 'mica'?",
        f"{file}:6: ratios: found the ratio 0.5": "at least 1",
        f"{file}:9: protocol.epoch: unknown key": "did you mean 'epochs'?",
        f"{file}:10: protocol.lr: found -1": "greater than 0",
        f"{file}:11: resources.cpu: found 0": "greater than or equal to 0.01",
        f"{file}:11: resources.gpu: found -1": "",
        f"{file}:12: mlflow: found 5": "true, false or a tracking URI",
        f"{file}:13: keep: found 'all'": "'nothing', 'masks' or 'weights'",
        f"{file}:15: grids.0.methods.0: unknown distribution 'ekr'": "did you mean 'erk'?",
        f"{file}:16: grids.1.sedes: unknown key": "did you mean 'seeds'?",
    }
    for start, hint in expected.items():
        (line,) = [line for line in lines if line.startswith(start)]
        assert hint in line
    assert len(lines) == len(expected)


def test_an_unknown_key_lists_the_allowed_ones(tmp_path: Path) -> None:
    message = fault(tmp_path, seed="1")
    assert all(key in message for key in SweepSpec.model_fields)
    assert "did you mean 'seeds'?" in message


@pytest.mark.parametrize("seeds", ["3", "1.0", "'1'", "true", "[0, null]", "{a: 1}", "1.5", "one", "[]"])
def test_seeds_are_whole_numbers(tmp_path: Path, seeds: str) -> None:
    assert f"{tmp_path}/sweep.yaml:8: seeds" in fault(tmp_path, seeds=seeds)


@pytest.mark.parametrize(("text", "message"), [
    (SWEEP + "seeds: 1\n", "sweep.yaml:9: seeds: the key 'seeds' stands twice"),
    (SWEEP + "resources: {cpu: 1, cpu: 2}\n", "sweep.yaml:9: resources.cpu: the key 'cpu' stands twice"),
    (SWEEP + "grids: [\n", "sweep.yaml:10: not valid YAML"),
    ("a: b: c\n", "sweep.yaml:1: not valid YAML"),
    ("a: 'x\n", "not valid YAML"),
    ("\tname: x\n", "sweep.yaml:1: not valid YAML"),
    ("a: !!python/object/apply:os.system [ls]\n", "sweep.yaml:1: a: found a value with the tag"),
    ("name: x\n---\nname: y\n", "sweep.yaml:2: not valid YAML"),
    ("name: 2024-13-45\n", "sweep.yaml:1: name: found a date ('2024-13-45')"),
    (SWEEP + "? [a]\n: b\n", "sweep.yaml:9: found a key of several values; a key is text"),
    (SWEEP + "1: 2\n", "sweep.yaml:9: found the key '1'; a key is text"),
    (SWEEP.replace("hidden:", "3:"), "sweep.yaml:3: models: found the key '3'"),
    ("[1, 2]\n", "a sweep is a mapping of keys, found a list"),
    ("", "a sweep is a mapping of keys, found nothing"),
    ("plain\n", "a sweep is a mapping of keys, found a str"),
])  # fmt: skip
def test_what_is_no_yaml_or_no_sweep(tmp_path: Path, text: str, message: str) -> None:
    assert message in fault(tmp_path, text)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(UserError, match=r"sweep\.yaml:1: cannot be read: .* not UTF-8 .*UTF-16"):
        load_sweep(tmp_path / "sweep.yaml")


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nosuch\.yaml: no such file"):
        load_sweep(tmp_path / "nosuch.yaml")
    with pytest.raises(UserError, match="is a folder"):
        load_sweep(tmp_path)


@pytest.mark.parametrize(("line", "message"), [
    ({"models": "5"}, "models.0: found 5; allowed is a name, or a mapping with a name and options"),
    ({"models": "{hidden: [3]}"}, "allowed is a name, or a mapping with a name and options"),
    ({"models": "{name: mlp, hidden: 2024-01-01}"}, "models.hidden: found a date ('2024-01-01');"),
    ({"models": "{name: mlp, hidden: .nan}"}, "model 'mlp': hidden is nan; allowed are numbers, text"),
    ({"models": "{name: mlp, hidden: [8, x]}"}, "model 'mlp': hidden is [8, 'x']; allowed is a valid"),
    ({"models": "{name: mlp, title: 5}"}, "model 'mlp': its title is 5; a title is text"),
    ({"models": "'mlp(hidden=[8)'"}, "'mlp(hidden=[8)' cannot be read after 'mlp('"),
    ({"models": "nosuch_module_of_mine:net"}, "'nosuch_module_of_mine:net' cannot be loaded"),
    ({"models": "math:pi"}, "model 'math:pi' is no function"),
    ({"data": "{name: digits, side: 8}"}, "data set 'digits' has no option 'side'"),
    ({"data": "parquet"}, "data set 'parquet' needs the option 'train'"),
    ({"methods": "mica"}, "unknown method 'mica': a method is dense, rpi-DISTRIBUTION"),
    ({"methods": "rbpi-erk"}, "unknown pruner 'erk'"),
    ({"methods": "snip-grasp"}, "cannot take its budget from the ranking of 'grasp'"),
    ({"methods": "[]"}, "methods: found []; allowed is at least one"),
    ({"protocol": "[1]"}, "protocol: found [1]"),
    ({"protocol": "{train_size: 0}"}, "protocol.train_size: found 0"),
    ({"protocol": "{lr: .inf}"}, "protocol.lr: found inf"),
    ({"name": "a/b"}, "name: found 'a/b'; allowed is a name of letters, digits and . _ + -"),
    ({"name": "''"}, "name: found ''"),
    ({"grids": "5"}, "grids: found 5"),
    ({"grids": "[]"}, "grids: found []"),
    ({"budget": "exact"}, "budget.0: found 'exact'; allowed is 'nominal' or 'corrected'"),
    ({"rounding": "up"}, "rounding.0: found 'up'; allowed is 'floor' or 'exact'"),
    ({"node_counts": "max"}, "node_counts: unknown key"),
    ({"methods": "mica(node_counts=all)-erk"},
     "pruner 'mica': node_counts is 'all'; allowed are random, max, min"),
    ({"pruners": "{name: mica, node_counts: mux}"},
     "pruners.0: pruner 'mica': node_counts is 'mux'; allowed are random, max, min, only_V_in, ignore; did"),
    ({"pruners": "{name: mica, iterations: 3}"}, "pruner 'mica' has no option 'iterations'"),
    ({"pruners": "[mica, dense]"}, "pruners.1: dense is no pruner but a method"),
    ({"pruners": "rnadom"}, "pruners.0: unknown pruner 'rnadom'"),
    ({"distributions": "{name: synflow, iterations: 0}"}, "pruner 'synflow': iterations is 0; allowed is"),
    ({"distributions": "{name: erk, power: 2}"}, "distribution 'erk' has no option 'power': it takes none"),
    ({"distributions": "ekr"}, "did you mean 'erk'?; or, for a ranking pruner's layer-wise counts, grasp"),
    ({"ratios": "0.9"}, "found the ratio 0.9; a compression ratio (all / kept edges) is at least 1: "
     "10 keeps a tenth, and 1.111 keeps a share of 0.9"),
    ({"methods": "snip"}, "did you mean 'rbpi-snip', or mica or rpi with its layer-wise counts, 'mica"),
    ({"methods": "rpi_erk"}, "did you mean 'rpi-erk'?"),
    ({"methods": "rbpi(iterations=3)-synflow"}, "rbpi-PRUNER"),
    ({"storage": "5"}, "storage: found 5"),
    ({"resources": "{cpu: many}"}, "resources.cpu: found 'many'"),
    ({"resources": "{gpu: some}"}, "resources.gpu: found 'some'"),
    ({"resources": "{gpus: 1}"}, "resources.gpus: unknown key; allowed are cpu, gpu; did you mean 'gpu'?"),
])  # fmt: skip
def test_one_fault_is_one_line(tmp_path: Path, line: dict[str, str], message: str) -> None:
    found = fault(tmp_path, **line)
    assert message in found
    assert "\n" not in found
    assert found.startswith(f"{tmp_path}/sweep.yaml:")


def test_a_module_of_ones_own_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_of_mine.py").write_text("def net(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "cannot be loaded: SyntaxError" in fault(tmp_path, models="broken_of_mine:net")
