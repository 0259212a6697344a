"""Encoded images (JPEG, PNG, …) → one array of pixels."""

import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image, UnidentifiedImageError

from mica.data.dataset import Images
from mica.errors import DataError

GREY_MODES = frozenset({"1", "L", "LA", "La"})
COLOUR_MODES = frozenset({"RGB", "RGBA", "RGBX", "RGBa", "P", "PA", "CMYK", "YCbCr"})

_CHUNK = 256
# Decoding a small image is mostly Python, where threads only stand in each other's way: 60,000 images
# of 32x32 took twice as long with two threads as with one. From about this size on they help.
_PIXELS_WORTH_A_THREAD = 160 * 160
_MOST_THREADS = 8


class _ColourAmongGrey(Exception):
    """A colour image in what looked like a grey data set."""

    def __init__(self, row: int) -> None:
        super().__init__(row)
        self.row = row


def decode(encoded: Sequence[bytes], file: str, channels: int | None = None) -> Images:
    """Decode every image: uint8 [N, C, H, W], N at least 1, all of the size of the first.

    C is `channels` where given (1 grey, 3 RGB), else 1 when every image is grey and 3 otherwise; grey
    images among colour ones become RGB, transparency is dropped.

    Raises `DataError` that names `file` and the row when an image cannot be decoded, has another size
    than the first, has more than 8 bits, or has colour where `channels` is 1.
    """
    guess = 1 if _open(encoded[0], file, 0).mode in GREY_MODES else 3
    try:
        return _decode_all(encoded, file, channels or guess)
    except _ColourAmongGrey as found:
        if channels == 1:
            raise DataError(
                f"{file}: row {found.row} (from 0): the image is in colour, but the training images are grey"
            ) from None
        return _decode_all(encoded, file, 3)


def _decode_all(encoded: Sequence[bytes], file: str, channels: int) -> Images:
    width, height = _open(encoded[0], file, 0).size
    pixels = np.empty((len(encoded), channels, height, width), dtype=np.uint8)

    def decode_chunk(start: int) -> None:
        stop = min(start + _CHUNK, len(encoded))
        chunk_nhwc = np.empty((stop - start, height, width, channels), dtype=np.uint8)
        for row in range(start, stop):
            image = _open(encoded[row], file, row)
            if image.size != (width, height):
                raise DataError(
                    f"{file}: row {row} (from 0) is {image.width}x{image.height} pixels but row 0 is "
                    f"{width}x{height}; all images must be of one size"
                )
            chunk_nhwc[row - start] = _pixels(image, channels, file, row)
        pixels[start:stop] = chunk_nhwc.transpose(0, 3, 1, 2)

    threads = min(_MOST_THREADS, os.cpu_count() or 1) if width * height >= _PIXELS_WORTH_A_THREAD else 1
    with ThreadPoolExecutor(threads) as pool:
        chunks = [pool.submit(decode_chunk, start) for start in range(0, len(encoded), _CHUNK)]
        try:
            # In order of rows, so that of several bad images it is always the first that is named.
            for chunk in chunks:
                chunk.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return pixels


def _open(data: bytes, file: str, row: int) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        # Pillow's own words name the object that it was given, which tells a reader nothing.
        raise _undecodable(file, row, f"{len(data):,} bytes of no known image format") from None
    except Exception as error:
        raise _undecodable(file, row, error) from error


def _pixels(image: Image.Image, channels: int, file: str, row: int) -> Images:
    """uint8 [H, W, C] of one opened image."""
    if image.mode not in GREY_MODES | COLOUR_MODES:
        raise DataError(
            f"{file}: row {row} (from 0): pixels of mode {image.mode!r} ({image.format}); "
            "8-bit grey or colour is needed"
        )
    if channels == 1 and image.mode not in GREY_MODES:
        raise _ColourAmongGrey(row)
    mode = "L" if channels == 1 else "RGB"
    try:
        image.load()
        data = (image if image.mode == mode else image.convert(mode)).tobytes()
    # Damaged files make Pillow's decoders raise almost anything: OSError, SyntaxError, struct.error, …
    except Exception as error:
        raise _undecodable(file, row, error) from error
    return np.frombuffer(data, dtype=np.uint8).reshape(image.height, image.width, channels)


def _undecodable(file: str, row: int, reason: object) -> DataError:
    return DataError(f"{file}: row {row} (from 0): the image cannot be decoded: {reason}")
