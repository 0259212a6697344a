"""Other sweeps on the same cluster: each has its desks among the cluster's named actors."""

import ray
from ray.exceptions import RayError

NAMESPACE = "mica"
_ANSWER_SECONDS = 2.0


def waiting_neighbours(kind: str, *, but: str) -> int:
    """How many other desks have trials for which there is no lane.

    Args:
        kind: begins their names: those whose lanes take GPUs, or those whose lanes take none.
        but: the desk's own name.
    """
    found = ray.util.list_named_actors(all_namespaces=True)
    names = [each["name"] for each in found if each["namespace"] == NAMESPACE]
    others = [name for name in names if name.startswith(f"{kind}-") and name != but]
    return sum(map(_waits, others))


def _waits(name: str) -> bool:
    try:
        return bool(ray.get(ray.get_actor(name, NAMESPACE).waits.remote(), timeout=_ANSWER_SECONDS))
    except (RayError, ValueError, TimeoutError):  # it has ended meanwhile
        return False
