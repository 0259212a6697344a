"""Edge-wise convolution: compute with the edges that a mask keeps, one by one, and with nothing else.

A compact network's layers are still mostly zeros: at a compression ratio of 10^4, three dozen edges in a
kernel of some hundreds. On a CPU these kernels read and multiply the kept edges alone, with batch norm, ReLU
and max pooling done while a channel is still in cache. Arrays lie as (channels, rows, columns, images), CHWN:
with the images innermost every loop runs over neighbours in memory, however few pixels a layer has.
"""

from mica.edgewise.substitution import Edgewise, edgewise

__all__ = ["Edgewise", "edgewise"]
