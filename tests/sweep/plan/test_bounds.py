"""What is too much, too deep or no plain value in a sweep file, and what would give a password away."""

import os
from pathlib import Path

import pytest

from mica.errors import UserError
from mica.sweep.plan.grid import MAX_TRIALS, expand, size
from mica.sweep.plan.ratios import exponent, log10_ratio, log10_ratios
from mica.sweep.plan.spec import load_home, load_sweep
from mica.sweep.sweep import open_sweep
from tests.sweep.sample import SWEEP, write

DEEP = "[" * 10_000
BOMB = "\n".join(["a0: &a0 [1]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12))])
RANGE = "{{log10: {{from: {}, to: {}, step: {}}}}}"


def fault(folder: Path, text: str = SWEEP, **lines: str) -> str:
    with pytest.raises(UserError) as error:
        open_sweep(write(folder, text, **lines), str(folder / "store"))
    message = str(error.value)
    assert all(line.startswith(f"{folder}/sweep.yaml") for line in message.splitlines())
    return message


@pytest.mark.parametrize(("lines", "message"), [
    ({"name": ".."}, "allowed is a name of letters"), ({"name": "..."}, "name"),
    ({"name": "-x"}, "name"), ({"name": "e\u0301"}, "found 'e\\u0301'"),
    ({"name": "x" * 61}, "at most 60 characters"), ({"storage": "''"}, "allowed is a path or a URI"),
    ({"storage": r'"a\0b"'}, "storage: found 'a\\x00b', which holds the control character '\\x00'"),
    ({"storage": "s3://key:hunter2@bucket/x"}, "storage: found a password or key in 's3://***@bucket/x'"),
    ({"mlflow": "postgresql://me:hunter2@host/db"}, "mlflow: found a password"),
    ({"mlflow": "'off'"}, "mlflow: found"),
    ({"data": "{name: parquet, train: 's3://key:hunter2@b/x', test: y}"},
     "data.0: data set 'parquet': train: found a p"),
    ({"data": "s3://x"}, "'s3://x' cannot be loaded: your own has the form package.module:name"),
    ({"data": "sys:exit"}, "data: data set 'sys:exit' failed: SystemExit"),
    ({"data": "{name: synthetic, size: 10000, train: 1000000}"}, "pixels in all"),
    ({"data": "{name: synthetic, options: {train: '60'}, defaults: {}, title: null, code: null}"},
     "no option 'options'"),
    ({"data": f"cifar10(root={'x' * 5000})"}, "data: data set"),
    ({"data": r'{name: digits, title: "a\x1bb"}'}, "control character"),
    ({"data": "{name: digits, title: ' '}"}, "title"),
    ({"data": "{name: digits, title: 's3://key:hunter2@bucket'}"}, "its title: found a password"),
    ({"models": "{name: mlp, hidden: [0]}"}, "hidden is [0]"), ({"models": "mlp(hidden=[1e400])"}, "hidden"),
    ({"models": f"'mlp(hidden={DEEP[:3000]}'"}, "cannot be read after 'mlp('"),
    ({"methods": "[{pruner: {name: x}, distribution: {name: y}}]"}, "allowed is the name of a method"),
    ({"methods": "rbpi-synflow(iterations=1000000)"}, "less than or equal to 100000"),
    ({"seeds": "[9223372036854775808]"}, "less than or equal to 9223372036854775807"),
    ({"protocol": "{lr: true}"}, "protocol.lr: found True"), ({"protocol": "{lr: '1e-4'}"}, "found '1e-4'"),
    ({"protocol": "{lr: 1e40}"}, "less than or equal to"),
    ({"protocol": "{nesterov: 1}"}, "true or false"),
    ({"protocol": "{epochs: 100000000}"}, "less than or equal to 1000000"),
    ({"protocol": "{lr_drops: [5]}"}, "less than or equal to 1"), ({"compact": "'off'"}, "true or false"),
    ({"resources": "{cpu: 1.0e-6}"}, "resources.cpu"), ({"resources": "{cpu: 1e6}"}, "resources.cpu"),
    ({"resources": "{gpu: 0.001}"}, "resources.gpu"), ({"times": "{stall: .inf}"}, "times.stall"),
    ({"ratios": RANGE.format(0, "1e40", 1)}, "between 0 and 30"),
    ({"ratios": RANGE.format(0, 30, "1e-12")}, "10,000 ratios"),
    ({"ratios": "1" + "0" * 400}, "more than 40 digits"), ({"x[y": "1"}, "x[y: unknown key"),
    ({"http://me:hunter2@host/": "1"}, "http://***@host/: unknown key"),
    ({"seeds": "[010]"}, "found '010'; a number is written in decimal"), ({"seeds": "[1:30]"}, "in decimal"),
    ({"name": "2024-01-01"}, "name: found a date"), ({"name": "!!binary aGk="}, "name: found binary data"),
    ({"seeds": "!!set {1, 2}"}, "seeds: found a set"),
    ({"protocol": "{<<: 5}"}, "protocol.<<: allowed is a mapping"),
    ({"grids": DEEP}, "nested more than 20 deep"), ({"seeds": f"[{'1, ' * 6000}]"}, "more than 5,000 values"),
    ({"title": r'"\ud800"'}, "control character '\\ud800'"),
    ({"seeds": "&s [*s]"}, "the alias *s stands inside"),
])  # fmt: skip
def test_too_much_or_nonsense_is_one_clear_error(tmp_path: Path, lines: dict[str, str], message: str) -> None:
    found = fault(tmp_path, **lines)
    assert message in found and "hunter2" not in found


def test_an_alias_bomb_is_not_expanded(tmp_path: Path) -> None:
    assert "more than 5,000 values" in fault(tmp_path, BOMB)


def test_aliases_and_merged_keys_are_sound(tmp_path: Path) -> None:
    grids = "[{protocol: &p {lr: 1e-4}}, {protocol: {<<: *p, epochs: 1}, seeds: [3]}]"
    sweep = load_sweep(write(tmp_path, grids=grids))
    assert sweep.grids and sweep.grids[1].protocol
    assert (sweep.grids[1].protocol.lr, sweep.grids[1].protocol.epochs) == (1e-4, 1)


def test_only_the_first_complaints_are_told(tmp_path: Path) -> None:
    lines = fault(tmp_path, seeds=f"[{', '.join(['x'] * 500)}]").splitlines()
    assert len(lines) == 21 and lines[-1].endswith("and more after these 20")


def test_trials_are_counted_before_any_is_made(tmp_path: Path) -> None:
    seeds = f"[{', '.join(map(str, range(2000)))}]"
    lines = {"seeds": seeds, "ratios": RANGE.format(0, 5, 0.001)}
    assert f"20,004,000 trials; allowed are {MAX_TRIALS:,}" in fault(tmp_path, **lines)
    sweep = load_sweep(write(tmp_path, methods="[dense, rpi-erk, mica-erk]", rounding="[floor, exact]"))
    assert size(sweep) == 20  # the dense network's rounding makes no trial of its own
    assert len(expand(sweep).trials) == 18


@pytest.mark.parametrize(
    "value", [10**400, -(10**400), "1e400", "10^1e400", b"10", "1_000", "٣", " 10 ", "10^ 4"]
)
def test_numbers_that_are_no_ratio(value: object) -> None:
    for read in (log10_ratio, exponent, log10_ratios):
        with pytest.raises(ValueError, match="found"):
            read(value)


def test_only_a_small_regular_file_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "large.yaml").write_bytes(SWEEP.encode() + b"#" * 1_000_000)
    for name, message in (
        ("pipe.yaml", "no regular file"),
        ("large.yaml", "larger than"),
        ("a\0b", "no name of"),
    ):
        for load in (load_sweep, load_home):
            with pytest.raises(UserError, match=message):
                load(tmp_path / name)
    with pytest.raises(UserError, match="no regular file"):
        load_sweep(Path("/dev/zero"))


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load_sweep(path).name == "tiny"


def test_a_variable_stands_for_mlflow_s_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD_OF_MINE", "hunter2")
    path = write(tmp_path, mlflow="'postgresql://me:$PASSWORD_OF_MINE@host/db'")
    sweep = open_sweep(path, str(tmp_path / "store"))
    assert sweep.mlflow_uri == "postgresql://me:hunter2@host/db"
    assert "hunter2" not in sweep.spec.model_dump_json()
