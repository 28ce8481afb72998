"""Runs one arm with one seed: python -m plugins.runner METRICS --data MANIFEST.

METRICS is the run's declared output, results/runs/<scale>/<study>/<ablation>/<arm>/seed<k>/metrics.json; the path is
the run's whole identity, what it does is looked up in `experiments/`. Training, evaluation and measuring happen in this
one process, because importing the frameworks costs as much as a short training. A run that was killed resumes from its
last checkpoint. Beside METRICS: items.parquet (what was scored, item by item), spec.yaml, and train.log with the output
and the engine's own command.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import shlex
import signal
import sys
import time
import traceback
from pathlib import Path

import yaml

from plugins.runner import device, eager, provenance, state, warm
from plugins.runner.engines import load_engine
from plugins.runner.seeding import seed_everything
from plugins.suite import data, files, items, sources
from plugins.suite.catalog import digest, resolve_metrics_path
from plugins.suite.errors import UserError
from plugins.suite.freshness import IDENTITY, SCHEMA


def main(argv: list[str] | None = None) -> int:
    """Returns 0 when metrics.json was written, 1 when the run failed, 2 when the user must mend something."""
    args = _arguments(argv)
    run_dir = Path(args.metrics).parent
    command = ["python", "-m", "plugins.runner", args.metrics, "--data", args.data, "--device", args.device]
    try:
        spec = resolve_metrics_path(args.metrics)
        if args.spec and args.spec != digest(spec):
            raise UserError(f"{args.metrics}: experiments/ changed since this run was scheduled; start again")
        with state.alone(run_dir), _terminable():
            return _guarded(spec, Path(args.data), run_dir, args.device, shlex.join(command))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m plugins.runner", description=__doc__.split("\n")[0])
    parser.add_argument("metrics", help="results/runs/<scale>/<study>/<ablation>/<arm>/seed<k>/metrics.json")
    parser.add_argument("--data", required=True, help="manifest.json of the prepared data set")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--spec", help="digest of the spec that the DAG scheduled; a mismatch is an error")
    return parser.parse_args(argv)


def _main_warm() -> int:
    """`main` in a process that has imported the engine already, where `warm` has one, or else in this one."""
    args = _arguments(None)
    try:
        spec = resolve_metrics_path(args.metrics)
    except UserError:
        return main()
    on_processor = args.device == "cpu" or (args.device == "auto" and not device.visible())
    status = warm.run(sys.argv[1:], spec) if on_processor and spec["train"]["gpus"] == 1 else None
    return main() if status is None else status


@contextlib.contextmanager
def _terminable():
    """Within it SIGTERM raises, so that a run that a scheduler ends leaves its `error.json` too."""

    def stop(number, frame):
        raise SystemExit("terminated")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _guarded(spec: dict, manifest: Path, run_dir: Path, wanted: str, command: str) -> int:
    """Runs, and turns whatever goes wrong into one line, a trace in the log and `error.json`."""
    with (run_dir / "train.log").open("a", buffering=1) as log:
        try:
            state.drop_outdated(run_dir, spec)
            with device.take(wanted, spec["train"]["gpus"]) as kind, _all_output_to(log):
                metrics = _run(spec, manifest, run_dir, kind, command)
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


def _run(spec: dict, manifest_path: Path, run_dir: Path, kind: str, command: str) -> dict:
    """Trains, evaluates and measures; returns the content of metrics.json. UserError where the sources or the data
    changed on the way: the numbers would name what did not make them."""
    begin, started, folder = time.perf_counter(), state.now(), manifest_path.parent
    commit, sources_before = provenance.commit(), provenance.source_hashes(spec)
    recipe_dirty = provenance.is_dirty(commit, provenance.recipe_files(spec["study"]))
    manifest = data.verify(manifest_path)
    data.check_spec(manifest, spec["data"], manifest_path)
    data_before = data.stamps(folder)
    (run_dir / "spec.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    engine = load_engine(spec)
    eager.without_compiler()
    seed_everything(spec["seed"], spec["threads"])
    print(f"# {shlex.join(engine.command(spec, folder, run_dir))}", flush=True)
    started_from = _pretraining(engine, spec)
    state.claim(run_dir, _identity(spec, manifest, started_from))

    trained, train_s = _timed(engine.train, spec, folder, run_dir)
    evaluated, evaluate_s = _timed(engine.evaluate, spec, folder, run_dir)
    cost, measure_s = _timed(_measure, engine, spec, folder)
    scored = _write_items(spec, evaluated, folder, run_dir)
    data.check_unchanged(folder, data_before)
    used = provenance.check_unchanged(spec, sources_before)
    outside_s = time.perf_counter() - begin - train_s - evaluate_s - measure_s
    # An engine that knows counts the seconds of training before a restart too.
    walls = {"train": trained.get("seconds", train_s), "evaluate": evaluate_s, "measure": measure_s}
    walls |= {"outside": outside_s, "total": sum(walls.values()) + outside_s}
    return {
        "schema": SCHEMA,
        **{key: spec[key] for key in (*IDENTITY, "task", "engine")},
        "status": "done",
        "metrics": evaluated["metrics"],
        "primary": evaluated["primary"],
        "losses": trained["losses"] | evaluated.get("losses", {}),
        "details": evaluated.get("details", {}),
        "cost": cost,
        "wall_s": {name: round(seconds, 2) for name, seconds in walls.items()},
        "settings": trained["settings"] | evaluated["settings"],
        "items": scored,
        "data": {key: manifest[key] for key in ("name", "checksum", "generator")},
        **({"pretrained": started_from} if started_from else {}),
        "provenance": {
            "commit": commit,
            "dirty": recipe_dirty or provenance.is_dirty(commit, used),
            "sources_sha256": sources.code_digest(sources.result_sources(spec)),
            "sources": provenance.imported_sources(),
            "spec_sha256": digest(spec),
            **provenance.machine(kind, spec["threads"]),
            "started": started,
            "finished": state.now(),
            "command": command,
        },
    }


def _timed(call, *args) -> tuple[dict, float]:
    start = time.perf_counter()
    return call(*args), time.perf_counter() - start


def _identity(spec: dict, manifest: dict, started_from: dict | None) -> dict:
    """What a checkpoint belongs to; one of another identity is of no use."""
    training = {key: value for key, value in spec.items() if key not in ("evaluate", "measure")}
    training["averaged_checkpoints"] = spec["evaluate"].get("averaged_checkpoints")
    identity = {
        "recipe": digest(training),
        "data": manifest["checksum"],
        "sources": sources.code_digest(sources.result_sources(spec)),
        "versions": provenance.versions(provenance.TRAINING),
    }
    return identity | ({"pre-training": started_from["weights_sha256"]} if started_from else {})


def _pretraining(engine, spec: dict) -> dict | None:
    """Which weights this run starts from, and what is recorded of the run that made them; None for a fresh start."""
    if "pretrained" not in spec:
        return None
    path = Path(spec["pretrained"])
    if not path.is_file():
        raise UserError(f"{path}: missing; this run starts from the weights of that one, so let it finish first")
    value = files.read_json(path)
    try:
        record = {key: value[key] for key in ("schema", *IDENTITY, "data")}
        record["provenance"] = {key: value["provenance"][key] for key in ("commit", "spec_sha256", "sources_sha256")}
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: lacks {error}; delete it and train that run again") from None
    return record | {"weights_sha256": data.file_sha256(engine.last_checkpoint(path.parent))}


def _measure(engine, spec: dict, folder: Path) -> dict:
    """The `cost` part of metrics.json."""
    from plugins.runner.measure import measure, one_example

    size = one_example(spec["measure"])
    model, forward, _ = engine.measured_model(spec | {"measure": size}, folder)
    return {"macs_input": json.dumps(size)} | measure(model, forward)


def _write_items(spec: dict, evaluated: dict, folder: Path, run_dir: Path) -> dict:
    """Writes items.parquet and returns its record; RuntimeError where the metrics do not follow from the items."""
    path = run_dir / items.NAME
    record = items.write(path, evaluated["items"])
    annotations = folder / "annotations" / f"{evaluated['settings']['split']}.json"
    problem = items.disagreement(spec["task"], evaluated["metrics"], items.read(path), annotations)
    if problem:
        raise RuntimeError(f"{path}: {problem}")
    return record


if __name__ == "__main__":
    sys.exit(_main_warm())
