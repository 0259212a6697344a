"""Errors that a user can act on. Anything else that is raised is a bug of ours."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Wrong use or wrong input: one message that says what was found and what is allowed."""


class TraceError(UserError):
    """A network holds an operation that cannot be followed; the message names module and operation."""


class DataError(UserError):
    """A data set is missing, unreadable, or not of the shape that was promised."""


class UnknownName(UserError):
    """A name that no registry knows; the message lists the known ones and the nearest."""


class CodeError(UnknownName):
    """A name of the user's own, whose code is not there or is not what it is taken for."""


class NumericError(UserError):
    """A score left the range of floating-point numbers, so that ranking by it would mean nothing."""


class SweepStopped(Exception):
    """A sweep ended before its trials did, for a reason that the message gives. What is done is kept."""


class SweepIncomplete(SweepStopped):
    """A sweep ended early for a reason outside its trials: once that is gone, the same line again goes on."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A tail for messages, `; did you mean 'x'?`, or nothing when no known name is near."""
    match = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {match[0]!r}?" if match else ""
