"""A Slurm of two nodes on this machine, its controller and daemons our own: Debian's slurm-wlm and munge."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.services.processes import Service, free_port

_CONF = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SwitchType=switch/none
MpiDefault=none
ReturnToService=1
KillWait=20
SlurmctldPort={ports[0]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/ctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/ctld.log
SlurmdLogFile={folder}/slurmd.%n.log
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=9000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=9000
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@dataclass(frozen=True)
class Slurm:
    environment: Mapping[str, str]

    def call(self, *command: str) -> str:
        """What one of Slurm's own programs says."""
        found = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=180)
        assert found.returncode == 0, found.stdout + found.stderr
        return found.stdout

    def states(self) -> dict[str, str]:
        """Task of a job, such as `12_3` → its state; those that have ended go after a while."""
        lines = self.call("squeue", "--noheader", "--array", "--states=all", "--format=%i %T").splitlines()
        return dict(line.split() for line in lines)


@contextmanager
def running_slurm() -> Iterator[Slurm]:
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    (folder / "state").mkdir()
    for node in ("n1", "n2"):
        (folder / "spool" / node).mkdir(parents=True)
    conf = folder / "slurm.conf"
    ports = [free_port() for _ in range(3)]
    conf.write_text(_CONF.format(host=socket.gethostname(), folder=folder, ports=ports))
    environment = {**os.environ, "SLURM_CONF": str(conf)}
    slurm = Slurm(environment)
    with _munge():
        control = Service(["slurmctld", "-D", "-c"], folder / "c.log", lambda: _answers(slurm), environment)
        daemons = [
            Service(["slurmd", "-D", "-N", node], folder / f"{node}.log", lambda: True, environment)
            for node in ("n1", "n2")
        ]
        try:
            for service in (control, *daemons):
                service.start()
            _wait_for_nodes(slurm)
            yield slurm
        finally:
            for service in (*daemons, control):
                service.kill()
            shutil.rmtree(folder, ignore_errors=True)


def _answers(slurm: Slurm) -> bool:
    return subprocess.run(["scontrol", "ping"], env=slurm.environment, capture_output=True).returncode == 0


def _wait_for_nodes(slurm: Slurm) -> None:
    until = time.monotonic() + 240
    while (found := slurm.call("sinfo", "--noheader", "--Node", "--format=%T")).split() != ["idle", "idle"]:
        assert time.monotonic() < until, found
        time.sleep(0.5)


@contextmanager
def _munge() -> Iterator[None]:
    """Who answers for users among Slurm's processes; the machine's own, where it runs already."""
    if subprocess.run(["munge", "-n"], capture_output=True).returncode == 0:
        yield
        return
    subprocess.run(["install", "-d", "-o", "munge", "-g", "munge", "-m", "755", "/run/munge"], check=True)
    daemon = Service(
        ["runuser", "-u", "munge", "--", "/usr/sbin/munged", "--foreground"],
        Path(tempfile.gettempdir(), "munged.log"),
        lambda: subprocess.run(["munge", "-n"], capture_output=True).returncode == 0,
    )
    daemon.start()
    try:
        yield
    finally:
        daemon.kill()
