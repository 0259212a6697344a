"""One attempt at a trial's training: it goes on from a checkpoint, and leaves others on its way."""

import logging
import socket
import time
from collections.abc import Callable, Sequence

from mica.training.engine import OnStep, train_together
from mica.training.forms import Form, Held, enter
from mica.training.images import ImageSet
from mica.training.move import move
from mica.training.state import Epoch, TrainState
from mica.trial.checkpoint import BadCheckpoint, Checkpoint, pack, unpack
from mica.trial.keeper import Keeper
from mica.trial.prepare import PreparedTrial
from mica.trial.record import Provenance
from mica.trial.spec import TrialSpec

OnEpoch = Callable[[TrialSpec, Epoch], None] | None
"""Called after every epoch that is trained here."""


class Attempt:
    """A training that begins where the newest sound checkpoint was left, else at the start."""

    def __init__(self, trial: PreparedTrial, keeper: Keeper | None) -> None:
        self.trial, self._keeper = trial, keeper
        self._held: tuple[Form, Held] | None = None
        self._remarks: list[str] = []
        sound = self._newest_sound() if keeper else None
        state = sound.state if sound else trial.begin()
        self.form = self._enter(state)
        """What is trained."""
        self._hosts_before = sound.hosts if sound else ()
        self._saved, self._saved_at = state.epoch, time.monotonic()

    def _enter(self, state: TrainState) -> Form:
        trial = self.trial
        return enter(trial.model, trial.graph, state, trial.device, smaller=trial.spec.compact)

    def added_to(self, where: Provenance) -> Provenance:
        """The provenance of this process, with what earlier attempts had to do with it.

        Of their time only that of the epochs which this attempt did not have to repeat.
        """
        came = {
            "hosts": self._hosts if self._hosts_before else (),
            "seconds_train": sum(row.seconds for row in self.form.rows),
            "remarks": (*where.remarks, *self._remarks),
        }
        return where.model_copy(update=came)

    @property
    def _hosts(self) -> tuple[str, ...]:
        here = (socket.gethostname(),)
        return self._hosts_before if self._hosts_before[-1:] == here else self._hosts_before + here

    @property
    def sociable(self) -> bool:
        """Whether it can train beside others."""
        protocol = self.trial.spec.protocol
        return self.form.sociable and protocol.precision == "fp32" and not protocol.moving

    def train(self, on_epoch: OnEpoch = None, on_step: OnStep = None) -> None:
        """Train to the end, with a checkpoint from time to time; see `mica.trial.run`."""
        train_all([self], on_epoch, on_step)

    @property
    def next_stop(self) -> int:
        """The epoch after which masks move next, or the last one."""
        protocol, done = self.trial.spec.protocol, self.form.epoch
        return next(filter(protocol.moves_after, range(done + 1, protocol.epochs)), protocol.epochs)

    def move(self, images: ImageSet) -> None:
        """Move the masks, if the protocol says so after this epoch; the form is another then."""
        trial, rows = self.trial, self.form.rows
        if rows and rows[-1].finite and trial.spec.protocol.moves_after(rows[-1].number):
            state = self.form.leave()
            self.form = self._enter(
                move(state, trial.model, trial.graph, images, trial.spec.protocol, trial.spec.seed)
            )

    def hold(self) -> None:
        """Copy what the form has come to, and save it if the time has come."""
        if self._keeper:
            self._held = self.form, self.form.hold()
            if time.monotonic() - self._saved_at >= self._keeper.every:
                self.save()

    def save(self) -> None:
        if not self._keeper or not self._held or len(self._held[1].rows) <= self._saved:
            return
        form, held = self._held
        epoch = len(held.rows)
        content = pack(self.trial, form.leave(held), self._hosts, tuple(self._remarks))
        try:
            self._keeper.save(epoch, content)
            self._saved = epoch
        except OSError as error:
            _warn("epoch %d of %s has no checkpoint: %s", epoch, self.trial.spec, error)
        self._saved_at = time.monotonic()  # after a failure too: the next is tried after the usual time

    def _newest_sound(self) -> Checkpoint | None:
        assert self._keeper
        try:
            for name, content in self._keeper.found():
                try:
                    sound = unpack(content, self.trial)
                except BadCheckpoint as bad:
                    self._refuse(name, bad.reason)
                    continue
                went_on = f"went on after epoch {sound.state.epoch}, from checkpoint {name}"
                self._remarks = [*sound.remarks, *self._remarks, went_on]
                return sound
        except OSError as error:
            _warn("checkpoints of %s cannot be read: %s", self.trial.spec, error)
            self._remarks.append(f"checkpoints could not be read: {error}")
        if self._remarks:
            self._remarks.append("began again at epoch 1")
        return None

    def _refuse(self, name: str, reason: str) -> None:
        assert self._keeper
        self._remarks.append(f"checkpoint {name} was set aside: {reason}")
        try:
            self._keeper.refuse(name, reason)
        except OSError as error:
            _warn("checkpoint %s cannot be set aside: %s", name, error)


def train_all(attempts: Sequence[Attempt], on_epoch: OnEpoch = None, on_step: OnStep = None) -> None:
    """Train attempts that stand at the same epoch of the same protocol, seed and data: `train_together`."""
    trial = attempts[0].trial
    parts, protocol, seed = trial.parts(), trial.spec.protocol, trial.spec.seed
    try:
        going = True
        while going:
            for attempt in attempts:
                attempt.move(parts.train)
            of, going = {id(attempt.form): attempt for attempt in attempts}, False
            forms = [attempt.form for attempt in attempts]
            for found in train_together(forms, parts, protocol, seed, on_step, attempts[0].next_stop):
                going = True
                for form, epoch in found:
                    of[id(form)].hold()
                    if on_epoch:
                        on_epoch(of[id(form)].trial.spec, epoch)
    except Exception:
        raise  # an error would come again
    except BaseException:
        for attempt in attempts:
            attempt.save()
        raise


def _warn(message: str, *about: object) -> None:
    logging.getLogger(__name__).warning(message, *about)
