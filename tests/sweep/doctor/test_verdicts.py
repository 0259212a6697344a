"""Verdicts on reports made by hand: each fault is named, with its node and how to mend it."""

from dataclasses import replace

import pytest

from mica.sweep.doctor.finding import Finding
from mica.sweep.doctor.fits import fits
from mica.sweep.doctor.judge import Asked, Survey, alike
from mica.sweep.doctor.node import Gpu, NodeReport, Sight

GIB = 2**30
HERE = NodeReport(
    host="n1",
    versions={"Python": "3.11.7", "mica": "0.1.0", "torch": "2.13.0"},
    cores=8,
    memory=64 * GIB,
    modules={"mine:net": "a" * 64},
    data={"cifar10": "d" * 64},
)
BOTH = frozenset({"n1", "n2"})
NEED = {"cpu": 1, "gpu": 0}


def survey(**changed: object) -> Survey:
    """Two nodes alike, but for these fields of the second's report."""
    return of(replace(HERE, host="n2", **changed))  # type: ignore[arg-type]


def of(second: NodeReport | str, *, cpu: float = 8, gpu: float = 0, early: float = 0.0) -> Survey:
    nodes = {
        "n1": Asked(cpu=8, gpu=gpu, report=replace(HERE), sight=Sight(BOTH, 0)),
        "n2": Asked(cpu=cpu, gpu=gpu, report=second, sight=Sight(BOTH, 0), early=early),
    }
    return Survey(here=HERE, nodes=nodes)


def the_bad(found: list[Finding]) -> Finding:
    """The only one that is bad."""
    faults = [finding for finding in found if finding.level == "bad"]
    assert len(faults) == 1, faults
    assert faults[0].remedy
    return faults[0]


def test_nodes_that_agree_are_good() -> None:
    found = [*alike(survey()), *fits(survey(), NEED)]
    assert {finding.level for finding in found} == {"good"}
    assert {finding.what for finding in found} == {
        "nodes", "versions", "own modules", "data", "storage", "clocks", "room", "CPUs",
    }  # fmt: skip


@pytest.mark.parametrize("package", ["Python", "mica", "torch"])
def test_another_version_is_named_with_its_node_and_both_versions(package: str) -> None:
    fault = the_bad(alike(survey(versions={**HERE.versions, package: "9.9"})))
    assert fault.what == "versions"
    assert fault.said == f"{package} 9.9 on n2, {HERE.versions[package]} where the sweep is started"


def test_a_package_that_is_missing_is_another_version() -> None:
    fault = the_bad(alike(survey(versions={"Python": "3.11.7", "mica": "0.1.0"})))
    assert "torch none on n2" in fault.said


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("modules", {"mine:net": "b" * 64}, "mine:net is another module on n2"),
        ("modules", {"mine:net": "No module named 'timm'"}, "cannot be used: No module named 'timm' on n2"),
        ("data", {"cifar10": "e" * 64}, "cifar10 on n2 has other content"),
        ("data", {"cifar10": "no such file"}, "cifar10 on n2 is not found: no such file"),
        ("storage", "storage /x: cannot be written", "storage /x: cannot be written (on n2)"),
    ],
)  # fmt: skip
def test_what_differs_on_one_node_is_named(field: str, value: object, said: str) -> None:
    assert said in the_bad(alike(survey(**{field: value}))).said


def test_a_node_that_does_not_answer_is_named() -> None:
    fault = the_bad(alike(of("ModuleNotFoundError: No module named 'mica'")))
    assert fault.said == "n2 does not answer: ModuleNotFoundError: No module named 'mica'"


def test_storage_that_only_one_node_sees() -> None:
    apart = of(replace(HERE, host="n2"))
    lonely = {name: replace(at, sight=Sight(frozenset({name}), 0)) for name, at in apart.nodes.items()}
    faults = [finding for finding in alike(replace(apart, nodes=lonely)) if finding.level == "bad"]
    assert [fault.said for fault in faults] == [
        "what n2 wrote there is not seen on n1",
        "what n1 wrote there is not seen on n2",
    ]


@pytest.mark.parametrize(
    ("early", "level"), [(4.0, "good"), (-20.0, "note"), (20.0, "note"), (61.0, "bad"), (-3600.0, "bad")]
)
def test_clocks(early: float, level: str) -> None:
    found = [finding for finding in alike(of(replace(HERE), early=early)) if finding.what == "clocks"]
    assert [finding.level for finding in found] == [level]
    if level != "good":
        assert f"{abs(early):,.0f} s {'ahead' if early > 0 else 'behind'}" in found[0].said


def test_no_node_has_room_for_one_trial() -> None:
    fault = the_bad(fits(survey(), {"cpu": 16, "gpu": 0}))
    assert fault.said == "a trial asks for 16 cpu; the largest node has 8 cpu"


def test_room_is_counted_node_by_node() -> None:
    found = fits(of(replace(HERE), cpu=3), {"cpu": 2, "gpu": 0})
    assert found[0].said == "5 trials at a time with 2 cpu each: n1 4, n2 1"


def test_gpus_that_torch_cannot_use() -> None:
    faults = [
        finding for finding in fits(of(replace(HERE), gpu=2), {"cpu": 1, "gpu": 1}) if finding.level == "bad"
    ]
    assert [fault.said for fault in faults] == [
        "n1 declares 2, and torch can use 0",
        "n2 declares 2, and torch can use 0",
    ]  # fmt: skip


def with_gpus(memory: int, *, mps: bool = False) -> Survey:
    report = replace(HERE, gpus=(Gpu(name="H100", memory=memory),), mps=mps)
    return Survey(here=HERE, nodes={"n1": Asked(cpu=8, gpu=1, report=report, sight=Sight(BOTH, 0))})


def test_a_share_of_a_gpu_that_is_too_small() -> None:
    fault = the_bad(fits(with_gpus(16 * GIB, mps=True), {"cpu": 1, "gpu": 0.05}, 3 * GIB))
    assert fault.said == "0.05 of n1's H100 is 0.8 GiB; the largest network takes about 3.0 GiB when dense"
    assert not [
        each for each in fits(with_gpus(16 * GIB), {"cpu": 1, "gpu": 0.25}, 3 * GIB) if each.level == "bad"
    ]


def test_trials_that_share_a_gpu_without_mps_are_told_of_it() -> None:
    def told(found: list[Finding]) -> bool:
        return any("take turns" in finding.said for finding in found if finding.level == "note")

    share = {"cpu": 1, "gpu": 0.25}
    assert told(fits(with_gpus(80 * GIB), share))
    assert not told(fits(with_gpus(80 * GIB, mps=True), share))
    assert not told(fits(with_gpus(80 * GIB), {"cpu": 1, "gpu": 1}))


def test_more_cpus_than_cores_and_more_trials_than_memory_are_notes() -> None:
    found = fits(of(replace(HERE, host="n2", cores=2, memory=4 * GIB)), NEED)
    assert [(finding.level, finding.what) for finding in found if finding.level != "good"] == [
        ("note", "CPUs"),
        ("note", "memory"),
    ]
