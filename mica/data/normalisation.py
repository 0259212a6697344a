"""The mean and standard deviation that a data set's pixels are normalised by."""

import numpy as np
from numpy.typing import NDArray

_CHUNK = 1024


def channel_statistics(images: NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and (population) standard deviation per channel of uint8 [N, C, H, W], for pixels in 0..1.

    Counts how often each of the 256 values occurs, so that the result is exact whatever the order
    of summation, and no float copy of the images is made.
    """
    channels = images.shape[1]
    counts = np.zeros((channels, 256), dtype=np.int64)
    for start in range(0, len(images), _CHUNK):
        for channel in range(channels):
            values = images[start : start + _CHUNK, channel].ravel()
            counts[channel] += np.bincount(values, minlength=256)
    shares = counts / counts.sum(axis=1, keepdims=True)
    levels = np.arange(256) / 255
    mean = shares @ levels
    variance = (shares * (levels - mean[:, None]) ** 2).sum(axis=1)
    return tuple(mean.tolist()), tuple(np.sqrt(variance).tolist())
