"""From what the nodes say of themselves to findings. Nothing is asked here: every verdict can be tested."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from mica.sweep.doctor.finding import Finding, bad, by_value, good, named, note
from mica.sweep.doctor.node import NodeReport, Sight
from mica.wording import counted

_CLOCK_BAD, _CLOCK_NOTE = 60.0, 5.0
"""Seconds between two clocks. Object stores refuse what is dated a quarter of an hour wrong."""

_SILENT = "see that the Python which started Ray there can import mica, or take that node out of the cluster"
_OTHER_VERSION = "install the same there: pip install -c constraints.txt ."
_OTHER_MODULE = (
    "what lies beside the sweep file or in the current folder is sent to every node: install there what it "
    "imports, and nothing of the same name"
)
_OTHER_DATA = (
    "put the same files there, or name an object store's URI that every node reaches; until then the "
    "driver's node sends its own copy"
)
_UNSHARED = "use a folder that all nodes share, or an object store's URI"
_UNWRITABLE = "give every node the right to write there, or choose another with --storage"
_WRONG_CLOCK = "let chrony or another NTP client set it"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One node, what it has declared to Ray, and what it has said."""

    cpu: float
    gpu: float
    report: NodeReport | str
    """Or why there is none."""
    sight: Sight | None = None
    early: float = 0.0
    """By so many seconds at least its clock is ahead of the driver's; negative: behind."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """All nodes by their names, and the process that the sweep is started from."""

    here: NodeReport
    nodes: Mapping[str, Asked]

    @property
    def reports(self) -> dict[str, NodeReport]:
        """Of the nodes that have answered."""
        return {name: at.report for name, at in self.nodes.items() if isinstance(at.report, NodeReport)}


def alike(survey: Survey) -> list[Finding]:
    """A finding, or several, for each thing in which all nodes have to agree."""
    parts = (_answers, _versions, _modules, _data, _storage, _clocks)
    return [finding for part in parts for finding in part(survey)]


def _answers(survey: Survey) -> Iterator[Finding]:
    for name, at in survey.nodes.items():
        if isinstance(at.report, str):
            yield bad("nodes", f"{name} does not answer: {at.report}", _SILENT)
    if survey.reports:
        yield good("nodes", f"{counted(len(survey.reports), 'node')}: {named(survey.reports)}")


def _versions(survey: Survey) -> Iterator[Finding]:
    mine, sound = survey.here.versions, True
    for package, version in mine.items():
        found = {name: report.versions.get(package, "none") for name, report in survey.reports.items()}
        for other, names in by_value(found, but=version).items():
            sound = False
            said = f"{package} {other} on {named(names)}, {version} where the sweep is started"
            yield bad("versions", said, _OTHER_VERSION)
    if sound:
        yield good("versions", ", ".join(f"{package} {version}" for package, version in mine.items()))


def _modules(survey: Survey) -> Iterator[Finding]:
    for module, mine in survey.here.modules.items():
        others = by_value({name: report.modules[module] for name, report in survey.reports.items()}, but=mine)
        for other, names in others.items():
            what = "is another module" if _is_digest(other) else f"cannot be used: {other}"
            yield bad("own modules", f"{module} {what} on {named(names)}", _OTHER_MODULE)
        if not others:
            yield good("own modules", f"{module} is the same everywhere")


def _data(survey: Survey) -> Iterator[Finding]:
    for label, mine in survey.here.data.items():
        others = by_value({name: report.data[label] for name, report in survey.reports.items()}, but=mine)
        for other, names in others.items():
            what = "has other content" if _is_digest(other) else f"is not found: {other}"
            yield bad("data", f"{label} on {named(names)} {what}", _OTHER_DATA)
        if not others:
            yield good("data", f"{label} is the same everywhere, {mine[:12]}")


def _is_digest(value: str) -> bool:
    """Rather than the reason why there is none."""
    return len(value) == 64 and " " not in value


def _storage(survey: Survey) -> Iterator[Finding]:
    faults = {name: report.storage for name, report in survey.reports.items()}
    for why, names in by_value(faults, but="").items():
        yield bad("storage", f"{why} (on {named(names)})", _UNWRITABLE)
    usable = {name for name, fault in faults.items() if not fault}
    hidden = dict(_hidden(survey, usable))
    for name, others in hidden.items():
        yield bad("storage", f"what {named(others)} wrote there is not seen on {name}", _UNSHARED)
    if usable == faults.keys() and usable and not hidden:
        yield good("storage", "can be written, is the same for all, and refuses to create a name twice")


def _hidden(survey: Survey, usable: set[str]) -> Iterable[tuple[str, set[str]]]:
    """Who does not see whose probe."""
    for name in sorted(usable):
        sight = survey.nodes[name].sight
        if sight is not None and (others := usable - sight.probes):
            yield name, others


def _clocks(survey: Survey) -> Iterator[Finding]:
    off = {name: at.early for name, at in survey.nodes.items() if abs(at.early) >= _CLOCK_NOTE}
    for name, early in off.items():
        said = f"{name}'s is {abs(early):,.0f} s {'ahead' if early > 0 else 'behind'}"
        yield (bad if abs(early) >= _CLOCK_BAD else note)("clocks", said, _WRONG_CLOCK)
    if not off:
        yield good("clocks", f"agree to {_CLOCK_NOTE:.0f} s")
