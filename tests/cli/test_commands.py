"""The command line without Ray: help, bad input, and what programs read."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mica import Masks, __version__
from mica.cli.main import main
from tests.sweep import user_models
from tests.sweep.sample import SWEEP, write

READERS = ["plan", "status", "collect", "report", "sync", "ui"]


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def refused(folder: Path, *arguments: str | Path) -> str:
    """The one message of a call that is refused with exit code 2, no traceback, and nothing written."""
    before = written(folder)
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert result.stderr.startswith(("error: ", "Usage: ")) and "Traceback" not in result.output
    assert written(folder) == before
    return result.stderr


def written(folder: Path) -> list[Path]:
    """What lies there but for Python's own cache."""
    return sorted(path for path in folder.rglob("*") if "__pycache__" not in path.parts)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is written by default falls into the test's own folder; nobody may connect to Ray."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")


@pytest.mark.parametrize("name", ["", *main.commands])
def test_every_command_has_help(name: str) -> None:
    result = call(*name.split(), "--help")
    assert result.exit_code == 0
    assert result.output.startswith("Usage: ")
    command = main.commands[name] if name else main
    assert command.help and command.help.splitlines()[0] in " ".join(result.output.split())
    for parameter in command.params:
        for option in parameter.opts:
            assert option.strip("-").upper() in result.output.upper()


def test_the_commands_are_those_of_the_design() -> None:
    expected = {"run", "plan", "status", "collect", "report", "inspect", "trial", "sync", "ui", "bench"}
    assert expected <= set(main.commands)


def test_the_version() -> None:
    assert __version__ in call("--version").output


def test_an_unknown_command_or_option_is_wrong_use(tmp_path: Path) -> None:
    assert "No such command 'rnu'" in refused(tmp_path, "rnu")
    assert "--jsn" in refused(tmp_path, "plan", "--jsn", "x.yaml")
    assert "Missing argument" in refused(tmp_path, "run")


@pytest.mark.parametrize(("lines", "message"), [
    ({"seed": "1"}, "sweep.yaml:9: seed: unknown key; allowed are data, models, methods"),
    ({"methods": "mica-ekr"}, "sweep.yaml:8: methods.0: unknown distribution 'ekr'"),
    ({"ratios": "[10, 0.5]"}, "sweep.yaml:8: ratios: found the ratio 0.5"),
    ({"seeds": "[0, 1.5]"}, "sweep.yaml:8: seeds.1: found 1.5; allowed is a whole number"),
    ({"resources": "{cpu: 0}"}, "sweep.yaml:9: resources.cpu: found 0"),
    ({"budget": "corrected"}, "sweep.yaml: the sweep: impossible combination: budget: corrected"),
    ({"models": "nosuch:net"}, "sweep.yaml:8: models.0: model 'nosuch:net' cannot be loaded"),
    ({"data": "{name: parquet, train: nosuch.parquet, test: nosuch.parquet}"},
     "nosuch.parquet: there is no such file"),
    ({"data": "{name: parquet, train: empty.parquet, test: empty.parquet}"},
     "empty.parquet: the file is empty (0 bytes)"),
    ({"data": "{name: parquet, train: text.parquet, test: text.parquet}"}, "text.parquet"),
    ({"storage": "nosuch://bucket/x"}, "storage nosuch://bucket/x: cannot be opened"),
    ({"storage": "$MICA_NOWHERE/x"}, "the environment variable MICA_NOWHERE is not set"),
])  # fmt: skip
@pytest.mark.parametrize("command", ["run", "plan"])
def test_bad_sweep_files(tmp_path: Path, command: str, lines: dict[str, str], message: str) -> None:
    (tmp_path / "empty.parquet").touch()
    (tmp_path / "text.parquet").write_text("no parquet at all")
    found = refused(tmp_path, command, write(tmp_path, **lines))
    assert message in found
    assert found.count("\n") == 1


@pytest.mark.parametrize("text", ["grids: [\n", SWEEP + "seeds: 3\n", "- a list\n"])
def test_what_is_no_sweep_file(tmp_path: Path, text: str) -> None:
    message = refused(tmp_path, "run", write(tmp_path, text))
    assert f"{tmp_path}/sweep.yaml" in message


@pytest.mark.parametrize("command", ["run", *READERS])
def test_no_such_file(tmp_path: Path, command: str) -> None:
    assert "nosuch.yaml: no such file" in refused(tmp_path, command, "nosuch.yaml")


