"""numba's compiler as the kernels use it: compiled when first called, kept on disk from then on."""

import numba
import torch
from numba.core import config

_FLOATS = {"contract", "reassoc", "nsz"}
"""Sums may be reordered and multiply-adds fused; NaN and infinity stay what they are, so that a training
that diverges is seen to."""

kernel = numba.njit(parallel=True, nogil=True, cache=True, fastmath=_FLOATS)
"""Decorator of a function whose `prange` loops run on `use_threads` threads."""

part = numba.njit(nogil=True, cache=True, fastmath=_FLOATS)
"""Decorator of a function that kernels call, or that calls kernels."""


def use_threads() -> None:
    """Let kernels called from this thread use as many threads as torch may."""
    asked = torch.get_num_threads()
    count = min(asked, config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    if numba.get_num_threads() != count:
        numba.set_num_threads(count)
    if torch.get_num_threads() != asked:  # numba's pool, as it starts, sets the count that torch goes by
        torch.set_num_threads(asked)
