"""The device that a trial runs on, and how it computes there."""

import torch

from mica.errors import UserError


def compute_exactly() -> None:
    """The same numbers in every run on a GPU, and fp32 that is fp32."""
    # Without these, cuDNN may choose another algorithm, and other rounding, from run to run.
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    # Torch would let convolutions round their inputs to 10 bits. It has this setting twice: the new one
    # rules, and with the old one left as it is `torch.export` fails.
    torch.backends.cudnn.fp32_precision = "ieee"
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def checked_device(name: str | None) -> str:
    """The device of this name, else a GPU where there is one; raises `UserError` if torch cannot use it."""
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=name).item()  # waits for the device: it may have failed at something before
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"device {name!r} cannot be used; such as cpu, cuda or cuda:1 can ({reason})"
        ) from error
    return name
