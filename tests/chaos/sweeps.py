"""The sweeps that are broken: small networks that train for real, in every form."""

from pathlib import Path

_HEAD = """\
name: chaos
data: {{name: synthetic, size: 8, channels: 1, classes: 4, train: 200, test: 40}}
seeds: {seeds}
mlflow: {mlflow}
keep: {keep}
compact: {compact}
times: {{claim: {claim}, checkpoint: {checkpoint}, stall: {stall}}}
"""
MLP = """\
models: {name: mlp, hidden: [16, 16]}
ratios: [4, 30]
methods: [dense, rpi-erk, mica-erk, mica-igq]
protocol: {epochs: 12, batch_size: 16, lr: 0.05, augment: none}
"""
"""Seven trials a seed, some tenths of a second each."""
CONVOLUTIONS = """\
models: ["tests.chaos.networks:small"]
ratios: [3, 20]
methods: [dense, mica-erk, rpi-igq]
protocol: {epochs: 6, batch_size: 32, lr: 0.05, augment: crop-flip}
"""
"""Batch norm, dropout and augmentation; dense, compact and edge by edge."""


def write_sweep(
    folder: Path,
    body: str,
    *,
    seeds: int = 3,
    keep: str = "nothing",
    compact: bool = True,
    mlflow: str = "false",
    claim: float = 2.0,
    checkpoint: float = 0.01,
    stall: float = 900.0,
    storage: str | None = None,
) -> Path:
    """The file `sweep.yaml` in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    head = _HEAD.format(
        seeds=list(range(seeds)), mlflow=mlflow, keep=keep, compact=str(compact).lower(), claim=claim,
        checkpoint=checkpoint, stall=stall,
    )  # fmt: skip
    file = folder / "sweep.yaml"
    file.write_text(f"{head}{body}storage: {storage or folder / 'results/chaos'}\n")
    return file
