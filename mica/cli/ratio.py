"""One compression ratio on the command line, written as in a sweep file."""

from mica.errors import UserError
from mica.sweep.plan.ratios import exponent, log10_ratio


def one_ratio(ratio: str | None, log10: str | None, method: str) -> float:
    """The log10 of `--ratio` or of `--log10-ratio`, whichever is there; the dense network needs neither.

    Raises:
        UserError: neither or both are there, or it is no such number.
    """
    if ratio is not None and log10 is not None:
        raise UserError("--ratio and --log10-ratio say the same thing: give one of them")
    try:
        if ratio is not None:
            return log10_ratio(ratio)
        if log10 is not None:
            return exponent(log10)
    except ValueError as error:
        option = "--ratio" if log10 is None else "--log10-ratio"
        raise UserError(f"{option}: {error}") from None
    if method.lower() == "dense":
        return 0.0
    raise UserError("the ratio is missing: --ratio 10^4.5, or --log10-ratio 4.5")
