"""Compression ratios as a sweep file writes them."""

import math
import re
from typing import Any

from mica.pruning.budgets import check_ratio
from mica.wording import quoted

_FORM = "a number from 1 on, or a power such as 10^4.5"
_FORMS = "a number from 1 on, a power such as 10^4.5, or a range {log10: {from: 0.5, to: 6, step: 0.5}}"
_EXPONENTS = "a number from 0 to 30, such as 4.5"
_DECIMALS = 6
"""Of a ratio's log10: what tells two cells of a grid apart."""
MAX_RATIOS = 10_000
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)


def log10_ratios(value: Any) -> tuple[float, ...]:
    """The log10 of each ratio, rounded to 6 decimals.

    Raises:
        ValueError: it is none of the forms, or a ratio is below 1.
    """
    if isinstance(value, dict):
        return _from_mapping(value)
    return tuple(_one(item, _FORMS) for item in _bounded(value))


def log10_ratio(value: Any) -> float:
    """The log10 of one ratio, such as 1000 or 10^4.5; raises `ValueError`."""
    return _one(value, _FORM)


def exponent(value: Any) -> float:
    """The log10 of a ratio, as it stands behind `log10`; raises `ValueError`."""
    return _checked(_number(value, _EXPONENTS), value)


def _from_mapping(value: dict[Any, Any]) -> tuple[float, ...]:
    if set(value) != {"log10"}:
        raise ValueError(f"found {quoted(value)}; allowed is {_FORMS}")
    exponents = value["log10"]
    if isinstance(exponents, dict):
        exponents = _range(exponents)
    return tuple(exponent(each) for each in _bounded(exponents))


def _bounded(value: Any) -> list[Any]:
    """A list, or one value as a list of one."""
    items = value if isinstance(value, list) else [value]
    if len(items) > MAX_RATIOS:
        raise ValueError(f"found {len(items):,} ratios; allowed are {MAX_RATIOS:,}")
    return items


def _range(bounds: dict[Any, Any]) -> list[float]:
    if set(bounds) != {"from", "to", "step"}:
        found = ", ".join(map(str, list(bounds)[:5])) or "none"
        raise ValueError(f"a log10 range has from, to and step, found {found}")
    first, last = (_in_range(_number(bounds[key], _EXPONENTS), bounds[key]) for key in ("from", "to"))
    step = _number(bounds["step"], _EXPONENTS)
    if step <= 0 or last < first:
        raise ValueError(f"a log10 range goes up, found from {first} to {last} by {step}")
    if (last - first) / step >= MAX_RATIOS:  # before the list is there
        raise ValueError(f"found from {first} to {last} by {step}; allowed are {MAX_RATIOS:,} ratios")
    count = math.floor((last - first) / step + 1e-9) + 1
    return [first + index * step for index in range(count)]


def _one(value: Any, forms: str) -> float:
    if isinstance(value, str) and value.startswith("10^"):
        return _checked(_number(value.removeprefix("10^"), forms), value)
    number = _number(value, forms)
    check_ratio(number)
    return _checked(math.log10(number), value)


def _checked(log10: float, found: Any) -> float:
    return round(_in_range(log10, found), _DECIMALS)


def _in_range(log10: float, found: Any) -> float:
    if not 0 <= log10 <= 30:
        raise ValueError(f"found {_shown(found)}; the log10 of a compression ratio lies between 0 and 30")
    return log10


def _shown(found: Any) -> str:
    return quoted(found).strip("'")


def _number(value: Any, allowed: str) -> float:
    try:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise ValueError
        if isinstance(value, str) and not _NUMBER.fullmatch(value):
            raise ValueError
        number = float(value)
        if math.isfinite(number):
            return number
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"found {quoted(value)}; allowed is {allowed}")
