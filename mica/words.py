"""The choices that more than one floor of the house speaks of."""

from typing import Literal

Rounding = Literal["floor", "exact"]
"""`floor` rounds each layer's budget down, as the published results did; `exact` meets the total."""

BudgetKind = Literal["nominal", "corrected"]
"""The distribution's own budget, or the functional counts of the mask that MiCA is compared with."""

NodeCounts = Literal["random", "max", "min"]
"""Where in its range (equation 3) MiCA chooses the number of channels that a layer uses."""

BatchNormMode = Literal["eval", "train"]
"""Whether batch norm uses its running statistics or each batch's own."""

Keep = Literal["nothing", "masks", "weights"]
"""What a trial leaves besides its record; `weights` includes the masks."""

Outcome = Literal["completed", "collapsed", "diverged", "failed"]
"""How a trial ended. Collapsed: no functional edge, not trained. Diverged: a loss was not finite."""
