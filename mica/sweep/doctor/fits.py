"""Whether a trial's share of a machine is there, and enough. Nothing is asked here either."""

from collections.abc import Iterator, Mapping

from mica.sweep.doctor.finding import Finding, bad, good, note
from mica.sweep.doctor.judge import Survey
from mica.sweep.drive.executor import Need, fitting
from mica.wording import counted

_TRIAL_BYTES = 700 * 2**20
"""Of main memory, for a trial's process with torch in it."""
_GIB = 2**30

_NO_ROOM = "ask for less under `resources`, or add a node that has it"
_NO_CUDA = "install a CUDA build of torch and NVIDIA's driver there, or start Ray with the right --num-gpus"
_SMALL_SHARE = "raise `resources.gpu`, or lower `protocol.batch_size`"
_NO_MPS = "NVIDIA's MPS lets them run at the same time: cluster/GPUS.md says how to start it"
_IDLE_GPUS = "`resources: {gpu: 0.25}` would use them"
_TOO_MANY_CPUS = "start Ray there with --num-cpus no larger than that"
_NO_MEMORY = "raise `resources.cpu`, so that fewer run at a time"


def fits(survey: Survey, need: Need, gpu_bytes: int = 0, *, wait: bool = False) -> list[Finding]:
    """What of the sweep's trials finds room where.

    Args:
        need: what a trial asks for.
        gpu_bytes: about what the largest network takes of a GPU's memory.
        wait: nodes may come later.
    """
    found = [*_room(survey, need, wait)]
    found += [*_made_up(survey, need), *_gpus(survey, need, gpu_bytes)]
    return [*found, *_cores(survey), *_memory(survey, need)]


def _room(survey: Survey, need: Need, wait: bool) -> Iterator[Finding]:
    room = _trials(survey, need)
    if any(room.values()):
        each = ", ".join(f"{name} {count}" for name, count in room.items())
        trials = counted(sum(room.values()), "trial")
        yield good("room", f"{trials} at a time with {_amounts(need)} each: {each}")
    else:
        largest = {kind: max(getattr(at, kind) for at in survey.nodes.values()) for kind in need}
        said = f"a trial asks for {_amounts(need)}; the largest node has {_amounts(largest)}"
        yield note("room", f"{said}: the sweep waits for another") if wait else bad("room", said, _NO_ROOM)


def _made_up(survey: Survey, need: Need) -> Iterator[Finding]:
    for name, report in survey.reports.items():
        if (declared := survey.nodes[name].gpu) > len(report.gpus):
            said = f"{name} declares {declared:g}, and torch can use {len(report.gpus)}"
            yield (bad if need["gpu"] else note)("GPUs", said, _NO_CUDA)


def _gpus(survey: Survey, need: Need, gpu_bytes: int) -> Iterator[Finding]:
    share = need["gpu"]
    there = {name: report for name, report in survey.reports.items() if report.gpus}
    if there and not share:
        yield note("GPUs", "there are some, and no trial asks for one", _IDLE_GPUS)
        return
    for name, report in there.items():
        smallest = min(report.gpus, key=lambda gpu: gpu.memory)
        memory = smallest.memory * min(1.0, share)
        if memory < gpu_bytes:
            said = (
                f"{share:g} of {name}'s {smallest.name} is {memory / _GIB:.1f} GiB; "
                f"the largest network takes about {gpu_bytes / _GIB:.1f} GiB when dense"
            )
            yield bad("GPU memory", said, _SMALL_SHARE)
        else:
            yield good("GPUs", f"{name} has {len(report.gpus)}, {smallest.name}")
        if share <= 0.5 and not report.mps:
            yield note("GPUs", f"{int(1 / share)} trials take turns on each GPU of {name}", _NO_MPS)


def _cores(survey: Survey) -> Iterator[Finding]:
    sound = True
    for name, report in survey.reports.items():
        if (declared := survey.nodes[name].cpu) > report.cores:
            sound = False
            cores = counted(report.cores, "core")
            yield note("CPUs", f"{name} declares {declared:g} and has {cores}: trials wait", _TOO_MANY_CPUS)
    if sound and survey.reports:
        yield good("CPUs", "every node has as many cores as it declares")


def _memory(survey: Survey, need: Need) -> Iterator[Finding]:
    room = _trials(survey, need)
    for name, report in survey.reports.items():
        if report.memory and room[name] * _TRIAL_BYTES > report.memory:
            said = f"{counted(room[name], 'trial')} at a time on {name} with {report.memory / _GIB:.0f} GiB"
            yield note("memory", said, _NO_MEMORY)


def _trials(survey: Survey, need: Need) -> dict[str, int]:
    """Node → how many trials it has room for at a time."""
    nodes = sorted(survey.nodes.items())
    return {name: fitting({"CPU": at.cpu, "GPU": at.gpu}, need) for name, at in nodes}


def _amounts(need: Mapping[str, float]) -> str:
    return ", ".join(f"{amount:g} {kind}" for kind, amount in need.items() if amount or kind == "cpu")
