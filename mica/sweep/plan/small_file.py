"""The text of a file that a person wrote: a regular file, of bounded size, in UTF-8."""

import stat
from pathlib import Path

from mica.errors import UserError

MAX_BYTES = 1_000_000


def read_small(path: Path) -> str:
    """The file's text, without a byte order mark.

    Raises `UserError` for what is not there, no regular file (a pipe would be waited for, a device has no
    end), too large, or not UTF-8.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            with path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError:  # a name with a null character
        raise UserError(f"{str(path)!r} is no name of a file") from None
    if stat.S_ISDIR(mode):
        raise UserError(f"{path}: is a folder; this command needs the sweep file")
    if not stat.S_ISREG(mode):
        raise UserError(f"{path}: is no regular file")
    if len(content) > MAX_BYTES:
        raise UserError(f"{path}: is larger than {MAX_BYTES:,} bytes, which no sweep file is")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        utf16 = " (it looks like UTF-16)" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        raise UserError(
            f"{path}:{line}: cannot be read: the byte 0x{content[error.start]:02x} is not UTF-8{utf16}"
        ) from None
