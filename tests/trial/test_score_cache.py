"""The score cache: never another mask, whatever happens to its files."""

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import mica
from mica.models import build
from mica.pruners import Network, Ranking, RankingPruner
from mica.pruners.scores.top_k import rank_globally
from mica.trial import run
from mica.trial.score_cache import FileScoreCache, score_cache
from tests.trial.sample import tiny, without_provenance

KEY = "0" * 64
SHAPE = (3, 8, 8)
METHODS = ["rbpi-snip", "rpi-snip", "mica-snip", "snip-erk", "rbpi-grasp", "rbpi-magnitude", "mica-synflow"]


def model(seed: int = 0) -> nn.Module:
    return build("resnet20", input_shape=SHAPE, classes=4, seed=seed)


def data() -> tuple[Tensor, Tensor]:
    return torch.randn(8, *SHAPE, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 4


class Counting(FileScoreCache):
    """Notes how often something had to be computed."""

    computed = 0

    def get_or_compute(self, key, compute):
        def counted():
            self.computed += 1
            return compute()

        return super().get_or_compute(key, counted)


def prune(method: str, cache: FileScoreCache | None, ratio: float = 20.0, **more) -> str:
    found = mica.sparsify(model(), method, ratio, 0, input_shape=SHAPE, data=data(), cache=cache, **more)
    return found.digest()


def some() -> dict[str, Tensor]:
    return {"a": torch.randn(3, 5), "b.c": torch.rand(7) < 0.5, "d": torch.randn(()).double()}


def equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    same = [(n, t.dtype, t.shape) for n, t in left.items()] == [
        (n, t.dtype, t.shape) for n, t in right.items()
    ]
    return same and all(torch.equal(left[name], right[name]) for name in left)


def failing() -> dict[str, Tensor]:
    raise AssertionError("computed again")


@pytest.mark.parametrize("method", METHODS)
def test_masks_are_the_same_without_a_cache_cold_and_warm(method: str, tmp_path: Path) -> None:
    cache = Counting(tmp_path)
    wanted = prune(method, None)
    kept = method != "rbpi-magnitude"  # whose scores are read no sooner than computed
    for _ in range(2):
        assert prune(method, cache) == wanted
        assert cache.computed == kept


def test_snips_scores_serve_every_ratio_and_method(tmp_path: Path) -> None:
    cache = Counting(tmp_path)
    for method in ("rbpi-snip", "rpi-snip", "mica-snip", "snip-erk"):
        for ratio in (3.0, 50.0):
            assert prune(method, cache, ratio) == prune(method, None, ratio)
    assert prune("mica-snip", cache, budget="corrected") == prune("mica-snip", None, budget="corrected")
    assert cache.computed == 1


def test_synflows_mask_serves_its_methods_at_one_ratio_and_rounding(tmp_path: Path) -> None:
    cache = Counting(tmp_path)
    for method in ("rbpi-synflow", "rpi-synflow", "mica-synflow"):
        prune(method, cache)
    assert cache.computed == 1
    prune("rbpi-synflow", cache, 21.0)
    assert cache.computed == 2
    assert prune("rbpi-synflow", cache, 21.3, rounding="exact") == prune(
        "rbpi-synflow", None, 21.3, rounding="exact"
    )
    assert cache.computed == 3


def test_a_user_pruner_of_a_network_is_computed_each_time(tmp_path: Path) -> None:
    cache, own = Counting(tmp_path), RankingPruner(lambda network, weights: dict(weights))
    module, (images, labels) = model(), data()
    network = Network(model=module, graph=mica.trace(module, SHAPE), images=images, labels=labels)
    for _ in range(2):
        rank_globally(Ranking(own, {}), network, [500], cache)
    assert not cache.computed and not list(tmp_path.iterdir())


def test_another_option_is_another_score(tmp_path: Path) -> None:
    cache = Counting(tmp_path)
    assert prune("rbpi-snip(batch_norm=train)", cache) == prune("rbpi-snip(batch_norm=train)", None)
    assert prune("rbpi-snip", cache) == prune("rbpi-snip", None) != prune("rbpi-snip(batch_norm=train)", None)
    assert cache.computed == 2
    for iterations in (2, 3):
        method = f"rbpi-synflow(iterations={iterations})"
        assert prune(method, cache) == prune(method, None)
    assert cache.computed == 4


def test_tensors_come_back_bit_for_bit(tmp_path: Path) -> None:
    made = some()
    FileScoreCache(tmp_path).get_or_compute(KEY, lambda: made)
    assert equal(FileScoreCache(tmp_path).get_or_compute(KEY, failing), made)


@pytest.mark.parametrize(
    "damage", ["truncated", "empty", "one bit", "text", "another key's", "gone", "a folder"]
)
def test_a_damaged_file_is_made_anew(damage: str, tmp_path: Path) -> None:
    cache, made = FileScoreCache(tmp_path), some()
    cache.get_or_compute(KEY, lambda: {"other": torch.ones(2)})
    path = tmp_path / f"{KEY}.scores"
    content = path.read_bytes()
    if damage == "another key's":
        cache.get_or_compute("1" * 64, lambda: some())
        (tmp_path / f"{'1' * 64}.scores").replace(path)
    elif damage in ("gone", "a folder"):
        path.unlink()
        if damage == "a folder":
            path.mkdir()
    else:
        bit = content[:-1] + bytes([content[-1] ^ 1])
        path.write_bytes({"truncated": content[:50], "empty": b"", "one bit": bit, "text": b"x" * 99}[damage])
    assert equal(cache.get_or_compute(KEY, lambda: made), made)
    if damage != "a folder":
        assert equal(cache.get_or_compute(KEY, failing), made)


def test_an_error_of_the_computation_passes_and_is_not_kept(tmp_path: Path) -> None:
    cache, made = FileScoreCache(tmp_path), some()
    with pytest.raises(AssertionError, match="computed again"):
        cache.get_or_compute(KEY, failing)
    assert equal(cache.get_or_compute(KEY, lambda: made), made)


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    cache = FileScoreCache(tmp_path, limit=3_500)
    keys = [str(digit) * 64 for digit in range(4)]
    for age, key in enumerate(keys[:3]):
        cache.get_or_compute(key, lambda: {"a": torch.zeros(200)})
        os.utime(tmp_path / f"{key}.scores", (age + 1, age + 1))
    cache.get_or_compute(keys[0], failing)  # used again: now the youngest
    cache.get_or_compute(keys[3], lambda: {"a": torch.zeros(200)})
    assert {path.stem for path in tmp_path.glob("*.scores")} == {keys[0], keys[2], keys[3]}
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 3_500
    cache.get_or_compute(KEY[:-1] + "9", lambda: {"a": torch.zeros(1000)})  # alone above the bound
    assert len(list(tmp_path.rglob("*.scores"))) == 3


def test_leftovers_of_killed_processes_count_and_go(tmp_path: Path) -> None:
    torn = tmp_path / f"{KEY}.abc.tmp"
    torn.write_bytes(bytes(3_000))
    os.utime(torn, (1, 1))
    FileScoreCache(tmp_path, limit=3_500).get_or_compute(KEY, lambda: {"a": torch.zeros(200)})
    assert not torn.exists() and len(list(tmp_path.rglob("*.scores"))) == 1


def test_a_folder_that_cannot_be_used_costs_a_warning_only(tmp_path: Path, caplog) -> None:
    file = tmp_path / "no folder"
    file.write_text("")
    made = some()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert equal(FileScoreCache(file).get_or_compute(KEY, lambda: made), made)
    assert len(caplog.records) == 1 and str(file) in caplog.text


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a folder that even root cannot write to")
def test_a_read_only_folder_costs_a_warning_only(caplog) -> None:
    with caplog.at_level(logging.WARNING):
        assert prune("rbpi-snip", FileScoreCache(Path("/proc/self"))) == prune("rbpi-snip", None)
    assert len(caplog.records) == 1


WORKER = """
import sys, time, torch
from pathlib import Path
from mica.trial.score_cache import FileScoreCache
folder = Path(sys.argv[1])
def compute():
    (folder / "computed").open("a").write("x")
    time.sleep(0.5)
    return {"a": torch.arange(5.0)}
print(FileScoreCache(folder / "cache").get_or_compute("0" * 64, compute)["a"].tolist())
"""


def test_of_processes_at_once_one_computes_and_all_get_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WORKER, str(tmp_path)]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert {worker.communicate()[0].strip() for worker in workers} == {"[0.0, 1.0, 2.0, 3.0, 4.0]"}
    assert (tmp_path / "computed").read_text() == "x"


