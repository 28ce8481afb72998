"""One page a scale, report.md and report.html: what was run, gaps, then study by study figures and tables.

Reads what the other commands wrote below RESULTS (tables/<study>/{runs.csv,*.md}, figures/<study>/*.png, pictures/); a
part that is not there is named as such. The HTML holds its pictures; the Markdown links them and folds the details.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis import options, pages, results, runs, scan, text
from analysis.results import ARMS, RUNS, StudyResults
from plugins.suite.errors import UserError
from plugins.suite.files import read_text, write_text

NAME = "report"
HELP = "write the report of a scale, Markdown and HTML"
FEW = 3  # seeds


@dataclass(frozen=True)
class Figure:
    """A picture of a study."""

    name: str
    path: Path
    caption: str


def add_arguments(parser) -> None:
    options.results(parser)


def run(args) -> int:
    studies = [results.load(args.results, path.parent.name) for path in tables_of(args.results)]
    frame = pd.concat([study.runs for study in studies], ignore_index=True)
    title = f"Results, scale {', '.join(sorted(set(frame['scale']))) or 'unknown'}"
    overview = overview_of(args.results, frame, studies)
    write_text(args.results / "report.md", markdown_page(title, overview, args.results, studies))
    write_text(args.results / "report.html", html_page(title, overview, args.results, studies))
    return 0


def tables_of(folder: Path) -> list[Path]:
    """The arms.csv of all studies. Raises UserError where there is none, or runs.csv is not beside it."""
    paths = sorted(folder.glob(f"tables/*/{ARMS}"))
    if not paths:
        raise UserError(f"{folder}/tables/*/{ARMS}: none there; run snakemake, or collect and arms first")
    return [path for path in paths if not runs.read_runs(path.with_name(RUNS)).empty] or paths[:1]


def overview_of(folder: Path, frame: pd.DataFrame, studies: Iterable[StudyResults]) -> str:
    """The sections before the studies, in Markdown."""
    ledger = "The verdicts on the papers' claims stand in [ledger.html](ledger.html).\n"
    parts = [ledger] if (folder / "ledger.html").exists() else []
    parts += ["## What was run\n", what_was_run(frame), "## Notes\n", notes(frame, studies), "## Gaps\n", gaps(frame)]
    return "\n".join(parts)


def what_was_run(frame: pd.DataFrame) -> str:
    """Counts by study and state, then what the finished runs share."""
    rows = []
    for study, group in frame.groupby("study", sort=True):
        physical = group.drop_duplicates("run")
        counts = [str(int((physical["status"] == state).sum())) for state in runs.STATES]
        stale = str(int((physical["stale"] != "").sum()))
        arms = physical["run"].str.rsplit("/", n=1).str[0].nunique()
        hours = physical["wall_s.total"].sum() / 3600 if "wall_s.total" in physical else 0
        rows.append([study, str(arms), *counts, stale, f"{hours:.1f}", runs.data_line(group)])
    header = ["study", "arms", *runs.STATES, "stale", "machine hours", "data (checksum)"]
    devices, threads = _distinct(frame, "provenance.device"), _distinct(frame, "provenance.threads")
    machine = f"Commit {runs.commits(frame)}; device {devices}; threads a run: {threads}."
    return f"{text.markdown_table(header, rows)}\n{machine}\n"


def _distinct(frame: pd.DataFrame, column: str) -> str:
    known = frame[column].dropna().astype(str) if column in frame else []
    return ", ".join(sorted(set(known))) or "unknown"


def gaps(frame: pd.DataFrame) -> str:
    """Failed, running and missing runs, each with its reason, then the stale ones by reason."""
    physical = frame.drop_duplicates("run")
    lines = [
        f"- {row.run}: {row.status}" + (f": {text.markdown_cell(row.error)}" if row.error else "")
        for row in physical[physical["status"] != "done"].itertuples()
    ]
    stale = physical[physical["stale"] != ""]
    for reason, group in stale.groupby(stale["stale"].map(lambda reason: reason.partition(" since commit ")[0])):
        studies = ", ".join(f"{study} {count}" for study, count in group["study"].value_counts(sort=False).items())
        lines.append(f"- stale, {len(group)} runs ({studies}): {text.markdown_cell(reason)}")
    return "\n".join(lines) + "\n" if lines else "None: every expected run finished and is fresh.\n"


def notes(frame: pd.DataFrame, studies: Iterable[StudyResults]) -> str:
    """What to keep in mind when reading the numbers of this scale."""
    seeds = {arm.run: arm.n for study in studies for arm in study.arms if arm.n}
    few = sum(n < FEW for n in seeds.values())
    lines = ["- Numbers of this scale are not the paper's: only differences and orders are held against it."]
    if few:
        lines.append(f"- {few} of {len(seeds)} arms have fewer than {FEW} seeds.")
    if "+" in runs.commits(frame):
        lines.append("- Some runs come from uncommitted sources (marked + after the commit).")
    if "," in runs.commits(frame):
        lines.append("- The runs come from several commits; a run whose own sources did not change is not repeated.")
    leaves_out = _distinct(frame, "cost.macs_leaves_out")
    if leaves_out != "unknown":
        lines.append(f"- Multiply-adds are of one example and leave out: {leaves_out}.")
    return "\n".join(lines) + "\n"


def figures_of(folder: Path, study: str) -> list[Figure]:
    """The pictures of a study, its figures in alphabetical order, then those made of what runs left."""
    captions = {name: entry.constants["CAPTION"] for name, entry in scan.entries(scan.FIGURES).items()}
    shown = []
    for path in sorted([*folder.glob(f"figures/{study}/*.png"), *folder.glob(f"pictures/{study}/*.png")]):
        name = path.stem if path.stem in captions else path.stem.rpartition("_")[0]
        if name in captions:
            shown.append(Figure(path.stem.replace("_", " "), path, captions[name]))
    return shown


def part(path: Path) -> str:
    """A Markdown file that another command wrote, its title dropped and its headings two levels lower."""
    if not path.exists():
        return f"{path.name} is not there yet.\n"
    lines = read_text(path).splitlines()
    kept = [f"##{line}" if line.startswith("#") else line for line in lines if not line.startswith("# ")]
    return "\n".join(kept).strip() + "\n"


def markdown_page(title: str, overview: str, folder: Path, studies: Iterable[StudyResults]) -> str:
    """The whole page; tables and comparison are folded."""
    parts = [f"# {title}\n", overview]
    for study in studies:
        parts.append(f"## {study.study}\n")
        for figure in figures_of(folder, study.study):
            parts.append(f"![{figure.name}]({figure.path.relative_to(folder)})\n\n{figure.caption}\n")
        for name, file in (("Tables", "summary.md"), ("Beside the published numbers", "comparison.md")):
            parts.append(_folded(name, part(study.folder / file)))
    return "\n".join(parts)


def _folded(summary: str, body: str) -> str:
    return f"<details><summary>{summary}</summary>\n\n{body}\n</details>\n"


def html_page(title: str, overview: str, folder: Path, studies: Iterable[StudyResults]) -> str:
    """The whole page as one file."""
    blocks = [
        {
            "name": study.study,
            "figures": figures_of(folder, study.study),
            "tables": pages.html(part(study.folder / "summary.md")),
            "comparison": pages.html(part(study.folder / "comparison.md")),
        }
        for study in studies
    ]
    contents = [("what-was-run", "What was run"), ("notes", "Notes"), ("gaps", "Gaps")]
    contents += [(block["name"], block["name"]) for block in blocks]
    return pages.render("report.html", title=title, contents=contents, overview=pages.html(overview), studies=blocks)
