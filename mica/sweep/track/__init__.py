"""The track: records shown in MLflow."""

from mica import imports

imports.for_good()
