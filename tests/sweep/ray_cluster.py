"""One Ray cluster for all tests of a session; each run of a sweep connects to it as a driver."""

import atexit
import functools

from ray.cluster_utils import Cluster


@functools.cache
def address() -> str:
    """Start it on first use."""
    head = {"num_cpus": 1, "object_store_memory": 200 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    atexit.register(cluster.shutdown)
    return str(cluster.address)
