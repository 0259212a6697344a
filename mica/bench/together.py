"""Several trials of one seed in one process: one after another, and together."""

import time
from collections.abc import Callable
from statistics import median

from mica.bench.case import CLASSES, SHAPE, Case, Setting, pruned, random_images
from mica.bench.measurements import TogetherRow
from mica.training.engine import Parts, train, train_together
from mica.training.forms import Form, enter
from mica.training.protocol import Protocol, default_protocol
from mica.training.state import TrainState

_TRIALS = 8
_IMAGES, _HELD_OUT = 4000, 1000
"""To train on, and in validation and test each: a tenth of CIFAR's, so in their proportions."""
_ROUNDS = 3


def time_together(case: Case, setting: Setting) -> TogetherRow | None:
    """Seconds of an epoch of all of them, for each seed; None where such networks learn one by one."""
    found = [_race(case, setting, seed) for seed in setting.seeds]
    races = [race for race in found if race is not None]
    if not races:
        return None
    return TogetherRow(
        model=case.model,
        method=case.method,
        log10_ratio=case.log10_ratio,
        trials=_TRIALS,
        apart_seconds=tuple(apart for apart, _ in races),
        together_seconds=tuple(together for _, together in races),
    )


def _race(case: Case, setting: Setting, seed: int) -> tuple[float, float] | None:
    """Masks that differ, on the same images; the two sides in turn."""
    forms = [[_form(case, setting, seed, number) for number in range(_TRIALS)] for _ in range(2)]
    if not all(form.sociable for side in forms for form in side):
        return None
    sizes = (_IMAGES, _HELD_OUT, _HELD_OUT)
    parts = Parts(*(random_images(size, SHAPE, CLASSES, setting.device) for size in sizes))
    protocol = Protocol(**{**default_protocol(case.model, "crop-flip"), "epochs": 1 + _ROUNDS})
    apart = [train(form, parts, protocol, seed) for form in forms[0]]
    together = train_together(forms[1], parts, protocol, seed)

    def one_after_another() -> None:
        for one in apart:
            next(one)

    sides: tuple[Callable[[], object], ...] = (one_after_another, lambda: next(together))
    times: tuple[list[float], ...] = ([], [])
    for round_ in range(1 + _ROUNDS):
        for side, taken in zip(sides, times, strict=True):
            begin = time.perf_counter()
            side()
            if round_:
                taken.append(time.perf_counter() - begin)
    return median(times[0]), median(times[1])


def _form(case: Case, setting: Setting, seed: int, number: int) -> Form:
    model, graph, masks = pruned(case, seed * _TRIALS + number)
    return enter(model, graph, TrainState.begin(model, masks), setting.device)
