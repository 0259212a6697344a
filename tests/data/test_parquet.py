import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mica.data import DataSource, datasets
from mica.errors import DataError

WriteTable = Callable[..., str]
Pictures = Callable[..., list[bytes]]
Encode = Callable[..., bytes]


def source(train: str, test: str, **columns: str) -> DataSource:
    return datasets.get("parquet")(train=train, test=test, **columns)


@pytest.fixture
def train(tmp_path: Path, write_table: WriteTable, pictures: Pictures) -> str:
    return write_table(tmp_path / "train.parquet", pictures(30), [k % 3 for k in range(30)])


@pytest.fixture
def test_file(tmp_path: Path, write_table: WriteTable, pictures: Pictures) -> str:
    return write_table(tmp_path / "test.parquet", pictures(9, seed=1), [k % 3 for k in range(9)])


def test_what_was_written_is_what_is_loaded(tmp_path: Path, write_table: WriteTable, encode: Encode) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 6, 5, 3), dtype=np.uint8)
    labels = [k % 4 for k in range(40)]
    encoded = [encode(image) for image in images]
    found = source(
        write_table(tmp_path / "a", encoded[:30], labels[:30]),
        write_table(tmp_path / "b", encoded[30:], labels[30:]),
    )
    dataset = found.load()
    assert np.array_equal(dataset.train_images, images[:30].transpose(0, 3, 1, 2))
    assert np.array_equal(dataset.test_images, images[30:].transpose(0, 3, 1, 2))
    assert dataset.train_labels.tolist() == labels[:30]
    assert dataset.test_labels.tolist() == labels[30:]
    assert (dataset.classes, dataset.augment, found.augment) == (4, "crop-flip", "crop-flip")
    np.testing.assert_allclose(dataset.mean, (images[:30] / 255).mean(axis=(0, 1, 2)))
    assert "30 training images" in found.description
    assert "10 test images" in found.description


def test_a_source_survives_pickling_uris_and_another_directory(
    train: str, test_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    relative = source("train.parquet", Path(test_file).as_uri())
    monkeypatch.chdir("/")
    assert len(pickle.loads(pickle.dumps(relative)).load().train_images) == 30
    assert relative.digest == source(train, test_file).digest


@pytest.mark.parametrize("image", ["img", "image"])
@pytest.mark.parametrize("label", ["label", "fine_label", "labels"])
@pytest.mark.parametrize("struct", [True, False])
def test_the_usual_columns_are_found(
    tmp_path: Path, write_table: WriteTable, pictures: Pictures, image: str, label: str, struct: bool
) -> None:
    table = write_table(tmp_path / "a", pictures(4), [0, 1, 1, 0], image, label, struct)
    assert source(table, table).load().train_labels.tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("image", ["photo", "photo.bytes"])
def test_columns_can_be_named(
    tmp_path: Path, write_table: WriteTable, pictures: Pictures, image: str
) -> None:
    table = write_table(tmp_path / "a", pictures(4), [0, 1, 1, 0], "photo", "kind")
    assert source(table, table, image=image, label="kind").load().classes == 2


def test_a_column_may_have_a_dot_in_its_name(
    tmp_path: Path, write_table: WriteTable, pictures: Pictures
) -> None:
    table = write_table(tmp_path / "a", pictures(4), [0, 1, 1, 0], "img.bytes", "a.label", struct=False)
    assert source(table, table, image="img.bytes", label="a.label").load().classes == 2


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint8(), pa.int32(), pa.uint64()])
def test_labels_of_any_integer_type_are_read(
    tmp_path: Path, write_table: WriteTable, pictures: Pictures, kind: pa.DataType
) -> None:
    table = write_table(tmp_path / "a", pictures(3), pa.array([1, 0, 2], kind))
    assert source(table, table).load().train_labels.tolist() == [1, 0, 2]


