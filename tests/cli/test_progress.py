"""What a person sees while trials run: on a terminal a bar that moves by epochs, in a log a line at times."""

import io

import pytest
from rich.console import Console

from mica.cli import progress
from mica.cli.progress import TerminalProgress
from mica.sweep.drive.progress import Report, Running
from tests.sweep.sample import record


def at(epoch: int, *, steps: int = 9) -> Running:
    report = Report("k", steps=steps, epoch=epoch, val_top1=40.0 if epoch else None)
    return Running("k", "vgg16 mica-igq", "host", epoch, 160, report.val_top1, 60.0, report.trains)


def test_each_epoch_moves_the_bar() -> None:
    shown = TerminalProgress(Console(file=io.StringIO(), force_terminal=True))
    with shown.running(4):
        shown.progress([at(40), at(80)])
        assert shown._bar.tasks[0].completed == 0.75
        shown.finished(record())
        assert shown._bar.tasks[0].completed == 1
        shown.progress([at(80)])
        assert shown._bar.tasks[0].completed == 1.5


def test_a_log_hears_of_what_runs_when_nothing_has_ended_for_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, text = [0.0], io.StringIO()
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    shown = TerminalProgress(Console(file=text, width=300))
    with shown.running(4):
        for now[0] in (30, 59, 61, 90, 119):
            shown.progress([at(0, steps=1), at(0), at(80)])
    each = ("in preparation", "epoch 0/160", "epoch 80/160, val top-1 40.0 %")
    line = "3 running: " + "; ".join(f"vgg16 mica-igq {words}" for words in each)
    assert text.getvalue().strip() == line
