import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from mica.data import decode as decode_module
from mica.data.decode import decode
from mica.errors import DataError

Encode = Callable[..., bytes]
Pictures = Callable[..., list[bytes]]


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)


def test_colour_images_come_back_channels_first(encode: Encode) -> None:
    images = pixels(600, 5, 7, 3)
    decoded = decode([encode(image) for image in images], "f")
    assert np.array_equal(decoded, images.transpose(0, 3, 1, 2))
    assert decoded.flags.c_contiguous


def test_grey_images_have_one_channel(encode: Encode) -> None:
    images = pixels(3, 5, 7)
    assert np.array_equal(decode([encode(image) for image in images], "f")[:, 0], images)


def test_a_jpeg_is_what_pillow_makes_of_it(encode: Encode) -> None:
    data = encode(pixels(8, 8, 3), "JPEG")
    assert np.array_equal(decode([data], "f")[0], np.asarray(Image.open(io.BytesIO(data))).transpose(2, 0, 1))


def test_many_threads_decode_large_images_alike(pictures: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = pictures(700)
    alone = decode(encoded, "f")
    monkeypatch.setattr(decode_module, "_PIXELS_WORTH_A_THREAD", 1)
    monkeypatch.setattr(decode_module.os, "cpu_count", lambda: 4)
    assert np.array_equal(decode(encoded, "f"), alone)


@pytest.mark.parametrize("first", [0, 2])
def test_grey_among_colour_becomes_rgb_wherever_it_stands(encode: Encode, first: int) -> None:
    grey, colour = pixels(4, 4), pixels(4, 4, 3)
    images = [encode(colour)] * 4
    images[first] = encode(grey)
    decoded = decode(images, "f")
    assert decoded.shape == (4, 3, 4, 4)
    assert all(np.array_equal(channel, grey) for channel in decoded[first])
    assert np.array_equal(decoded[3], colour.transpose(2, 0, 1))


def test_grey_test_images_of_a_colour_data_set_become_rgb(encode: Encode) -> None:
    assert decode([encode(pixels(4, 4))], "f", channels=3).shape == (1, 3, 4, 4)


@pytest.mark.parametrize(("mode", "channels"), [("1", 1), ("LA", 1), ("P", 3), ("RGBA", 3)])
def test_other_8_bit_modes_are_converted(encode: Encode, mode: str, channels: int) -> None:
    assert decode([encode(pixels(4, 4, 3), "PNG", mode)], "f").shape == (1, channels, 4, 4)


def test_16_bits_are_refused_rather_than_cut(encode: Encode) -> None:
    data = encode(np.full((4, 4), 40_000, np.uint16))
    with pytest.raises(DataError, match=r"f: row 0 \(from 0\): pixels of mode 'I;16' \(PNG\); 8-bit"):
        decode([data], "f")


def test_images_of_two_sizes_are_refused_with_both(pictures: Pictures) -> None:
    images = pictures(300) + pictures(1, size=(9, 6))
    with pytest.raises(DataError, match=r"f: row 300 \(from 0\) is 6x9 pixels but row 0 is 8x8"):
        decode(images, "f")


def test_colour_in_the_test_of_a_grey_data_set_is_refused(pictures: Pictures) -> None:
    images = pictures(2, grey=True) + pictures(1)
    with pytest.raises(DataError, match=r"row 2 \(from 0\): the image is in colour, but the training"):
        decode(images, "f", channels=1)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"", "0 bytes of no known image format"),
        (lambda data: b"not an image", "12 bytes of no known image format"),
        (lambda data: data[: len(data) // 2], "cannot be decoded: .*[Tt]runcated"),
    ],
)
@pytest.mark.parametrize("row", [0, 1, 290])
def test_a_damaged_image_is_named(
    pictures: Pictures, damage: Callable[[bytes], bytes], message: str, row: int
) -> None:
    images = pictures(300, kind="JPEG", size=(16, 16))
    images[row] = damage(images[row])
    with pytest.raises(DataError, match=rf"f: row {row} \(from 0\): the image .*{message}"):
        decode(images, "f")


def test_of_two_damaged_images_the_first_is_named(
    pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode_module, "_PIXELS_WORTH_A_THREAD", 1)
    images = pictures(1000)
    images[200] = images[256] = images[999] = b""
    for _ in range(5):
        with pytest.raises(DataError, match="row 200"):
            decode(images, "f")
