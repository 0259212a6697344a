"""The user's own modules: which take part in a sweep, and which line of a traceback is the user's."""

import sys
import sysconfig
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

import mica
from mica.registry import user_module
from mica.trial.spec import TrialSpec

_INSTALLED = ("site-packages", "dist-packages")
_OTHERS = (Path(mica.__file__).parent, Path(sysconfig.get_path("stdlib")))


def modules_of(trials: Iterable[TrialSpec]) -> list[str]:
    """Files of modules and folders of packages that these trials' names stand in.

    What is installed is left out: every machine of a cluster has its own.
    """
    names = {user_module(name) for spec in trials for name in spec.code} - {None}
    places = {_top_of(str(name)) for name in names}
    return sorted(str(place) for place in places if place and _is_users(str(place)))


def shortened_traceback(error: BaseException) -> str:
    """The traceback, which begins at the user's own code where there is some in it."""
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        link.__traceback__ = _from_users_code(link.__traceback__)
        link = link.__cause__ or link.__context__
    return "".join(traceback.format_exception(error))


def _top_of(module: str) -> Path | None:
    """The outermost package that a loaded module lies in, or its own file; None: there is no such file."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return None
    depth = module.count(".") + (Path(file).name == "__init__.py")
    return Path(file).absolute().parents[depth - 1] if depth else Path(file).absolute()


def _from_users_code(frames: TracebackType | None) -> TracebackType | None:
    frame = frames
    while frame is not None:
        if _is_users(frame.tb_frame.f_code.co_filename):
            return frame
        frame = frame.tb_next
    return frames


def _is_users(file: str) -> bool:
    """Whether a file is neither mica's, nor Python's, nor an installed library's."""
    path = Path(file)
    if file.startswith("<") or any(part in _INSTALLED for part in path.parts):
        return False
    return not any(path.is_relative_to(folder) for folder in _OTHERS)
