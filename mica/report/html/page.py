"""A sweep's results as one HTML page, which needs no network and no other file."""

import json
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from typing import Any

from plotly.offline import get_plotlyjs

from mica import __version__


def page(title: str, data: Mapping[str, Any]) -> str:
    """The page's text, from `page_data`."""
    assets = files("mica.report.html") / "assets"
    text = (assets / "page.html").read_text()
    parts = {
        "title": escape(title),
        "footer": escape(f"Drawn by mica {__version__}; open it from disk, send it as it is."),
        "css": (assets / "page.css").read_text(),
        "js": (assets / "page.js").read_text(),
        # A name of the user's own may hold what would end a script.
        "data": json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        "plotly": get_plotlyjs(),
    }
    for name, part in parts.items():
        head, _, rest = text.partition("{{" + name + "}}")
        if name == "title":  # it stands twice
            rest = rest.replace("{{title}}", part)
        text = head + part + rest
    return text
