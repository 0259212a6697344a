"""The drive: who runs which trial where, and what becomes of it."""
