"""Forms: what a masked network is trained as. All compute the same numbers, but for rounding.

A form enters from a `TrainState` and leaves to one, so that a training may go on in another form, in another
process, or with other masks.
"""

from mica.training.forms.choice import enter
from mica.training.forms.form import Form, Held

__all__ = ["Form", "Held", "enter"]
