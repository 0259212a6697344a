"""Export: a trained small network as files, each checked to answer like the masked network it came from."""

from mica.exporting.exported import Exported, export, load_exported

__all__ = ["Exported", "export", "load_exported"]
