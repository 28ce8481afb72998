"""The DAG on a SLURM cluster of this machine: a job is cancelled and a node drained on the way, and nothing is lost.

Skipped where SLURM, munge or snakemake's plugin is not installed; `make test-slurm` installs what it can and then
refuses to skip.
"""

import importlib.util
import json
import os
import subprocess
import sys
import time

import pytest

from tests.end_to_end.conftest import REPOSITORY, make_project
from tests.slurm.cluster import Cluster, missing

PLUGIN = "snakemake_executor_plugin_slurm"
SEEDS = (1, 2, 3)
ARMS = ("transformer", "muse")


def lacking() -> str:
    """What is not installed, in words; "" where all is."""
    programs = missing()
    if programs:
        return f"{', '.join(programs)} not installed; Debian: slurm-wlm munge"
    return "" if importlib.util.find_spec(PLUGIN) else f"{PLUGIN} not installed; run make cluster"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    reason = lacking()
    if reason and os.environ.get("CONVATTN_NEEDS_SLURM"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    with Cluster(tmp_path_factory.mktemp("slurm")) as running:
        yield running


def project(root):
    """The tiny project with its one translation study and three seeds."""
    root.mkdir()
    tiny = make_project(root)
    tiny.edit("experiments/config.yaml", lambda config: config.update(studies=["muse"], seeds=list(SEEDS)))
    return tiny


def scores(tiny) -> dict:
    """What was measured in every run."""
    return {
        (arm, seed): tiny.metrics(f"muse/tiny/{arm}/seed{seed}")["metrics"]
        | tiny.metrics(f"muse/tiny/{arm}/seed{seed}")["losses"]
        for arm in ARMS
        for seed in SEEDS
    }


def until(holds, seconds: float):
    """What `holds` returns as soon as that is something. AssertionError after so many seconds."""
    end = time.monotonic() + seconds
    while not (value := holds()):
        assert time.monotonic() < end, "the cluster did not come so far in time"
        time.sleep(0.2)
    return value


def trainings(cluster) -> list:
    return [job for job in cluster.jobs() if "train" in job[1]]


def test_the_dag_survives_a_cancelled_job_and_a_drained_node(cluster, tmp_path):
    local, remote = project(tmp_path / "local"), project(tmp_path / "remote")
    done = local.snakemake()
    assert done.returncode == 0, done.stderr[-3000:]

    command = [
        *(sys.executable, "-m", "snakemake", "--profile", str(REPOSITORY / "profiles/slurm"), "--latency-wait", "30"),
        *("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2", "--slurm-no-account"),
        *("--set-resources", "train:mem_mb=1000", "train:runtime=20"),
    ]
    with (tmp_path / "snakemake.log").open("w") as log:
        process = subprocess.Popen(command, cwd=remote.root, env=cluster.environment, stdout=log, stderr=log)
        try:
            first, second = until(lambda: len(jobs := trainings(cluster)) >= 2 and jobs[:2], 180)
            cluster.call("scancel", first[0])
            cluster.call("scontrol", "update", f"nodename={second[2]}", "state=drain", "reason=a test")
            assert process.wait(timeout=480) == 0, (tmp_path / "snakemake.log").read_text()[-4000:]
        finally:
            process.terminate()
            process.wait()
    assert first[0] in (tmp_path / "snakemake.log").read_text(), "the failure does not name the cancelled job"
    assert scores(remote) == scores(local)
    ledgers = [
        json.dumps(sorted(p.name for p in (x.root / "results/mini").rglob("ledger.csv"))) for x in (local, remote)
    ]
    assert ledgers[0] == ledgers[1] != "[]"
