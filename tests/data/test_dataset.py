import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mica
from mica.data import Dataset, datasets
from mica.data.dataset import digest_of
from mica.data.normalisation import channel_statistics
from mica.errors import DataError, UnknownName


def parts(**changes: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "name": "mine",
        "classes": 3,
        "train_images": np.zeros((6, 3, 4, 5), np.uint8),
        "train_labels": np.array([0, 1, 2, 0, 1, 2]),
        "test_images": np.zeros((2, 3, 4, 5), np.uint8),
        "test_labels": np.array([0, 2]),
        "mean": (0.5, 0.5, 0.5),
        "std": (0.2, 0.2, 0.2),
    }
    return usual | changes


def test_a_dataset_knows_the_shape_of_its_images() -> None:
    assert Dataset(**parts()).image_shape == (3, 4, 5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"train_images": np.zeros((6, 8, 8, 3), np.uint8)},
            "training images are [6, 8, 8, 3]: the channels come",
        ),
        ({"train_images": np.zeros((6, 3, 4, 5))}, "training images are float64 [6, 3, 4, 5], not uint8"),
        ({"test_images": np.zeros((2, 4, 5), np.uint8)}, "test images are uint8 [2, 4, 5]"),
        ({"train_labels": np.zeros(6, np.int32)}, "training labels are int32 [6], not int64 [N]"),
        ({"test_labels": np.array([0])}, "2 test images but 1 labels"),
        (
            {"train_images": np.zeros((0, 3, 4, 5), np.uint8), "train_labels": np.zeros(0, np.int64)},
            "there are no training images",
        ),
        ({"train_labels": np.array([0, 1, 2, 0, 1, 3])}, "training labels are 0..3, but 3 classes are 0..2"),
        ({"test_labels": np.array([-1, 0])}, "test labels are -1..0"),
        (
            {"test_images": np.zeros((2, 1, 4, 6), np.uint8)},
            "training images are 5x4 RGB but test images are 6x4 grey",
        ),
        ({"mean": (0.5,)}, "1 means and 3 standard deviations for 3 channels"),
        ({"std": (0.2, 0.0, 0.2)}, "channel 1 has standard deviation 0.0"),
        ({"std": (0.2, float("nan"), 0.2)}, "channel 1 has standard deviation nan"),
        ({"augment": "rotate"}, "augment is 'rotate'; allowed are crop-flip, none"),
    ],
)
def test_a_dataset_whose_parts_do_not_fit_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        Dataset(**parts(**changes))
    assert str(caught.value).startswith("mine: ")
    assert message in str(caught.value)


def test_the_statistics_are_those_of_the_pixels() -> None:
    images = np.random.default_rng(0).integers(0, 256, (1500, 2, 3, 4), dtype=np.uint8)
    mean, std = channel_statistics(images)
    np.testing.assert_allclose(mean, (images / 255).mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, (images / 255).std(axis=(0, 2, 3)), rtol=1e-12)


def test_the_statistics_of_four_numbers() -> None:
    images = np.array([0, 255, 0, 255], np.uint8).reshape(2, 1, 1, 2)
    assert channel_statistics(images) == ((0.5,), (0.5,))


def test_a_digest_tells_where_a_part_ends() -> None:
    assert digest_of("ab", "c") != digest_of("a", "bc")
    assert digest_of("ab", "c") == digest_of(b"ab", "c")
    assert len(digest_of()) == 64


def test_all_data_sets_are_registered_and_an_unknown_one_gets_the_nearest() -> None:
    assert set(datasets.names()) == {"cifar10", "cifar100", "digits", "parquet", "synthetic"}
    with pytest.raises(UnknownName, match="did you mean 'cifar10'"):
        datasets.get("cifar-10")


@pytest.mark.parametrize("name", ["digits", "synthetic"])
def test_a_source_can_be_sent_to_another_process(name: str) -> None:
    source = datasets.get(name)()
    assert pickle.loads(pickle.dumps(source)).load().name == name


WITHOUT_PACKAGE = """
import sys, types
package = types.ModuleType("mica")
package.__path__ = [sys.argv[1]]
sys.modules["mica"] = package
import mica.data
print([name for name in ("torch", "torchvision", "sklearn", "ray", "mlflow") if name in sys.modules])
"""


def test_the_data_sets_themselves_import_no_torch() -> None:
    # Only what mica.data imports counts here, not what mica/__init__.py does.
    command = [sys.executable, "-c", WITHOUT_PACKAGE, str(Path(mica.__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
