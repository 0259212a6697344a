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


def loop(function: _Function) -> _Function:
    """Compile a function whose loops run on one thread."""
    return _compiled(function)


def part(function: _Function) -> _Function:
    """Compile a function that only compiled ones call: a call from Python would crash.

    Without what Python would call it by it takes a seventh less time.
    """
    return _compiled(function, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def _compiled(function: _Function, **options: bool) -> _Function:
    for cache in (True, False):
        try:
            compile_: Any = numba.njit  # whose type knows nothing of some options
            compiled = compile_(nogil=True, cache=cache, fastmath=_FLOATS, **options)(function)
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
