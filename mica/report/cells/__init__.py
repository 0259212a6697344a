"""Cells: the trials that differ in their seed alone, how they are called and what they look like."""
