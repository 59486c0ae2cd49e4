"""A real SLURM on this host: munged, slurmctld and two slurmd, with a configuration of their own.

Debian's `slurm-wlm` and `munge`, as root. Two nodes of two CPUs; partition `low` is preempted by `high`. Everything
lies in one temporary folder and ends by the pids that were started here.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

NODES = ("n1", "n2")
CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# a requeued job waits until the credentials of its last start have expired
AuthInfo=socket={home}/munge.socket,cred_expire=5
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool-%n
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd-%n.pid
SlurmctldLogFile={home}/slurmctld.log
SlurmdLogFile={home}/slurmd-%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
ReturnToService=2
SlurmdTimeout=300
KillWait=10
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
{nodes}
PartitionName=low Nodes=n1,n2 Default=YES PriorityTier=1 GraceTime=30
PartitionName=high Nodes=n1,n2 PriorityTier=10 PreemptMode=OFF
"""


def missing() -> str | None:
    """Why there can be no cluster here; None when there can."""
    absent = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if not shutil.which(name)]
    if absent:
        return f"needs {', '.join(absent)} (Debian packages slurm-wlm and munge)"
    return None if os.geteuid() == 0 else "slurmd starts jobs as root"


class SlurmCluster:
    """Started by `start`, ended by `stop`."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="slurm-"))
        self.home.chmod(0o755)
        self.env = {**os.environ, "SLURM_CONF": str(self.home / "slurm.conf")}
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> SlurmCluster:
        """Bring the daemons up; returns once both nodes are idle."""
        (self.home / "munge.key").write_bytes(os.urandom(128))
        (self.home / "munge.key").chmod(0o600)
        (self.home / "state").mkdir()
        host, ports = socket.gethostname(), free_ports(3)
        rows = [
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=2 RealMemory=4000 Gres=gpu:2"
            for name, port in zip(NODES, ports[1:], strict=True)
        ]
        text = CONF.format(home=self.home, host=host, control=ports[0], nodes="\n".join(rows))
        (self.home / "slurm.conf").write_text(text)
        (self.home / "gres.conf").write_text("Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n")
        (self.home / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        munge = [f"--{name}={self.home}/munge.{name.split('-')[0]}" for name in ("socket", "pid-file", "log-file")]
        self._run("munged", "--foreground", "--force", f"--key-file={self.home}/munge.key", *munge)
        self._await(lambda: (self.home / "munge.socket").exists(), "munged")
        self._run("slurmctld", "-D", "-f", str(self.home / "slurm.conf"))
        for name in NODES:
            (self.home / f"spool-{name}").mkdir()
            self.start_node(name)
        self._await(lambda: self.ask("sinfo", "-h", "-o", "%D %T", "-p", "low").split() == ["2", "idle"], "the nodes")
        return self

    def start_node(self, name: str) -> None:
        """Start (again) the daemon of a node."""
        self._run(f"slurmd-{name}", "-D", "-N", name, "-f", str(self.home / "slurm.conf"))

    def kill_node(self, name: str) -> None:
        """kill -9 of a node's daemon; its jobs go on without it."""
        daemon = self.daemons.pop(f"slurmd-{name}")
        daemon.kill()
        daemon.wait()

    def ask(self, *command: str) -> str:
        """Output of a SLURM command; empty when it fails."""
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=30)
        return done.stdout if done.returncode == 0 else ""

    def state(self, job: str) -> str:
        """JobState of a job."""
        words = self.ask("scontrol", "show", "job", "-o", job).split()
        return next((word.split("=", 1)[1] for word in words if word.startswith("JobState=")), "")

    def stop(self) -> None:
        """End jobs and daemons, and remove their folder."""
        self.ask("scancel", "-u", "root")
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline and self.ask("squeue", "-h"):
            time.sleep(0.3)
        for daemon in reversed(self.daemons.values()):
            daemon.send_signal(signal.SIGTERM)
        for daemon in self.daemons.values():
            try:
                daemon.wait(timeout=10)
            except subprocess.TimeoutExpired:
                daemon.kill()
        shutil.rmtree(self.home, ignore_errors=True)

    def _run(self, name: str, *arguments: str) -> None:
        with (self.home / f"{name}.out").open("ab") as out:
            self.daemons[name] = subprocess.Popen(
                [name.split("-")[0], *arguments], env=self.env, stdout=out, stderr=subprocess.STDOUT
            )

    def _await(self, ready: object, what: str) -> None:
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline:
            if ready():  # type: ignore[operator]
                return
            time.sleep(0.2)
        logs = "\n".join(path.read_text(errors="replace")[-1500:] for path in sorted(self.home.glob("*.log")))
        self.stop()
        raise RuntimeError(f"{what} did not come up\n{logs}")


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for item in sockets:
        item.bind(("127.0.0.1", 0))
    ports = [item.getsockname()[1] for item in sockets]
    for item in sockets:
        item.close()
    return ports
