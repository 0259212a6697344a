"""mica's command line without the report at a sweep's end: `python -m tests.undrawn run …`.

A report is a second's work and many seconds of imports, and not what these sweeps are about.
"""

from mica.report import apart


def undrawn() -> None:
    """From now on, in this process."""
    apart.report_ended = lambda *given, **options: 0


if __name__ == "__main__":
    undrawn()
    from mica.cli.main import main

    main(prog_name="mica-sweep")
