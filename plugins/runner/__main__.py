"""Runs one arm with one seed: python -m plugins.runner METRICS --data MANIFEST.

METRICS is the run's declared output, results/runs/<scale>/<study>/<ablation>/<arm>/seed<k>/metrics.json; the path is
the run's whole identity, what it does is looked up in `experiments/`. Training, evaluation and measuring happen in this
one process, because importing the frameworks costs as much as a short training. A run that was killed goes on from its
last checkpoint. `train.log` beside METRICS holds the output and the engine's own command.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import random
import shlex
import shutil
import sys
import time
import traceback
from pathlib import Path

import yaml

from plugins.runner import device, provenance, state
from plugins.runner.engines import load_engine
from plugins.suite import files
from plugins.suite.catalog import digest, resolve_metrics_path
from plugins.suite.errors import UserError
from plugins.suite.sources import ROOT, training_sources


def main(argv: list[str] | None = None) -> int:
    """Returns 0 when metrics.json was written, 1 when the run failed, 2 when the user must mend something."""
    parser = argparse.ArgumentParser(prog="python -m plugins.runner", description=__doc__.split("\n")[0])
    parser.add_argument("metrics", help="results/runs/<scale>/<study>/<ablation>/<arm>/seed<k>/metrics.json")
    parser.add_argument("--data", required=True, help="manifest.json of the prepared data set")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--spec", help="digest of the spec that the DAG scheduled; a mismatch is an error")
    args = parser.parse_args(argv)
    run_dir = Path(args.metrics).parent
    try:
        spec = resolve_metrics_path(args.metrics)
        if args.spec and args.spec != digest(spec):
            raise UserError(f"{args.metrics}: experiments/ changed since this run was scheduled; start again")
        with state.alone(run_dir):
            return _guarded(spec, Path(args.data).parent, run_dir, args.device)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _guarded(spec: dict, data: Path, run_dir: Path, wanted: str) -> int:
    """Runs, and turns whatever goes wrong into one line, a trace in the log and `error.json`."""
    (run_dir / "error.json").unlink(missing_ok=True)
    (run_dir / "metrics.json").unlink(missing_ok=True)
    with (run_dir / "train.log").open("a", buffering=1) as log:
        try:
            with device.take(wanted, spec["train"].get("gpus", 1)) as kind, _all_output_to(log):
                metrics = _run(spec, data, run_dir, kind)
                files.write_json(run_dir / "metrics.json", metrics)
        except KeyboardInterrupt:
            state.record_failure(run_dir, "interrupted")
            raise
        except BaseException as error:  # noqa: BLE001 - frameworks raise SystemExit too; nothing may pass as finished
            log.write(traceback.format_exc())
            message = _one_line(error)
            state.record_failure(run_dir, message)
            print(
                f"error: {spec['study']}/{spec['ablation']}/{spec['arm']} seed {spec['seed']}: {message}",
                file=sys.stderr,
            )
            print(f"       the whole story: {run_dir / 'train.log'}", file=sys.stderr)
            return 2 if isinstance(error, UserError) else 1
    return 0


@contextlib.contextmanager
def _all_output_to(log):
    """Sends Python's output and that of compiled libraries (file descriptors 1 and 2) to the log."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [(fd, os.dup(fd)) for fd in (1, 2)]
    try:
        for fd, _ in kept:
            os.dup2(log.fileno(), fd)
        with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            yield
    finally:
        for fd, copy in kept:
            os.dup2(copy, fd)
            os.close(copy)


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return (
            f"the disk is full ({error.filename or 'while writing'}); free some space and start again, nothing is lost"
        )
    text = " ".join(str(error).split()) or "no message"
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"


