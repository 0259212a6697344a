"""Asking every node of a cluster at the same time; and how open the cluster is to others."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

T = TypeVar("T")

_ANSWER_SECONDS = 120.0
"""How long a node may take: its first process has torch to import, from a slow disk perhaps."""


@dataclass(frozen=True)
class Node:
    """One that belongs to the cluster now."""

    id: str
    host: str
    address: str
    cpu: float
    gpu: float
    """What it has declared."""


def nodes() -> list[Node]:
    """All that are alive, the driver's first."""
    mine = ray.get_runtime_context().get_node_id()
    found = [
        Node(
            node["NodeID"],
            node["NodeManagerHostname"],
            node["NodeManagerAddress"],
            node["Resources"].get("CPU", 0),
            node["Resources"].get("GPU", 0),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]
    return sorted(found, key=lambda node: node.id != mine)


def ask_each(
    asked: Sequence[Node], what: Callable[..., T], arguments: Sequence[tuple[Any, ...]]
) -> dict[Node, T | str]:
    """Node → what the function returns there for its arguments, or why it returns nothing."""

    def on(node: Node, given: tuple[Any, ...]) -> ray.ObjectRef:
        there = NodeAffinitySchedulingStrategy(node.id, soft=False)
        return ray.remote(what).options(num_cpus=0, max_retries=0, scheduling_strategy=there).remote(*given)

    answers = {node: on(node, given) for node, given in zip(asked, arguments, strict=True)}
    ray.wait(list(answers.values()), num_returns=len(answers), timeout=_ANSWER_SECONDS)
    return {node: _answer(answer) for node, answer in answers.items()}


def _answer(answer: ray.ObjectRef) -> Any:
    try:
        return ray.get(answer, timeout=1)
    except RayTaskError as error:
        return f"{type(error.cause).__name__}: {error.cause}"
    except GetTimeoutError:
        return f"it says nothing for {_ANSWER_SECONDS:.0f} s"
    except RayError as error:
        return str(error).strip().partition("\n")[0]


def tokens_on() -> bool | None:
    """Whether the cluster's processes ask for a token; None: this Ray does not say."""
    with suppress(Exception):
        from ray._private.authentication.authentication_utils import is_token_auth_enabled

        return bool(is_token_auth_enabled())
    return None


def dashboard() -> str | None:
    """Where the dashboard listens, HOST:PORT; None where there is none."""
    with suppress(Exception):
        from ray._private import worker

        return worker.get_dashboard_url() or None
    return None
