"""What tests of the command line share."""

import ray  # noqa: F401 — psutil comes with it