@pytest.mark.parametrize("command", ["plan", "status", "collect", "report"])
def test_a_folder_without_results(tmp_path: Path, command: str) -> None:
    assert "neither a sweep file (.yaml) nor a folder with results" in refused(tmp_path, command, tmp_path)


def test_a_message_is_shown_as_it_is_brackets_and_all(tmp_path: Path) -> None:
    assert "model 'no[/b]such:smile:' cannot be loaded" in refused(
        tmp_path, "run", write(tmp_path, models="'no[/b]such:smile:'")
    )


def test_the_plan_of_a_sweep_that_has_not_begun(tmp_path: Path) -> None:
    path = write(tmp_path)
    plan = json.loads(call("plan", path, "--json").stdout)
    assert (plan["name"], plan["trials"], plan["missing"], plan["done"]) == ("tiny", 8, 8, 0)
    assert plan["methods"]["mica-erk"]["trials"] == 4
    listed = call("plan", path, "--keys").stdout
    assert len({word for word in listed.split() if len(word) == 64}) == 8
    assert json.loads(call("status", path, "--json").stdout)["missing"] == 8
    assert sorted(tmp_path.iterdir()) == [path]  # looking writes nothing


def test_no_trial_or_several_of_a_key(tmp_path: Path) -> None:
    path = write(tmp_path)
    assert "no trial of" in refused(tmp_path, "trial", "xyz", "--from", path)
    assert "8 trials of" in refused(tmp_path, "trial", "", "--from", path)


def inspect(*options: str) -> Result:
    return call("inspect", "--model", "mlp", "--input-shape", "1x8x8", *options)


MICA = ("--method", "mica-igq", "--log10-ratio", "1")


