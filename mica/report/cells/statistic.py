"""Which of a training's test accuracies a report goes by; it says so wherever a number stands."""

from typing import Literal

Statistic = Literal["last", "best-val", "max"]

COLUMN: dict[Statistic, str] = {
    "last": "test_top1",
    "best-val": "test_top1_at_best_val",
    "max": "test_top1_max",
}
"""Of the table of trials."""
WORDS: dict[Statistic, str] = {
    "last": "after the last epoch",
    "best-val": "at the best validation epoch",
    "max": "highest of all epochs",
}
