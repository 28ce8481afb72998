"""One page a scale, Markdown and HTML: verdicts, what was run, gaps, figures, tables, comparison.

Reads what the other commands wrote below --dir (tables/<study>/{runs.csv,claims.csv,*.md}, figures/<study>/*.png); a
part that is not there is named as such. Figures are linked, so the page stays next to them.
"""

import html
from pathlib import Path

import markdown
import pandas as pd

from analysis import loading, summary, text
from analysis.claims import VERDICTS
from analysis.loading import Ablation, AnalysisError

CAPTIONS = Path(__file__).with_name("captions.yaml")
PICTURES = {
    "predictions": "What the arms predict on the first images of the scored split; the truth comes first.",
    "attention": "Where one query (the cross) looks, by the whole sum and by each term alone; mean over heads.",
}
OVERVIEW = (
    "Every arm of the studies that share a task, metric against parameters and against multiply-adds of one example. "
    "Each study has its own recipe: compare within a colour first."
)
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body{{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#222}}
table{{border-collapse:collapse;font-size:13px;display:block;overflow-x:auto}}
td,th{{padding:.25rem .6rem;border-bottom:1px solid #ddd;vertical-align:top}}th{{border-bottom:2px solid #888}}
img{{max-width:100%}}</style></head><body>
{body}
</body></html>
"""


def verdicts(folder: Path, studies: list[str]) -> str:
    """Counts of the claims' verdicts by study, then the claims that were decided; details stand under each study."""
    paths = [folder / "tables" / study / "claims.csv" for study in studies]
    read = [pd.read_csv(path, dtype=str).fillna("") for path in paths if path.exists()]
    if not read:
        return "No claim was judged yet.\n"
    claims = pd.concat(read).drop_duplicates(["study", "claim"])
    counts = [
        [study, *(str(int((group["verdict"] == verdict).sum())) for verdict in VERDICTS)]
        for study, group in claims.groupby("study", sort=False)
    ]
    decided = claims[claims["verdict"].isin(VERDICTS[:2])]
    rows = [[c.study, c.claim, c.says, f"**{c.verdict}**"] for c in decided.itertuples()]
    listed = text.markdown_table(["study", "#", "claim", "verdict"], rows, left=4) if rows else "None is decided.\n"
    return f"{text.markdown_table(['study', *VERDICTS], counts)}\n{listed}"


def what_was_run(frame: pd.DataFrame) -> str:
    """Counts by study and state, then what the finished runs share."""
    rows = []
    for study, group in frame.groupby("study", sort=True):
        physical = group.drop_duplicates("run")
        counts = [str(int((physical["status"] == state).sum())) for state in loading.STATES]
        arms = physical["run"].str.rsplit("/", n=1).str[0].nunique()
        hours = physical["wall_s.total"].sum() / 3600 if "wall_s.total" in physical else 0
        rows.append([study, str(arms), *counts, f"{hours:.1f}", summary.data_line(group)])
    header = ["study", "arms", *loading.STATES, "hours", "data (checksum)"]
    return text.markdown_table(header, rows) + f"\n{_machine(frame)}\n"


def _machine(frame: pd.DataFrame) -> str:
    done = frame[frame["status"] == "done"]
    devices = _distinct(done, "provenance.device")
    threads = _distinct(done, "provenance.threads")
    return f"Commit {loading.commits(frame)}; device {devices}; threads a run: {threads}."


def _distinct(frame: pd.DataFrame, column: str) -> str:
    return ", ".join(sorted(set(frame[column].dropna().astype(str)))) or "unknown" if column in frame else "unknown"


def gaps(frame: pd.DataFrame) -> str:
    """Failed, running and missing runs, each with its reason."""
    lines = []
    for row in frame[frame["status"] != "done"].drop_duplicates("run").itertuples():
        lines.append(f"- {row.run}: {row.status}" + (f": {text.markdown_cell(row.error)}" if row.error else ""))
    return "\n".join(lines) + "\n" if lines else "None: every expected run finished.\n"


def notes(frame: pd.DataFrame) -> str:
    """What to keep in mind when reading the numbers of this scale."""
    done = frame[frame["status"] == "done"].drop_duplicates("run")
    seeds = done.groupby(done["run"].str.rsplit("/", n=1).str[0]).size()
    lines = ["- Numbers of this scale are not the paper's: only differences and orders are held against it."]
    few = int((seeds < 3).sum())
    if few:
        lines.append(
            f"- {few} of {len(seeds)} arms have fewer than three seeds: no interval, no verdict on their claims."
        )
    if "+" in loading.commits(frame):
        lines.append("- Some runs come from uncommitted sources (marked + after the commit).")
    if "," in loading.commits(frame):
        lines.append(
            "- The runs come from more than one commit; runs whose own sources did not change are not repeated."
        )
    leaves_out = _distinct(done, "cost.macs_leaves_out")
    lines.append(f"- Multiply-adds leave out: {leaves_out}." if leaves_out != "unknown" else "")
    lines.append(f"- Latency and training-step times were measured {_load(done)}; compare them with care.")
    return "\n".join(line for line in lines if line) + "\n"


def _load(done: pd.DataFrame) -> str:
    """Under which load the costs were measured, e.g. "at load averages of 0.9 to 2.1"."""
    if "cost.load_average" not in done or done["cost.load_average"].isna().all():
        return "under an unknown load"
    loads = done["cost.load_average"]
    return f"at load averages of {loads.min():.1f} to {loads.max():.1f}"


def part(path: Path) -> str:
    """A Markdown file that another command wrote, its title dropped and its headings two levels lower."""
    if not path.exists():
        return f"{path.name} is not there yet.\n"
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = [f"##{line}" if line.startswith("#") else line for line in lines if not line.startswith("# ")]
    return "\n".join(kept).strip() + "\n"


def figures(folder: Path, study: str) -> str:
    """Links to the figures of a study that exist, with captions."""
    blocks = []
    for kind, caption in loading.read_yaml(CAPTIONS).items():
        base = f"figures/{study}/{kind}"
        if (folder / f"{base}.png").exists():
            blocks.append(f"![{caption}]({base}.png)\n\n{caption} [SVG]({base}.svg), [PDF]({base}.pdf)\n")
    for path in sorted((folder / "figures" / study).glob("*_*.png")):
        caption = PICTURES.get(path.stem.partition("_")[0])
        if caption:
            caption = f"{path.stem.partition('_')[2].capitalize()}. {caption}"
            blocks.append(f"![{caption}](figures/{study}/{path.name})\n\n{caption}\n")
    return "\n".join(blocks) or "No figure yet.\n"


def overviews(folder: Path) -> list[str]:
    """The pictures of all studies that share a task, under a heading; nothing where there are none."""
    found = sorted((folder / "figures" / "overview").glob("*.png"))
    blocks = [f"![{path.stem}: {OVERVIEW}](figures/overview/{path.name})" for path in found]
    return ["## All studies", *blocks, OVERVIEW] if found else []


def page(frame: pd.DataFrame, ablations: list[Ablation], folder: Path) -> str:
    """The whole page in Markdown."""
    scale = ", ".join(sorted(set(frame["scale"]))) or "unknown"
    studies = list(dict.fromkeys(a.study for a in ablations if not summary.ablation_rows(frame, a).empty))
    parts = [f"# Results, scale {scale}", "## Do the claims hold?", verdicts(folder, studies)]
    parts += ["## What was run", what_was_run(frame), "## Notes", notes(frame), "## Gaps", gaps(frame)]
    parts += overviews(folder)
    for study in studies:
        tables = folder / "tables" / study
        parts += [f"## {study}", figures(folder, study), "### Claims", part(tables / "claims.md")]
        parts += [
            "### Tables",
            part(tables / "summary.md"),
            "### Beside the published numbers",
            part(tables / "comparison.md"),
        ]
    return "\n\n".join(block.strip() for block in parts) + "\n"


def read_all(folder: Path) -> pd.DataFrame:
    """The runs of all studies of a scale. Raises AnalysisError when none were collected."""
    paths = sorted(folder.glob("tables/*/runs.csv"))
    if not paths:
        raise AnalysisError(f"{folder}/tables/*/runs.csv: none there; write them with python -m analysis.collect")
    return pd.concat([loading.read_runs(path) for path in paths], ignore_index=True)


def main(argv: list[str] | None = None) -> int:
    parser = loading.parser(__doc__, runs=False)
    parser.add_argument("--dir", type=Path, required=True, help="folder of the scale, with tables/ and figures/")
    parser.add_argument("--out", type=Path, required=True, help="page to write, .md; the .html stands next to it")
    args = parser.parse_args(argv)
    frame = read_all(args.dir)
    body = page(frame, list(loading.load_ablations(args.experiments).values()), args.dir)
    title = html.escape(body.splitlines()[0].lstrip("# "))
    loading.write_text(args.out, body)
    rendered = markdown.markdown(body, extensions=["tables"])
    loading.write_text(args.out.with_suffix(".html"), PAGE.format(title=title, body=rendered))
    return 0


if __name__ == "__main__":
    loading.cli(main)
