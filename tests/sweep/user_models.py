"""A module of a user's own, with networks that go wrong in different ways."""

from pathlib import Path

SOURCE = '''
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from torch import nn

HERE = Path("HERE IT LIES")  # and not where a cluster's worker has its copy


def sound(input_shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, classes))


def wide(input_shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 1000))


def failing(input_shape, classes):
    """Fails as soon as it trains, with what looks like markup."""
    def fail(model, images):
        if model.training:
            raise RuntimeError("this network [/red] never trains")
    model = sound(input_shape, classes)
    model.register_forward_pre_hook(fail)
    return model


def dying(input_shape, classes):
    """Takes its process along as soon as it trains."""
    def die(model, images):
        if model.training:
            os._exit(1)
    model = sound(input_shape, classes)
    model.register_forward_pre_hook(die)
    return model


class Placed(nn.Sequential):
    """Notes each mask that is made of it, in a file named after the option `note`."""
    note = ""
    def to(self, *where, **how):
        with open((HERE / self.note), "a") as file:
            file.write("x")
        return super().to(*where, **how)


def counted(input_shape, classes, note="runs"):
    model = Placed(*sound(input_shape, classes))
    model.note = note
    return model


def deadly(input_shape, classes):
    """Takes its process along before it has a mask."""
    class Deadly(Placed):
        note = "deaths"
        def to(self, *where, **how):
            super().to(*where, **how)
            os._exit(1)
    return Deadly(*sound(input_shape, classes))


def mortal(input_shape, classes):
    """Is killed with its process, the first time."""
    class Mortal(Placed):
        note = "mortal"
        def to(self, *where, **how):
            first = not (HERE / self.note).exists()
            super().to(*where, **how)
            if first:
                os.kill(os.getpid(), signal.SIGKILL)
            return self
    return Mortal(*sound(input_shape, classes))


def lasting(input_shape, classes):
    """Notes its process, and takes a second to make a mask of."""
    class Lasting(nn.Sequential):
        def to(self, *where, **how):
            with open(HERE / "processes", "a") as file:
                print(os.getpid(), file=file)
            time.sleep(1)
            return super().to(*where, **how)
    return Lasting(*sound(input_shape, classes))


def noting(input_shape, classes):
    """Notes its process once it trains."""
    def note(model, images):
        if model.training and not noted:
            noted.append(os.getpid())
            with open(HERE / "processes", "a") as file:
                print(os.getpid(), file=file)
    noted, model = [], sound(input_shape, classes)
    model.register_forward_pre_hook(note)
    return model


def orphaning(input_shape, classes):
    """The first of all kills the sweep's desk."""
    class Orphaning(Placed):
        note = "orphaned"
        def to(self, *where, **how):
            first = not (HERE / self.note).exists()
            super().to(*where, **how)
            if first:
                here = f"PPid:\\t{os.getppid()}\\n"  # whatever else runs on this machine
                for process in Path("/proc").glob("[0-9]*"):
                    with suppress(OSError):  # many end meanwhile
                        desk = (process / "cmdline").read_bytes().startswith(b"ray::Desk")
                        if desk and here in (process / "status").read_text():
                            os.kill(int(process.name), signal.SIGKILL)
            return self
    return Orphaning(*sound(input_shape, classes))


def spoiling(input_shape, classes):
    """Puts a file where the records' folder should be."""
    class Spoiling(Placed):
        note = "spoiled"
        def to(self, *where, **how):
            records = HERE / "results" / "records"
            if not records.is_file():
                records.touch()
            return super().to(*where, **how)
    return Spoiling(*sound(input_shape, classes))


class Gate(nn.Module):
    def forward(self, x):
        return x * 2 if x.sum() > 0 else x


def untraceable(input_shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), Gate(), nn.Linear(16, classes))


def unbuildable(input_shape, classes):
    raise TypeError("cannot be built")
'''


def write(folder: Path, name: str = "models_of_mine") -> None:
    (folder / f"{name}.py").write_text(SOURCE.replace("HERE IT LIES", str(folder)))
