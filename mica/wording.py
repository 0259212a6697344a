"""Values as a message or a record may hold them: short, in one line, without passwords."""

import re
import unicodedata

_LONGEST = 120
"""Characters of a value that a message shows."""
_USER = re.compile(r"""://(?:[^/\s@'"]*:[^\s'"]*|[^/\n'"]*)@""")
"""Of a URI: all up to the last @ of its host part; after a colon of what follows too: passwords hold `/`."""
_SECRET = re.compile(
    r"""([?&;](?:[\w.-]*[_.-])?(?:secret|passw\w*|pwd|token|sig|signature|credentials?|\w*key)=)"""
    r"""([^&;\s'"]*)""",
    re.IGNORECASE,
)
_PASSWORD = re.compile(r"://[^/@:]*:([^/]*)@")
_VARIABLE = re.compile(r"\$(\w+|\{\w+\})")
_NOT_SHOWN = {"Cc", "Cs", "Zl", "Zp"}
"""Unicode's control characters, halves of surrogate pairs, and what breaks lines."""


def shown(text: str) -> str:
    """The text as messages and records may show it: without the users, passwords and keys of its URIs."""
    if "://" not in text:
        return text
    return _SECRET.sub(r"\1***", _USER.sub("://***@", text))


def counted(number: int, what: str) -> str:
    """`1 trial`, `2,604 trials`."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def quoted(value: object) -> str:
    """`repr` for a message: cut to what people read, and without passwords."""
    try:
        text = shown(repr(value))
    except (ValueError, RecursionError):  # a number of thousands of digits; a list in itself
        return f"a {type(value).__name__} too large to show"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def described(value: object) -> str:
    """What a function has returned in place of something else: a plain value itself, of all else the kind."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return quoted(value)
    shape = getattr(value, "shape", None)
    of_shape = f" of shape {tuple(shape)}" if isinstance(shape, tuple) else ""
    return f"a {type(value).__name__}{of_shape}"


def check_text(text: str, *, longest: int, lines: bool = False) -> None:
    """Raises `ValueError` for a text that cannot be shown or is too long.

    Args:
        longest: characters that are allowed.
        lines: whether line breaks and tabs are too.
    """
    if len(text) > longest:
        raise ValueError(f"found {quoted(text)} of {len(text):,} characters; allowed are {longest:,}")
    for sign in text:
        if unicodedata.category(sign) in _NOT_SHOWN and not (lines and sign in "\n\r\t"):
            raise ValueError(f"found {quoted(text)}, which holds the control character {sign!r}")


def check_place(place: str) -> None:
    """Raises `ValueError` for a path or URI that is blank, cannot be shown, or gives a password away.

    What a file says comes into records, tables and logs; `$NAME` stands there as it is written.
    """
    if not place.strip():
        raise ValueError(f"found {place!r}; allowed is a path or a URI")
    check_text(place, longest=1000)
    check_no_password(place)


def check_no_password(text: str) -> None:
    """Raises `ValueError` for a URI that holds a password, and not an environment variable's name for it."""
    if "://" not in text:
        return
    secrets = [*_PASSWORD.findall(text), *(value for _, value in _SECRET.findall(text))]
    if any(secret and not _VARIABLE.fullmatch(secret) for secret in secrets):
        raise ValueError(
            f"found a password or key in {quoted(text)}, which would come into records: put it into an "
            "environment variable and write its name in its place, as in scheme://user:$PASSWORD@host"
        )
