"""One thread, as sharing tensors this small between threads costs more than it saves; fixed examples."""

import pytest
import torch
from hypothesis import settings

settings.register_profile("same examples every time", derandomize=True, deadline=None)
settings.load_profile("same examples every time")


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
