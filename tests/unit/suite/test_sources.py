"""The files of a run, read off its spec: bindings by their constants, imports, configs; the digest of code."""

import pytest

from plugins.suite import sources
from plugins.suite.catalog import arm_specs, studies
from plugins.suite.errors import UserError

BINDING = '"""An operator."""\nfrom plugins.operators.{name} import Op\n\nOPTION = {option!r}\nTASKS = {tasks!r}\n'


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of four operators; `write(path, text)` adds a file."""
    caches = (sources._closure, sources.bindings, sources._content_digest)
    monkeypatch.setattr(sources, "ROOT", tmp_path)
    for cache in caches:
        cache.cache_clear()

    def write(path: str, text: str = "") -> None:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    for folder in ("", "runner", "suite", "operators", "openmm_ext", "openmm_ext/tasks", "openmm_ext/layers"):
        write(f"plugins/{folder}/__init__.py")
    for folder in ("fairseq_ext", "fairseq_ext/models", "fairseq_ext/layers"):
        write(f"plugins/{folder}/__init__.py")
    write("plugins/runner/__main__.py", "from plugins.runner import seeding\nfrom plugins.suite import data\n")
    for path in ("runner/measure", "runner/seeding", "suite/data", "fairseq_ext/engine", "openmm_ext/engine"):
        write(f"plugins/{path}.py")
    write("plugins/fairseq_ext/models/one.py")
    write("plugins/openmm_ext/tasks/detection.py", "from plugins.openmm_ext import pictures\n")
    write("plugins/openmm_ext/pictures.py")
    for name in ("shape", "pair", "branch"):
        write(f"plugins/operators/{name}.py", "import torch\n")
    write("plugins/openmm_ext/layers/shape.py", BINDING.format(name="shape", option="shape", tasks=("detection",)))
    write("plugins/fairseq_ext/layers/pair.py", BINDING.format(name="pair", option="pair", tasks=("translation",)))
    branch = BINDING.format(name="branch", option=("branch", "wide_branch"), tasks=("translation",))
    write("plugins/fairseq_ext/layers/branch.py", branch)
    yield write
    for cache in caches:
        cache.cache_clear()


def images(model: dict, **train) -> dict:
    return {"engine": "mmdet", "task": "detection", "study": "s", "model": model, "train": train}


def sentences(model: dict) -> dict:
    return {"engine": "fairseq", "task": "translation", "study": "s", "model": model, "train": {}}


def names(spec: dict, folder: str) -> list[str]:
    return [path for path in sources.run_sources(spec) if path.startswith(folder) and "__init__" not in path]


def test_a_run_has_the_engine_its_task_and_what_they_import(project):
    expected = ["engine.py", "pictures.py", "tasks/detection.py"]
    assert names(images({}), "plugins/openmm_ext/") == [f"plugins/openmm_ext/{path}" for path in expected]
    assert names(images({}), "plugins/runner/") == [
        f"plugins/runner/{name}.py" for name in ("__main__", "measure", "seeding")
    ]


@pytest.mark.parametrize(("value", "there"), [({"size": 3}, True), (True, True), (None, False), (False, False)])
def test_an_option_brings_its_binding_and_operator(value, there, project):
    spec = images({"shape": value})
    assert ("plugins/openmm_ext/layers/shape.py" in sources.run_sources(spec)) is there
    assert ("plugins/operators/shape.py" in sources.run_sources(spec)) is there


def test_a_binding_of_another_task_or_package_is_none_of_a_run(project):
    assert names(images({"pair": True}), "plugins/operators/") == []
    assert names(sentences({"shape": True}), "plugins/operators/") == []


def test_a_new_operator_is_its_file_and_its_binding(project):
    project("plugins/operators/fourth.py")
    text = BINDING.format(name="fourth", option="fourth", tasks=("detection",))
    project("plugins/openmm_ext/layers/fourth.py", text)
    assert names(images({"fourth": {}}), "plugins/operators/") == ["plugins/operators/fourth.py"]


def test_a_binding_may_serve_several_options(project):
    for option in ("branch", "wide_branch"):
        assert names(sentences({option: True}), "plugins/operators/") == ["plugins/operators/branch.py"]


@pytest.mark.parametrize(
    ("model", "there"),
    [({}, False), ({"width": 3}, False), ({"branch": False}, False), ({"pair": None}, True), ({"pair": {}}, True)],
)
def test_the_user_dir_comes_with_the_first_option_of_ours(model, there, project):
    """Also with one that is null: it takes a block out of the network."""
    assert ("plugins/fairseq_ext/models/one.py" in sources.run_sources(sentences(model))) is there


def test_configs_bring_their_bases_and_what_they_import(project):
    project("plugins/openmm_ext/folders.py")
    project("experiments/s/configs/small.py", '_base_ = ["mmdet::x.py", "../../bases/large.py"]\n')
    project("experiments/bases/large.py", 'custom_imports = dict(imports=["plugins.openmm_ext.folders"])\n')
    spec = images({}, config="small.py")
    assert sources.config_files(spec) == ["experiments/s/configs/small.py", "experiments/bases/large.py"]
    assert sources.run_sources(spec)[-2:] == sources.config_files(spec)
    assert "plugins/openmm_ext/folders.py" in sources.run_sources(spec)


def test_what_decides_the_numbers_is_neither_the_suite_nor_the_rest_of_the_runner(project):
    project("experiments/s/configs/small.py", "")
    deciding = sources.result_sources(images({"shape": True}, config="small.py"))
    assert {"plugins/operators/shape.py", "plugins/runner/seeding.py", "plugins/openmm_ext/engine.py"} <= set(deciding)
    assert deciding[-1] == "experiments/s/configs/small.py"
    assert not [
        path for path in deciding if path.startswith(("plugins/suite", "plugins/runner/__", "plugins/runner/m"))
    ]


CODE = '''"""A module."""
RATE = 0.5


def double(x):
    """Twice x."""
    # Why it is two.
    return RATE * 4 * x
'''


@pytest.mark.parametrize(
    "text",
    [
        CODE.replace("A module", "Another wording"),
        CODE.replace("Twice x.", "x + x, longer than before.\n    "),
        CODE.replace('    """Twice x."""\n', ""),
        CODE.replace("# Why it is two.", "# Another reason."),
        CODE.replace("RATE * 4 * x", "(RATE * 4) * x"),
        CODE.replace("\n\n\ndef", "\n\ndef").replace('"""A module."""', "'''A module.'''"),
    ],
)
def test_wording_comments_and_layout_keep_the_digest(text, project):
    project("plugins/a.py", CODE)
    before = sources.code_digest(["plugins/a.py"])
    project("plugins/a.py", text)
    sources._content_digest.cache_clear()
    assert text != CODE and sources.code_digest(["plugins/a.py"]) == before


@pytest.mark.parametrize(
    "text",
    [
        CODE.replace("0.5", "0.25"),
        CODE.replace("0.5", "1 / 2"),
        CODE.replace("RATE * 4", "RATE + 4"),
        CODE.replace("4", "4.0"),
        CODE.replace("double", "twice"),
        CODE.replace("* 4 * x", "* (4 * x)"),
        CODE.replace('RATE = 0.5', 'RATE = True'),
        CODE + '\nNOTE = "text"\n',
    ],
)  # fmt: skip
def test_a_changed_constant_operator_or_name_changes_the_digest(text, project):
    project("plugins/a.py", CODE)
    before = sources.code_digest(["plugins/a.py"])
    project("plugins/a.py", text)
    sources._content_digest.cache_clear()
    assert sources.code_digest(["plugins/a.py"]) != before


def test_the_digest_holds_names_and_the_bytes_of_other_files(project):
    project("plugins/a.py", CODE)
    project("plugins/b.py", CODE)
    project("notes.yaml", "a: 1\n")
    assert sources.code_digest(["plugins/a.py"]) != sources.code_digest(["plugins/b.py"])
    both = sources.code_digest(["plugins/a.py", "notes.yaml"])
    assert both == sources.code_digest(["notes.yaml", "plugins/a.py"]) and len(both) == 16
    project("notes.yaml", "a: 1 \n")
    sources._content_digest.cache_clear()
    assert sources.code_digest(["plugins/a.py", "notes.yaml"]) != both


def test_an_edit_is_seen_within_a_process(project):
    project("plugins/a.py", CODE)
    before = sources.code_digest(["plugins/a.py"])
    project("plugins/a.py", CODE.replace("0.5", "0.25"))
    assert sources.code_digest(["plugins/a.py"]) != before


@pytest.mark.parametrize(
    ("text", "message"), [(None, "plugins/a.py: missing"), ("def (", "a.py: line 1: not valid Python")]
)
def test_a_missing_or_broken_file_is_one_line(text, message, project):
    if text:
        project("plugins/a.py", text)
    with pytest.raises(UserError, match=message) as error:
        sources.code_digest(["plugins/a.py"])
    assert "\n" not in str(error.value)


def test_every_binding_has_its_options_to_itself():
    for package in ("openmm_ext", "fairseq_ext"):
        claimed = [(task, option) for b in sources.bindings(package) for task in b.tasks for option in b.options]
        assert len(claimed) == len(set(claimed)), package
    assert {b.module.rpartition(".")[2] for b in sources.bindings("openmm_ext")} >= {"aaconv", "acmix", "coatnet"}


def test_all_sources_of_all_runs_are_there():
    for study in studies():
        for name, arm, spec in arm_specs(study, "mini"):
            for path in sources.run_sources(spec):
                assert (sources.ROOT / path).is_file(), (study, name, arm, path)
