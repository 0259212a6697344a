"""Pruning: method, ratio and seed to checked masks."""
