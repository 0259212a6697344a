"""All file names of a store."""

RECORDS = "records"
"""records/ab/abcdef….json: one finished trial, under its key."""
SEGMENTS = "segments"
"""segments/….parquet: many records folded into one file."""
SET_ASIDE = "set-aside"
"""Files that stood in the place of a record and were none."""
KEPT = "kept"
"""kept/KEY/: masks and weights, where the sweep asks for them."""
LEASE = "driver.lease"
"""Which driver is working on this store."""
TABLES = "tables"
"""tables/{trials,layers,epochs}.parquet: what pandas reads."""
FIGURES = "figures"
"""figures/*.png and *.svg."""
MLFLOW = "mlflow.db"
"""The default MLflow database."""


def record_path(key: str) -> str:
    """Of a trial's record; 256 folders keep each listing short."""
    return f"{RECORDS}/{key[:2]}/{key}.json"


def kept_path(key: str) -> str:
    """Of the folder with a trial's masks and weights."""
    return f"{KEPT}/{key}"
