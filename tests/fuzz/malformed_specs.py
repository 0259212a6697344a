"""Malformed sweep files: sound ones, changed at random in structure, in values and as text."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from random import Random

import yaml

from tests.fuzz.odd import NUMBERS, ODD, TEXTS
from tests.fuzz.yaml_text import Pairs, Raw, Tree, text, tree

RICH = """\
name: rich
storage: results/rich
mlflow: false
compact: true
keep: nothing
data:
  - digits
  - {name: synthetic, size: 8, channels: 1, classes: 4, train: 60, test: 20, seed: 1, title: made up}
models:
  - {name: mlp, hidden: [16, 16], title: small}
  - resnet20
seeds: [0, 1, 2]
ratios: {log10: {from: 0.5, to: 2, step: 0.5}}
budget: nominal
rounding: [floor, exact]
target: [nominal, corrected]
wiring: kept
protocol:
  epochs: 2
  initial_weights: rescaled
  moving: {name: set, every: 2, share: 0.2, until: 0.5}
  batch_size: 16
  lr: 0.05
  lr_drops: [0.5, 0.75]
  lr_factor: 0.1
  momentum: 0.9
  nesterov: true
  weight_decay: 1.0e-4
  augment: none
  precision: fp32
  train_size: 40
  val_size: 10
  test_size: 20
resources: {cpu: 1, gpu: auto}
times: {checkpoint: 300, claim: 90, stall: 900}
grids:
  - methods: [dense, rpi-igq, "mica(node_counts=max)-erk", rbpi-snip]
  - pruners: [random, {name: mica, node_counts: min, title: lean}]
    distributions: [erk, {name: synflow, iterations: 3}]
    seeds: [5]
    ratios: [10, 10^1.5]
    protocol: {epochs: 0}
"""
"""Every key that there is."""

SWEEPS = Path(__file__).parents[2] / "sweeps"


def sound() -> list[Tree]:
    """The documents that are changed: the repository's own, and the rich one more often than each."""
    own = [tree(yaml.safe_load(file.read_text())) for file in sorted(SWEEPS.glob("*.yaml"))]
    return [*own, *[tree(yaml.safe_load(RICH))] * len(own)]


def malformed(seed: int, count: int) -> Iterator[bytes]:
    """So many files; each depends on the seed and its number alone."""
    documents = sound()
    for number in range(count):
        yield malformed_one(Random(f"{seed} {number}"), documents)


def malformed_one(random: Random, documents: list[Tree]) -> bytes:
    """One file: a few changes of its values, at times one of its text."""
    document = deepcopy(random.choice(documents))
    for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
        document = random.choice(CHANGES)(random, document)
    written = text(document)
    if random.random() < 0.15:
        written = random.choice(TEXT_CHANGES)(random, written)
    encoded = written.encode("utf-8", "surrogatepass")
    return random.choice(ENCODINGS)(random, encoded, written) if random.random() < 0.03 else encoded


def places(node: Tree) -> Iterator[tuple[Pairs | list[Tree], int]]:
    """Every value of a document but the whole: what holds it, and its index there."""
    if isinstance(node, Pairs):
        for index, (_, value) in enumerate(node.items):
            yield node, index
            yield from places(value)
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield node, index
            yield from places(value)


def _value(holder: Pairs | list[Tree], index: int) -> Tree:
    return holder.items[index][1] if isinstance(holder, Pairs) else holder[index]


def _put(holder: Pairs | list[Tree], index: int, value: Tree) -> None:
    if isinstance(holder, Pairs):
        holder.items[index] = (holder.items[index][0], value)
    else:
        holder[index] = value


Change = Callable[[Random, Tree], Tree]


def _somewhere(change: Callable[[Random, Tree], Tree]) -> Change:
    """The change of a value at a place of the document."""

    def changed(random: Random, document: Tree) -> Tree:
        found = list(places(document))
        if not found:
            return change(random, document)
        holder, index = random.choice(found)
        _put(holder, index, change(random, _value(holder, index)))
        return document

    return changed


def _odd(random: Random, value: Tree) -> Tree:
    return deepcopy(random.choice(ODD))


def _other_number(random: Random, value: Tree) -> Tree:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return random.choice(NUMBERS)
    return random.choice(
        (-value, value * 10 ** random.randint(1, 40), value + 0.5, str(value), value / 1e9, [value])
    )


def _other_text(random: Random, value: Tree) -> Tree:
    if not isinstance(value, str):
        return random.choice(TEXTS)
    at = random.randint(0, len(value))
    sign = random.choice(
        ["\0", "\n", "\x1b", "(", ")", "=", ",", "-", ":", "/", ".", " ", "é", "\ud800", "'", '"']
    )
    return random.choice(
        (value[:at] + sign + value[at:], value[:at] + value[at + 1 :], value.upper(), value * 300)
    )


def _wrapped(random: Random, value: Tree) -> Tree:
    for _ in range(random.choice((1, 1, 2, 5, 19, 25, 400, 3000))):
        value = Raw("[") if value is None else value
        value = [value] if random.random() < 0.5 else Pairs([("name", value)])
        if isinstance(value, Raw):
            break
    return _shallow(value)


