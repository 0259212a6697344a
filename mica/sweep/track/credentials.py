"""Texts without the credentials of a tracking URI: others' errors and logs quote what they were given."""

import logging
import re
from urllib.parse import quote, unquote

from mica.data.location import shown

_USER_AND_PASSWORD = re.compile(r"://(?:([^/@:\s]*)(?::(\S*))?)@")
_FIELD = re.compile(r"[?&][^=&\s]*(?:passw|pwd|token|secret|key)[^=&\s]*=([^&#\s]+)", re.IGNORECASE)


def scrubbed(text: str, uri: str) -> str:
    """A text that may quote the URI, or its password alone, with neither.

    A user's name alone stays: "password authentication failed for user 'mica'" helps, and opens nothing.
    """
    for place in {uri, uri.rstrip("/"), unquote(uri)}:
        text = text.replace(place, shown(place))
    for secret in _secrets(uri):
        text = text.replace(secret, "***")
    return shown(text)


def _secrets(uri: str) -> list[str]:
    """Passwords and tokens in a URI, however they may be quoted; the longest first."""
    found = [match[2] for match in _USER_AND_PASSWORD.finditer(uri)]
    found += [match[1] for match in _FIELD.finditer(uri)]
    written = {
        form for text in found if text for form in (text, unquote(text), quote(unquote(text), safe=""))
    }
    return sorted(written, key=len, reverse=True)


class Scrubber(logging.Filter):
    """For a log's handlers: what they write holds no credentials of this URI."""

    def __init__(self, uri: str) -> None:
        super().__init__()
        self._uri = uri

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrites the message; a traceback, which would quote the error again, is left out."""
        record.msg, record.args = scrubbed(record.getMessage(), self._uri), None
        record.exc_info = record.exc_text = record.stack_info = None
        return True
