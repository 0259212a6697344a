"""The drive: who runs which trial where, and what becomes of it."""

from mica import imports

imports.for_good()