def _shallow(value: Tree) -> Tree:
    """A very deep value as text, so that no code of the test recurses into it."""
    depth, inner = 0, value
    while isinstance(inner, (list, Pairs)) and inner and (isinstance(inner, list) or inner.items):
        depth, inner = depth + 1, _value(inner, 0)
    return Raw("[" * depth + "1" + "]" * depth) if depth > 100 else value


def _many(random: Random, value: Tree) -> Tree:
    values = value if isinstance(value, list) else [value]
    return values * random.choice((2, 2, 3, 50, 1100)) if len(values) < 50 else values


def _counted(random: Random, value: Tree) -> Tree:
    return list(range(random.choice((3, 3, 5, 100, 1200, 6000))))


def _bomb(random: Random, value: Tree) -> Tree:
    levels, width = random.choice(((2, 3), (9, 9), (30, 2), (200, 1)))
    lines = ["&b0 [1]"] + [f"&b{n} [{', '.join([f'*b{n - 1}'] * width)}]" for n in range(1, levels)]
    return Raw(f"[{', '.join(lines)}]")


def _unwrapped(random: Random, value: Tree) -> Tree:
    if isinstance(value, Pairs) and value.items:
        return random.choice(value.items)[1]
    return random.choice(value) if isinstance(value, list) and value else None


def _dropped(random: Random, document: Tree) -> Tree:
    found = list(places(document))
    if found:
        holder, index = random.choice(found)
        del (holder.items if isinstance(holder, Pairs) else holder)[index]
    return document


def _doubled(random: Random, document: Tree) -> Tree:
    found = list(places(document))
    if found:
        holder, index = random.choice(found)
        items: list = holder.items if isinstance(holder, Pairs) else holder
        items.insert(random.randint(0, len(items)), deepcopy(items[index]))
    return document


def _swapped(random: Random, document: Tree) -> Tree:
    found = list(places(document))
    if found:
        (one, first), (other, second) = random.choice(found), random.choice(found)
        kept = deepcopy(_value(one, first))
        _put(one, first, deepcopy(_value(other, second)))
        if second < len(other.items if isinstance(other, Pairs) else other):
            _put(other, second, kept)
    return document


def _renamed(random: Random, document: Tree) -> Tree:
    found = [(holder, index) for holder, index in places(document) if isinstance(holder, Pairs)]
    if found:
        holder, index = random.choice(found)
        key, value = holder.items[index]
        known = [other.items[at][0] for other, at in found]
        new = random.choice((random.choice(known), f"{key}s", str(key)[:-1], deepcopy(random.choice(ODD))))
        holder.items[index] = (new if not isinstance(new, Raw) or "\n" not in new.text else "x", value)
    return document


def _moved(random: Random, document: Tree) -> Tree:
    """A known key where it does not belong."""
    found = [(holder, index) for holder, index in places(document) if isinstance(holder, Pairs)]
    if found:
        holder, index = random.choice(found)
        target, _ = random.choice(found)
        target.items.append(deepcopy(holder.items[index]))
    return document


_VALUES = (
    *[_odd] * 6,
    *[_other_number] * 3,
    *[_other_text] * 3,
    _wrapped,
    _wrapped,
    _many,
    _counted,
    _bomb,
    _unwrapped,
)
CHANGES: list[Change] = [
    *map(_somewhere, _VALUES), _dropped, _doubled, _swapped, _renamed, _renamed, _moved,
    lambda random, document: _odd(random, document) if random.random() < 0.2 else _dropped(random, document),
]  # fmt: skip


def _cut(random: Random, written: str) -> str:
    return written[: random.randint(0, len(written))]


def _inserted(random: Random, written: str) -> str:
    at = random.randint(0, len(written))
    odd = random.choice(
        ["\t", "\0", "\x07", "{", "]", "'", '"', ": ", "- ", "&a ", "*a ", "\n---\n", "\n\t", "#", "\x85"]
    )
    return written[:at] + odd + written[at:]


def _repeated(random: Random, written: str) -> str:
    at = random.randint(0, len(written))
    return written[:at] + written[at : at + 30] * random.choice((2, 100, 100, 20_000)) + written[at:]


def _indented(random: Random, written: str) -> str:
    lines = written.splitlines(keepends=True)
    return "".join(random.choice(("", "", "", " ", "\t")) + line for line in lines)


TEXT_CHANGES = (_cut, _inserted, _repeated, _indented)


def _flipped(random: Random, encoded: bytes, written: str) -> bytes:
    changed = bytearray(encoded or b"x")
    for _ in range(5):
        changed[random.randrange(len(changed))] = random.randrange(256)
    return bytes(changed)


ENCODINGS: list[Callable[[Random, bytes, str], bytes]] = [
    _flipped,
    lambda random, encoded, written: b"\xef\xbb\xbf" + encoded,
    lambda random, encoded, written: written.encode("utf-16", "surrogatepass"),
    lambda random, encoded, written: random.randbytes(200),
    lambda random, encoded, written: encoded + b"#" * 1_000_000,
    lambda random, encoded, written: b"",
]
