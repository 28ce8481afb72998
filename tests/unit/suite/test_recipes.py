"""docs/add-a-case.md, followed to the letter in a copy of the project."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
BLOCK = re.compile(r"^```(?:yaml|python) (\S+)(?: (before|after) ([^\n]+))?\n(.*?)^```$", re.M | re.S)
CLAIM = re.compile(r"^```yaml\n(- \{id: z.*?)^```$", re.M | re.S)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the project with everything added that the document says."""
    root = tmp_path_factory.mktemp("project")
    for part in ("analysis", "experiments", "plugins", "profiles", "workflow"):
        shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("Snakefile", "requirements.lock", "environment.yml"):
        shutil.copy(ROOT / part, root / part)
    document = (ROOT / "docs/add-a-case.md").read_text()
    for name, where, line, text in BLOCK.findall(document):
        path = root / name
        if not where:
            assert not path.exists(), name
            path.write_text(text)
            continue
        content = path.read_text()
        head, tail = content.split(f"{line}(", 1)
        if where == "before":
            path.write_text(f"{head}{text}{line}({tail}")
        else:
            declaration, body = tail.split('"""\n\n', 1)
            path.write_text(f'{head}{line}({declaration}"""\n\n{text}{body}')
    claims = root / "experiments/muse/claims.yaml"
    (part,) = CLAIM.findall(document)
    claims.write_text(claims.read_text().replace("    parts:\n", f"    parts:\n      {part}", 1))
    return root


def call(project: Path, *words: str) -> str:
    done = subprocess.run([sys.executable, *words], cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_the_document_has_all_its_blocks():
    assert len(BLOCK.findall((ROOT / "docs/add-a-case.md").read_text())) == 7


def test_a_new_ablation_runs_its_own_arm_and_shares_the_other(project):
    words = ["-n", "--cores", "1", "results/mini/tables/muse/runs.csv", "--config", 'arms=["no_dropout/*"]']
    planned = set(re.findall(r"results/runs/mini/(\S+)/seed1/metrics.json", call(project, "-m", "snakemake", *words)))
    assert planned == {"muse/no_dropout/no_dropout", "muse/branches/muse"}


def test_a_new_claim_is_read_and_names_its_arms(project):
    code = "from plugins.suite import claims; print([p.id for _, p in claims.check_all()['muse'].parts()][0])"
    assert call(project, "-c", code).strip() == "z"


def test_a_new_data_set_is_found_and_written(project):
    call(project, "-m", "plugins.datasets", "stripes", "out/stripes", "--params", "side=6")
    manifest = json.loads((project / "out/stripes/manifest.json").read_text())
    assert manifest["name"] == "stripes" and len(manifest["files"]) == 6


def test_a_new_figure_is_found(project):
    code = "from analysis import scan; print(scan.entries(scan.FIGURES)['seconds'].load().CAPTION)"
    assert "Seconds of its runs" in call(project, "-c", code)


def test_a_new_operator_is_an_option_of_its_tasks_and_a_source_of_its_runs(project):
    code = """
from plugins.openmm_ext import engine
from plugins.openmm_ext.config import read_config
from plugins.suite import catalog, sources

base = catalog.resolve("mini", "spatial_attention", "factors_segmentation", "w/o", 1)
spec = catalog.completed(base | {"model": {"channel_shift": {"share": 0.125}}})
print("plugins/operators/channel_shift.py" in sources.run_sources(spec), end=" ")
print("plugins/operators/channel_shift.py" in sources.run_sources(base), end=" ")
model = engine.build_model(read_config(spec), "mmseg")
print([m.share for m in model.modules() if type(m).__name__ == "ConvattnChannelShift"])
"""
    assert call(project, "-c", code).strip().splitlines()[-1] == "True False [0.125]"


def test_a_misspelt_option_of_a_new_operator_dies_when_the_file_is_read(project):
    path = project / "experiments/spatial_attention/ablations/shift.yaml"
    path.write_text(
        "title: Shift\npaper: none\ntask: segmentation\nbaseline: a\n"
        "arms:\n  a: {priority: core, set: {channel_shift: {shaer: 0.1}}}\n"
    )
    code = "from plugins.suite import catalog; catalog.ablations('spatial_attention')"
    try:
        done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=False)
    finally:
        path.unlink()
    assert done.returncode and "shaer" in done.stderr.splitlines()[-1] and "share" in done.stderr.splitlines()[-1]