def _run(spec: dict, data: Path, run_dir: Path, kind: str) -> dict:
    begin, started = time.perf_counter(), state.now()
    commit, dirty = provenance.commit()
    manifest = _manifest(data)
    (run_dir / "spec.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    engine = load_engine(spec)
    _seed(spec["seed"], spec["threads"])
    print(f"# {shlex.join(engine.command(spec, data, run_dir))}", flush=True)
    _claim_checkpoints(spec, manifest["checksum"], run_dir)
    walls = {}

    def timed(name, call):
        start = time.perf_counter()
        result = call()
        walls[name] = round(time.perf_counter() - start, 2)
        return result

    trained = timed("train", lambda: engine.train(spec, data, run_dir))
    evaluated = timed("evaluate", lambda: engine.evaluate(spec, data, run_dir))
    cost = timed("measure", lambda: _measure(engine, spec, data, kind))
    total = time.perf_counter() - begin
    walls["outside"] = round(total - sum(walls.values()), 2)
    # An engine that knows counts the seconds of training before a restart too.
    walls["train"] = round(trained.get("seconds", walls["train"]), 2)
    walls["total"] = round(sum(walls.values()), 2)
    identity = {key: spec[key] for key in ("scale", "study", "ablation", "arm", "seed", "task", "engine")}
    return identity | {
        "schema": 1,
        "status": "done",
        "metrics": evaluated["metrics"],
        "primary": evaluated["primary"],
        "losses": trained["losses"] | evaluated.get("losses", {}),
        "details": evaluated.get("details", {}),
        "cost": cost,
        "wall_s": walls,
        "settings": trained["settings"] | evaluated["settings"],
        "data": {"name": manifest["name"], "checksum": manifest["checksum"]},
        "provenance": {
            "commit": commit,
            "dirty": dirty,
            "sources_sha256": provenance.digest_files(imported_sources()),
            "sources": imported_sources(),
            "spec_sha256": digest(spec),
            "versions": provenance.versions(),
            "device": _device_name(kind),
            "threads": spec["threads"],
            "started": started,
            "finished": state.now(),
        },
    }


def _claim_checkpoints(spec: dict, data: str, run_dir: Path) -> None:
    """Drops what another recipe, data, sources or pre-training left in this folder: nothing may go on from it."""
    training = {key: value for key, value in spec.items() if key not in ("evaluate", "measure")}
    training["averaged_checkpoints"] = spec["evaluate"].get("averaged_checkpoints")
    sources = provenance.digest_files(training_sources(spec))
    identity = {"spec": digest(training), "data": data, "sources": sources, "torch": provenance.versions()["torch"]}
    if "pretrained" in spec:
        identity["pretrained"] = _digest_of_pretraining(Path(spec["pretrained"]))
    stamp = run_dir / "identity.json"
    if stamp.is_file() and json.loads(stamp.read_text()) != identity:
        print("the recipe, data, sources or pre-training changed since the last checkpoint: training anew", flush=True)
        shutil.rmtree(run_dir / "checkpoints", ignore_errors=True)
        (run_dir / "curves.jsonl").unlink(missing_ok=True)
    files.write_json(stamp, identity)


def _digest_of_pretraining(metrics: Path) -> str:
    """What tells one training of the run that this one starts from from the next."""
    if not metrics.is_file():
        raise UserError(f"{metrics}: missing; this run starts from the weights of that one, so let it finish first")
    return provenance.digest_files([str(metrics)])


def imported_sources() -> list[str]:
    """The files of this project's `plugins` that this process has imported, relative to the repository."""
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    inside = {Path(file).resolve() for file in files if file}
    return sorted(str(f.relative_to(ROOT)) for f in inside if f.is_relative_to(ROOT / "plugins") and f.suffix == ".py")


def _manifest(data: Path) -> dict:
    from plugins.suite.data import verify

    return verify(data / "manifest.json")


def _measure(engine, spec: dict, data: Path, kind: str) -> dict:
    from plugins.runner.measure import measure

    model, forward, train_step = engine.measured_model(spec, data)
    geometry = json.dumps(spec.get("measure", {}))
    return {"macs_input": geometry} | measure(model, forward, train_step, kind)


def _seed(seed: int, threads: int) -> None:
    import numpy
    import torch

    torch.set_num_threads(threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)


def _device_name(kind: str) -> str:
    if kind == "cpu":
        return provenance.processor()
    import torch

    return torch.cuda.get_device_name()


if __name__ == "__main__":
    sys.exit(main())
