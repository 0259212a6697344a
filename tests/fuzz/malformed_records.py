"""What may stand in a record's place and is none: made at random from a sound one."""

import json
import random
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from mica.sweep.store.stored import Stored, _checksum, encode

_ODD: list[Any] = [
    None, True, False, 0, -1, 1e308, -1e308, 2**63, 10**400, "", "\0", "x" * 10_000, "٣",
    "completed", "failed", [], {}, [[]], {"a": {}}, "../../x", "\ud800", [None], {"": ""},
]  # fmt: skip
_TEXTS = [b"", b"{", b"null", b"[]", b"{}", b"\xff\xfe", b"\0" * 500, b'{"checksum": 1}', b"NaN", b"1" * 5000]


def malformed_records(stored: Stored, seed: int, count: int) -> Iterator[bytes]:
    """So many contents for the file of this record; a few may be sound."""
    draw, sound = random.Random(seed), encode(stored)
    for _ in range(count):
        yield draw.choice([_torn, _flipped, _nested, _text, _signed, _signed, _signed])(draw, sound)


def _torn(draw: random.Random, sound: bytes) -> bytes:
    return sound[: draw.randrange(len(sound))]


def _flipped(draw: random.Random, sound: bytes) -> bytes:
    content = bytearray(sound)
    for _ in range(draw.choice([1, 1, 2, 50])):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return bytes(content)


def _nested(draw: random.Random, sound: bytes) -> bytes:
    depth, (begin, end) = draw.choice([10, 1000, 100_000]), draw.choice([(b"[", b"]"), (b'{"a":', b"}")])
    return begin * depth + b"1" + end * draw.choice([0, depth])


def _text(draw: random.Random, sound: bytes) -> bytes:
    return draw.choice(_TEXTS)


def _signed(draw: random.Random, sound: bytes) -> bytes:
    """With a right checksum: somebody, or another program, meant it."""
    body = json.loads(json.loads(sound)["body"])
    for _ in range(draw.choice([1, 1, 1, 3])):
        _spoil(draw, body)
    text = json.dumps(body, separators=(",", ":"))
    return json.dumps({"checksum": _checksum(text), "body": text}).encode("utf-8", "surrogatepass")


def _spoil(draw: random.Random, tree: Any) -> None:
    """Change one place of the tree."""
    while True:
        places = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
        if not places:
            return
        place = draw.choice(places)
        below = tree[place]
        if isinstance(below, (dict, list)) and below and draw.random() < 0.8:
            tree = below
            continue
        break
    act = draw.choice(["odd", "odd", "odd", "gone", "more", "deep"])
    if act == "gone":
        del tree[place]
    elif act == "more" and isinstance(tree, dict):
        tree[draw.choice(["more", "version", "epochs", ""])] = deepcopy(draw.choice(_ODD))
    elif act == "deep":
        deep: Any = 1
        for _ in range(draw.choice([5, 200])):
            deep = [deep]
        tree[place] = deep
    else:
        tree[place] = deepcopy(draw.choice(_ODD))
