"""One entry: commands are found by scanning, errors are one line, and nothing heavy is imported."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from analysis import scan
from analysis.__main__ import main, parser
from analysis.commands import rebuild
from plugins.suite.errors import UserError
from tests.unit.analysis.samples import run_folder

ROOT = Path(__file__).resolve().parents[3]


def test_every_file_of_the_folder_is_a_command():
    commands = scan.entries(scan.COMMANDS)
    files = {path.stem for path in (ROOT / "analysis/commands").glob("*.py")} - {"__init__"}
    assert {entry.module.rpartition(".")[2] for entry in commands.values()} == files
    for name, entry in commands.items():
        module = entry.load()
        assert module.NAME == name and module.HELP and callable(module.add_arguments) and callable(module.run)
        assert name in parser(name).format_help()


def test_a_new_command_is_one_file(tmp_path, monkeypatch):
    (tmp_path / "things").mkdir()
    (tmp_path / "things/greet.py").write_text('NAME = "hello"\nHELP = "greet"\nOTHER = 3\n')
    (tmp_path / "things/helper.py").write_text("VALUE = 'no command'\n")
    monkeypatch.setattr(scan, "ROOT", tmp_path)
    assert scan.entries("things") == {"hello": scan.Entry("things.greet", {"NAME": "hello", "HELP": "greet"})}


def test_an_unknown_command_gets_its_nearest():
    with pytest.raises(UserError, match="no command 'colect'; did you mean 'collect'"):
        main(["colect"])


def test_errors_are_one_line_on_stderr_and_status_2(tmp_path):
    command = [sys.executable, "-m", "analysis", "tables", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_analysis_needs_the_ground_floor_alone():
    """Imports every module in a process of its own and looks for what analysis must not import."""
    modules = ", ".join(
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in sorted((ROOT / "analysis").rglob("*.py"))
        if path.stem not in ("__init__", "__main__")
    )
    allowed = "('plugins', 'plugins.suite')"
    code = (
        f"import sys, {modules}; print([m for m in sys.modules if m.split('.')[0] in ('snakemake', 'torch') or"
        f" m.startswith('plugins') and '.'.join(m.split('.')[:2]) not in {allowed}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_rebuild_makes_all_that_can_be_made(suite, capsys, monkeypatch):
    (run_folder("muse", "kernels", "kernel_31", 3) / "metrics.json").unlink()
    steps = []
    monkeypatch.setattr(rebuild, "step", lambda *words: bool(steps.append(words)) or words[0] != "ledger")
    assert main(["rebuild", "results/mini"]) == 1
    names = [words[0] for words in steps]
    each = ["collect", "arms", "tables", "compare", "figures"]
    assert names == [*each, *each, "ledger", "proxy", "forest", "page", "report"]


def test_a_step_that_cannot_be_done_says_why(suite, capsys):
    assert not rebuild.step("tables", "results/mini")
    assert capsys.readouterr().err.startswith("error: tables: results/mini/tables/*/arms.csv: none there")
    assert json.loads(Path("results/mini/expected.json").read_text())