@pytest.mark.parametrize("kind", [pa.large_binary(), pa.binary_view()])
def test_image_bytes_of_any_binary_type_are_read(
    tmp_path: Path, pictures: Pictures, kind: pa.DataType
) -> None:
    table = pa.table({"image": pa.array(pictures(3), pa.binary()).cast(kind), "label": [0, 1, 2]})
    pq.write_table(table, tmp_path / "a")
    assert source(str(tmp_path / "a"), str(tmp_path / "a")).load().train_images.shape == (3, 3, 8, 8)


def test_grey_images_of_any_size_are_a_data_set(
    tmp_path: Path, write_table: WriteTable, pictures: Pictures
) -> None:
    table = write_table(tmp_path / "a", pictures(4, size=(28, 20), grey=True), [0, 1, 1, 0])
    dataset = source(table, table).load()
    assert dataset.image_shape == (1, 28, 20)
    assert len(dataset.mean) == 1


# --- digests


def test_the_digest_is_of_the_content_wherever_it_lies(train: str, test_file: str, tmp_path: Path) -> None:
    first = source(train, test_file).digest
    assert first == source(train, test_file, image="img.bytes", label="label").digest
    elsewhere = tmp_path / "moved.parquet"
    elsewhere.write_bytes(Path(train).read_bytes())
    assert source(str(elsewhere), test_file).digest == first


def test_the_digest_moves_with_files_their_roles_and_columns(
    train: str, test_file: str, tmp_path: Path, write_table: WriteTable, pictures: Pictures
) -> None:
    other = write_table(tmp_path / "o", pictures(30), [(k + 1) % 3 for k in range(30)])
    two = pq.read_table(train)
    pq.write_table(two.append_column("labels", two["label"]), tmp_path / "two")
    both = str(tmp_path / "two")
    digests = {
        source(train, test_file).digest,
        source(test_file, train).digest,
        source(other, test_file).digest,
        source(train, train).digest,
        source(both, both).digest,
        source(both, both, label="labels").digest,
    }
    assert len(digests) == 6


def test_a_file_that_changes_after_the_look_is_refused(
    train: str, test_file: str, write_table: WriteTable, pictures: Pictures
) -> None:
    looked_at = source(train, test_file)
    write_table(Path(test_file), pictures(9, seed=2), [k % 3 for k in range(9)])
    with pytest.raises(DataError, match=r"test.parquet: the content has changed"):
        looked_at.load()


# --- refused at first look


def test_a_file_that_is_missing_is_named(train: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.parquet: there is no such file"):
        source(train, str(tmp_path / "none.parquet"))


def test_an_unset_variable_is_named(train: str) -> None:
    with pytest.raises(DataError, match="variable NOT_SET_2 is not set"):
        source(train, "$NOT_SET_2/test.parquet")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "the file is empty"), (b"a,b\n1,2\n" * 9, "this is not a parquet file")],
)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, train: str, content: bytes, message: str) -> None:
    (tmp_path / "bad").write_bytes(content)
    with pytest.raises(DataError, match=f"bad: {message}"):
        source(train, str(tmp_path / "bad"))


def test_a_table_without_rows_is_refused(tmp_path: Path, train: str, write_table: WriteTable) -> None:
    with pytest.raises(DataError, match="none: the table has no rows"):
        source(train, write_table(tmp_path / "none", [], []))


def test_a_missing_column_lists_those_that_are_there(
    train: str, test_file: str, tmp_path: Path, write_table: WriteTable, pictures: Pictures
) -> None:
    odd = write_table(tmp_path / "odd", pictures(3), [0, 1, 2], "photo", "kind", struct=False)
    with pytest.raises(DataError, match=r"odd: no image column img or image; .* photo \(binary\), kind"):
        source(odd, odd)
    with pytest.raises(DataError, match="odd: no label column label or fine_label or labels; "):
        source(odd, odd, image="photo")
    with pytest.raises(DataError, match=r"train.parquet: no image column img.pixels; the columns are img"):
        source(train, test_file, image="img.pixels")
    with pytest.raises(DataError, match=r"train.parquet: no label column label.x"):
        source(train, test_file, label="label.x")
    # The test file has to have the columns that were found in the training file.
    with pytest.raises(DataError, match=r"odd: no image column img\.bytes"):
        source(train, odd)


