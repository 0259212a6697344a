"""How numeric loops are compiled by numba, and how many threads they get.

Numba keeps machine code by the date of the file that a function stands in: whoever changes a setting here has
to touch those too.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import torch
from numba.core import config

_FLOATS = {"contract", "reassoc", "nsz"}
"""Sums may be reordered and multiply-adds fused; NaN and infinity stay what they are, so that a training
that diverges is seen to."""
_Function = TypeVar("_Function", bound=Callable[..., Any])


def kernel(function: _Function) -> _Function:
    """Compile a function whose `prange` loops run on several threads."""
    return _compiled(function, parallel=True)


def part(function: _Function) -> _Function:
    """Compile a function that kernels call."""
    return _compiled(function, parallel=False)


def _compiled(function: _Function, *, parallel: bool) -> _Function:
    for cache in (True, False):
        try:
            compiled: Any = numba.njit(parallel=parallel, nogil=True, cache=cache, fastmath=_FLOATS)(function)
            break
        except RuntimeError:  # no folder to keep machine code in: each process compiles anew
            continue
    return cast(_Function, compiled)


def threads_to_use() -> int:
    """As many as torch may use; kernels then may too.

    Numba's pool starts with a thread for each core, at the latest when the first kernel is loaded, and makes
    torch go by that number: so it is started here, and torch is given its own back.
    """
    asked = torch.get_num_threads()
    count: int = min(asked, config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    if numba.get_num_threads() != count:
        numba.set_num_threads(count)
    if torch.get_num_threads() != asked:
        torch.set_num_threads(asked)
    return count