def test_who_waits_too_long_computes_too(tmp_path: Path) -> None:
    made, started, release = some(), threading.Event(), threading.Event()

    def slow() -> dict[str, Tensor]:
        started.set()
        release.wait()
        return made

    first = threading.Thread(target=FileScoreCache(tmp_path).get_or_compute, args=(KEY, slow), daemon=True)
    first.start()
    started.wait()
    try:
        found = FileScoreCache(tmp_path, patience=0.05).get_or_compute(KEY, lambda: made)
    finally:
        release.set()
        first.join()
    assert equal(found, made)


def test_the_environment_names_folder_and_bound(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("MICA_CACHE", str(tmp_path / "a"))
    monkeypatch.setenv("MICA_CACHE_BYTES", "10")
    cache = score_cache()
    cache.get_or_compute(KEY, some)
    assert (tmp_path / "a/scores").is_dir() and not list((tmp_path / "a").rglob("*.scores"))
    monkeypatch.setenv("MICA_CACHE", str(tmp_path / "b"))
    monkeypatch.delenv("MICA_CACHE_BYTES")
    score_cache().get_or_compute(KEY, some)
    assert len(list((tmp_path / "b/scores").glob("*.scores"))) == 1


def test_a_trial_uses_the_cache_and_its_record_is_the_same(tmp_path: Path, monkeypatch) -> None:
    spec = tiny(method="rbpi-snip")
    monkeypatch.setenv("MICA_CACHE", str(tmp_path))
    cold = run(spec, device="cpu")
    assert len(list(tmp_path.rglob("*.scores"))) == 1
    warm = run(spec, device="cpu")
    monkeypatch.setenv("MICA_CACHE", "/dev/null/nowhere")
    without = run(spec, device="cpu")
    assert without_provenance(cold) == without_provenance(warm) == without_provenance(without)