def test_a_column_of_another_kind_is_refused(train: str, tmp_path: Path, pictures: Pictures) -> None:
    with pytest.raises(DataError, match=r"column img.path is of type string; encoded image bytes are needed"):
        source(train, train, image="img.path")
    pq.write_table(pa.table({"img": pictures(2), "label": ["cat", "dog"]}), tmp_path / "words")
    words = str(tmp_path / "words")
    with pytest.raises(DataError, match="words: column label is of type string; integers are needed"):
        source(words, words)


# --- refused at the load


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, None, 1], r"bad: row 1 \(from 0\): column label is null"),
        ([0, -1, 1], r"bad: column label: row 1 \(from 0\): the label is -1; labels are 0..K-1"),
        ([0, 3, 1], r"bad: column label: the training labels are 0..3 without 2; they must be 0..K-1"),
        ([1, 2, 3], r"bad: column label: the training labels are 1..3 without 0"),
    ],
)
def test_bad_training_labels_are_refused(
    tmp_path: Path, write_table: WriteTable, pictures: Pictures, labels: list[int | None], message: str
) -> None:
    bad = write_table(tmp_path / "bad", pictures(3), labels)
    with pytest.raises(DataError, match=message):
        source(bad, bad).load()


def test_a_label_beyond_64_bits_is_refused(
    tmp_path: Path, write_table: WriteTable, pictures: Pictures
) -> None:
    bad = write_table(tmp_path / "bad", pictures(1), pa.array([2**64 - 1], pa.uint64()))
    with pytest.raises(DataError, match=r"bad: column label: .*18446744073709551615"):
        source(bad, bad).load()


@pytest.mark.parametrize("label", [-1, 3])
def test_a_test_label_without_a_class_is_refused(
    train: str, tmp_path: Path, write_table: WriteTable, pictures: Pictures, label: int
) -> None:
    bad = write_table(tmp_path / "bad", pictures(3), [0, 1, label])
    message = rf"bad: column label: row 2 \(from 0\): the label is {label}, but the training labels are 0..2"
    with pytest.raises(DataError, match=message):
        source(train, bad).load()


def test_a_null_image_is_refused(
    train: str, tmp_path: Path, write_table: WriteTable, pictures: Pictures
) -> None:
    bad = write_table(tmp_path / "bad", [*pictures(8), None], [0] * 9)
    with pytest.raises(DataError, match=r"bad: row 8 \(from 0\): column img.bytes is null"):
        source(train, bad).load()


def test_an_undecodable_image_is_refused(
    train: str, tmp_path: Path, write_table: WriteTable, pictures: Pictures
) -> None:
    bad = write_table(tmp_path / "bad", [*pictures(2), b"nonsense"], [0, 1, 2])
    with pytest.raises(DataError, match=r"bad: row 2 \(from 0\): the image cannot be decoded: 8 bytes"):
        source(train, bad).load()


def test_a_test_file_of_another_shape_is_refused(
    train: str, tmp_path: Path, write_table: WriteTable, pictures: Pictures
) -> None:
    bad = write_table(tmp_path / "bad", pictures(2, size=(5, 6)), [0, 1])
    with pytest.raises(DataError, match=r"bad: test images are 6x5 RGB, but .*train.parquet are 8x8 RGB"):
        source(train, bad).load()
    grey = write_table(tmp_path / "grey", pictures(3, grey=True), [0, 1, 2])
    with pytest.raises(DataError, match=r"train.parquet: row 0 \(from 0\): the image is in colour"):
        source(grey, train).load()


def test_a_file_damaged_behind_its_footer_is_refused(test_file: str, tmp_path: Path) -> None:
    data = bytearray(Path(test_file).read_bytes())
    data[4:200] = bytes(196)
    (tmp_path / "torn").write_bytes(data)
    torn = str(tmp_path / "torn")
    with pytest.raises(DataError, match=r"torn: column img.bytes cannot be read"):
        source(torn, torn).load()
