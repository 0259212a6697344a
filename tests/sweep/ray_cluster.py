"""One Ray cluster for all tests of a session; each run of a sweep connects to it as a driver."""

import atexit
import functools
from contextlib import ExitStack

from tests.ray_nodes import ray_nodes


@functools.cache
def address() -> str:
    """Start it on first use."""
    until_the_end = ExitStack()
    atexit.register(until_the_end.close)
    return until_the_end.enter_context(ray_nodes(cpus=1)).address
