"""A trial's exception in a worker: a record of it, unless it took the device along."""

from pathlib import Path

import pytest

from mica.data import Dataset
from mica.errors import UserError
from mica.sweep.drive import worker
from mica.sweep.drive.worker import run_and_store
from mica.sweep.store.records import Store
from mica.trial import Record
from mica.trial.spec import open_data
from tests.sweep.sample import records_of
from tests.trial.sample import DATA, tiny

KEY = tiny().key
NO_GPU = "cuda:99"
"""No machine of ours has so many."""


def data() -> Dataset:
    return open_data(DATA).load()


def bug() -> Dataset:
    raise RuntimeError("a bug")


def run_on(device: str, folder: Path, load=data) -> Record:
    return run_and_store(tiny(), "tiny", Store(str(folder)), load=load, device=device)


def test_an_exception_becomes_a_record(tmp_path: Path) -> None:
    record = run_on("cpu", tmp_path, bug)
    assert (record.outcome, record.provenance.device) == ("failed", "cpu")
    assert record.error and record.error.strip().endswith("RuntimeError: a bug")
    assert records_of(tmp_path)[KEY].record == record


@pytest.mark.parametrize("load", [data, bug])
def test_where_the_device_does_not_work_the_worker_ends_and_nothing_is_recorded(load, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="device 'cuda:99' cannot be used"):
        run_on(NO_GPU, tmp_path, load)
    assert not records_of(tmp_path)


def test_a_storage_s_bad_moment_costs_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocking = tmp_path / "records"  # a file where the folder should be

    def load() -> Dataset:
        blocking.touch()
        return data()

    monkeypatch.setattr(worker.time, "sleep", lambda seconds: blocking.unlink())
    assert run_on("cpu", tmp_path, load) == records_of(tmp_path)[KEY].record
