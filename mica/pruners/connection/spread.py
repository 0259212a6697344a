"""A layer's edges spread evenly over the pairs of an input and an output channel."""

import math

import numpy as np

from mica.graph.channels import Ids
from mica.pruners.connection.draw import Draw


def spread_connection(edges: int, live: Ids, channel: Ids, outputs: Ids, inputs: int, draw: Draw) -> Ids:
    """Edges as indices output · inputs + input, of which no pair of channels has two more than another has.

    That is so as long as a pair has room: as many places as its input channel has live nodes. Where only some
    pairs can have one edge more it is random which; outputs and inputs take turns while all pairs have room.

    Args:
        edges: how many are wanted; where there is no room for all of them fewer are returned.
        live: input nodes that signal reaches.
        channel: of each of them.
        outputs: output channels.
        inputs: how many input nodes there are, live or not.
    """
    if not edges or not len(live) or not len(outputs):
        return np.empty(0, dtype=np.int64)
    _, own, places = np.unique(channel, return_inverse=True, return_counts=True)
    rows, columns = _turns(len(outputs), len(places), draw.rng)
    # A row for each output: its nodes channel after channel, those of a channel in random order.
    keys = draw.keys(len(outputs), live)
    nodes = live[np.lexsort((keys, np.broadcast_to(own, keys.shape)))]
    first = np.cumsum(places) - places
    found: list[Ids] = []
    for taken in range(places.max()):
        if edges <= 0:
            break
        room = np.flatnonzero(places[columns] > taken)[:edges]
        row, column = rows[room], columns[room]
        found.append(outputs[row] * inputs + nodes[row, first[column] + taken])
        edges -= len(room)
    return np.concatenate(found)


def _turns(rows: int, columns: int, rng: np.random.Generator) -> tuple[Ids, Ids]:
    """All cells of a table, rows and columns shuffled: each of either comes once before any comes again."""
    turn = np.arange(rows * columns)
    # Along diagonals, each of which comes back to its beginning after so many steps: one aside then.
    shifted = turn + turn // math.lcm(rows, columns)
    return rng.permutation(rows)[turn % rows], rng.permutation(columns)[shifted % columns]