def test_inspect_gives_json_layer_by_layer() -> None:
    result = inspect(*MICA, "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    keys = {"edges_total", "edges_placed", "edges_functional", "corrected_ratio", "functional_node_share"}
    assert keys | {"layers"} <= found.keys()
    layer_keys = {"name", "shape", "budget", "nodes_in", "nodes_out", "placed", "functional"}
    assert all(layer_keys <= layer.keys() for layer in found["layers"])
    assert [layer["shape"] for layer in found["layers"]] == [[300, 64], [100, 300], [10, 100]]
    assert found["edges_total"] == 300 * 64 + 300 * 100 + 100 * 10
    assert found["edges_placed"] == sum(layer["placed"] for layer in found["layers"])
    assert found["edges_functional"] == sum(layer["functional"] for layer in found["layers"])
    assert found["corrected_ratio"] == found["edges_total"] / found["edges_functional"]


def test_inspect_shows_a_collapsed_mask() -> None:
    found = json.loads(inspect("--method", "rpi-erk", "--log10-ratio", "4.5", "--json").stdout)
    assert (found["edges_functional"], found["corrected_ratio"]) == (0, None)
    assert "collapsed" in inspect("--method", "rpi-erk", "--log10-ratio", "4.5").output


@pytest.mark.parametrize("ratio", [
    ("--ratio", "10^1"), ("--ratio", "10"), ("--ratio", "1e1"), ("--log10-ratio", "1.0"),
    ("--log10-ratio", "1e0"),
])  # fmt: skip
def test_a_ratio_is_written_as_in_a_sweep_file(ratio: tuple[str, str]) -> None:
    found = json.loads(inspect("--method", "mica-igq", *ratio, "--json").stdout)
    assert found["digest"] == json.loads(inspect(*MICA, "--json").stdout)["digest"]


def test_the_dense_network_needs_no_ratio() -> None:
    found = json.loads(inspect("--method", "dense", "--json").stdout)
    assert found["edges_placed"] == found["edges_total"] and found["remarks"] == []


def test_a_method_s_options_change_the_mask() -> None:
    most, least = (
        json.loads(inspect("--method", f"mica(node_counts={counts})-igq", "--ratio", "100", "--json").stdout)
        for counts in ("max", "min")
    )
    assert most["layers"][1]["nodes_in"] > least["layers"][1]["nodes_in"]


def test_inspect_says_where_a_ratio_leaves_fewer_edges_than_layers() -> None:
    result = inspect("--method", "mica-igq", "--ratio", "10^4.5")  # of 50,200 edges
    assert "note: 2 edges for 3 layers: everything collapses" in result.stderr
    found = json.loads(inspect("--method", "mica-igq", "--ratio", "10^4.5", "--json").stdout)
    assert found["remarks"] == ["2 edges for 3 layers: everything collapses"]


def test_inspect_says_when_a_distribution_does_not_keep_what_the_ratio_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shares_of_mine.py").write_text(
        "def half(shapes, ratio):\n    return dict.fromkeys(shapes, 0.5)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = json.loads(inspect("--method", "mica-shares_of_mine:half", "--ratio", "10", "--json").stdout)
    kept, asked = found["edges_total"] // 2, found["edges_total"] / 10
    assert found["remarks"] == [
        f"{kept:,} edges are kept, as the distribution has it; the ratio asks for {asked:,.0f}"
    ]
    assert "note" not in inspect("--method", "mica-igq", "--ratio", "10^4").stderr


def test_inspect_shows_a_table_and_saves_the_mask(tmp_path: Path) -> None:
    result = inspect(*MICA, "--save", str(tmp_path / "masks.npz"))
    assert result.exit_code == 0
    assert "300×64" in result.output and "functional" in result.output
    summary = json.loads(inspect(*MICA, "--json").stdout)
    assert Masks.load(tmp_path / "masks.npz").digest() == summary["digest"]
    other = json.loads(inspect(*MICA, "--json", "--seed", "1").stdout)
    assert other["digest"] != summary["digest"]


def test_inspect_scores_images_where_a_data_set_is_named() -> None:
    options = ("--method", "rbpi-snip", "--log10-ratio", "1", "--json")
    found = json.loads(call("inspect", "--model", "mlp", "--data", "digits", *options).stdout)
    assert found["layers"][0]["shape"] == [300, 64]
    assert found["edges_placed"] == pytest.approx(found["edges_total"] / 10, abs=1)


@pytest.mark.parametrize(("options", "message"), [
    (("--method", "mica-igq", "--log10-ratio", "-1"), "--log10-ratio: found -1; the log10 of a"),
    (("--method", "mica-igq", "--log10-ratio", "nan"), "found 'nan'; allowed is a number from 0 to 30"),
    (("--method", "mica-igq", "--log10-ratio", "big"), "--log10-ratio: found 'big'; allowed is"),
    (("--method", "mica-igq", "--ratio", "0.5"), "--ratio: found the ratio 0.5; a compression"),
    (("--method", "mica-igq", "--ratio", "10^big"), "a number from 1 on, or a power such as 10^4.5"),
    (("--method", "mica-igq", "--ratio", "10^31"), "found 10^31; the log10 of a compression"),
    ((*MICA, "--ratio", "10"), "--ratio and --log10-ratio say the same thing"),
    (("--method", "mica-igq"), "the ratio is missing: --ratio 10^4.5"),
    (("--method", "mica(node_counts=maxi)-igq", "--ratio", "10"), "allowed are random, max, min"),
    (("--method", "mica(nodes=max)-igq", "--ratio", "10"), "pruner 'mica' has no option 'nodes'"),
    (("--method", "mica-iqg", "--log10-ratio", "1"), "did you mean 'igq'"),
    (("--method", "rbpi-snip", "--log10-ratio", "1"), "name a data set with --data"),
    ((*MICA, "--model", "mpl"), "did you mean 'mlp'"),
    ((*MICA, "--input-shape", "3by3"), "--input-shape is channels, height and width such as 3x32x32"),
    ((*MICA, "--model", "vgg11", "--input-shape", "3x4x4"), "does not accept its input"),
    ((*MICA, "--data", "digit"), "did you mean 'digits'"),
    ((*MICA, "--seed", "-1"), "-1 is not in the range"),
    ((*MICA, "--budget", "corected"), "'corected' is not one of"),
    (("--method", "rpi-erk", "--log10-ratio", "1", "--budget", "corrected"), "goes with the pruner mica"),
    ((*MICA, "--save", "no/such/folder/masks.npz"), "no/such/folder/masks.npz: cannot be written"),
    ((*MICA, "--model", "models_of_mine:untraceable"), "the network cannot be traced in module 2 (Gate)"),
])  # fmt: skip
def test_inspect_refuses(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    user_models.write(tmp_path)  # in the current directory, where a user's modules are looked for
    sys.modules.pop("models_of_mine", None)
    assert message in refused(tmp_path, "inspect", "--model", "mlp", "--input-shape", "1x8x8", *options)


def test_the_installed_command_prints_no_traceback(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("mica-sweep")), "plan", "nosuch.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ}, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: nosuch.yaml: no such file\n"
