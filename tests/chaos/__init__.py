"""Chaos: sweeps that train for real, while their processes, storage and clocks are broken on purpose.

`python -m tests.chaos --help` says how to run the long form. What is done to a sweep is drawn from a seed,
so that a round can be done again; what must come out is the undisturbed run's table.
"""
