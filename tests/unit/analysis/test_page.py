"""The page of the ledger: what stands in it, that nothing of the data is executed, and how it behaves in a browser."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from analysis import forests, headline, ledger, ledger_page, proxies
from analysis.__main__ import main
from plugins.suite import catalog, claims, freshness
from plugins.suite.errors import UserError
from tests.unit.analysis import samples
from tests.unit.analysis.conftest import gather

ROOT = Path(__file__).resolve().parents[3]
EXPERIMENTS = ROOT / "experiments"
HOSTILE = "<script>window.hacked = 1</script><img src=x onerror=window.hacked=1>"
RUNS = "muse/branches/muse/seed1 muse/branches/muse/seed2 muse/branches/transformer/seed1"
GATES = (
    "fresh=pass(6 runs); alike=pass(6 runs); trained=pass(at least 8.1 (of 20) above chance); plateau=fail(0.3; 0.1)"
)
NUMBERS = {"estimate": 1.2, "low": 0.4, "high": 2.0, "published_effect": 0.6, "margin": 0.2, "mde": 0.9, "se_seed": 0.2}


def row(part: str, level: str, verdict: str, **changes: object) -> dict:
    """A line of a ledger, of claim 1 of MUSE unless `changes` says otherwise."""
    trained = level in ledger.SCALES
    line = dict.fromkeys(ledger.COLUMNS, "") | dict.fromkeys(ledger.NUMBERS, float("nan"))
    line |= {
        "study": "muse", "claim": 1, "part": part, "says": f"It is so, {part}.", "task": "translation", "level": level,
        "scale": level if trained else "paper", "arms": "branches/muse > branches/transformer", "metric": "bleu",
        "verdict": verdict, "unit": "bleu", "n_seeds": 3 if trained else 0, "n_items": 200 if trained else 0,
    }  # fmt: skip
    if trained and verdict != "not tested":
        line |= NUMBERS | {
            "gates": GATES,
            "runs": RUNS,
            "plan": "exploratory",
            "data": "mini (0f3a9c21)",
            "commit": "1a2b",
        }
    return line | changes


def synthetic() -> pd.DataFrame:
    """All verdicts and levels: trained rows with runs at mini, counts beside printed ones, a row that is an attack."""
    counted = {"estimate": 1.12, "low": 1.12, "high": 1.12, "margin": 1.2, "published_effect": 1.17, "unit": "ratio"}
    lines = [
        row("a", "mini", "supported"),
        row("b", "mini", "reversed here", estimate=-1.2, low=-2.0, high=-0.4),
        row("c", "mini", "undecided", estimate=0.1, low=-0.5, high=0.7),
        row("a", "small", "not tested", reason="not run at this scale", runs=""),
        row("a", "paper", "contradicted", estimate=-1.0, low=-1.5, high=-0.5, runs=""),
        row("d", "exact", "supported", **counted, runs="results/published/paper/cost/muse.json"),
        row("e", "exact", "contradicted", **(counted | {"estimate": 1.3, "low": 1.3, "high": 1.3})),
        row("a", "timing", "undecided", study="acmix", claim=10, estimate=1.1, low=0.9, high=1.3, margin=1.0),
        row("a", "printed", "supported", study="coatnet", claim=12, estimate=0.78, low=0.78, high=0.78, margin=0.75),
        row(
            "z",
            "mini",
            "not tested",
            claim=99,
            says=HOSTILE,
            reason=HOSTILE,
            arms=HOSTILE,
            published=HOSTILE,
            runs=HOSTILE,
        ),
    ]
    return pd.DataFrame(lines, columns=ledger.COLUMNS)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder of a scale with a ledger, runs of two studies (one label an attack), figures and the page."""
    root = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(freshness, "staleness", lambda value: "")
        catalog.forget()
        samples.write_suite(root)
        with_curves(root)
        gather()
        assert main(["figures", "results/mini", "--study", "muse"]) == 0
        ledger.runs.write_csv(Path("results/mini/ledger.csv"), synthetic())
        options = ["results/mini", "--experiments", str(EXPERIMENTS)]
        assert main(["forest", *options]) == 0 and main(["page", *options]) == 0
    catalog.forget()
    return root / "results/mini"


def with_curves(root: Path) -> None:
    """A curve, a command that is an attack, and a recipe for one run."""
    folder = samples.run_folder("muse", "branches", "muse", 1)
    value = samples.json.loads((folder / "metrics.json").read_text())
    value["details"]["curve"] = {"update": [10, 20, 30], "train_loss": [5.0, 3.0, 2.5], "bleu": [1.0, 20.0, 36.0]}
    value["provenance"]["command"] = f"python -m plugins.runner here # {HOSTILE}"
    (folder / "metrics.json").write_text(samples.json.dumps(value))
    (folder / "spec.yaml").write_text("scale: mini\nmodel: {parallel: true}\n")


# --- without a browser ------------------------------------------------------------------------------------------------
def test_the_page_is_one_file_that_asks_for_nothing(written):
    page = (written / "ledger.html").read_text()
    addresses = re.findall(r'(?:src|href|action|url)\s*[=(]\s*["\']?([^"\'\s>)]+)', page)
    assert [name for name in addresses if not name.startswith(("#", "data:", "x"))] == []
    assert '<meta name="viewport"' in page and "data:image/png;base64," in page


def test_what_stands_in_the_data_is_text(written):
    """`x` is the source of the picture in HOSTILE: it stands there escaped."""
    page = (written / "ledger.html").read_text()
    assert page.count("<script>") == 1 and "<img src=x" not in page
    assert page.count("&lt;script&gt;window.hacked") >= 5


def test_every_row_is_there_without_the_script_with_gates_and_runs(written):
    page = (written / "ledger.html").read_text()
    body = page[: page.index("<script>")]
    assert body.count('<tr class="main"') == len(synthetic())
    assert "plateau</strong> 0.3; 0.1" in body and "trained</strong> at least 8.1 (of 20) above chance" in body
    assert 'href="#run-mini-muse-branches-muse-seed1"' in body and 'id="run-mini-muse-branches-muse-seed1"' in body
    assert "<td>branches/muse</td><td>3</td>" in body
    assert "train_loss from 5 to 2.5 in 30 updates" in body and "model: {parallel: true}" in body
    assert "snakemake --cores 1 results/runs/mini/muse/branches/muse/seed1/metrics.json" in body


def test_effects_of_unlike_scales_have_an_axis_each(written):
    trained, counted = row("a", "mini", "supported"), synthetic().to_dict("records")[5]
    lanes = ledger_page.drawings.lanes(trained)
    assert [(lane.ours is None, lane.published is None) for lane in lanes] == [(False, True), (True, False)]
    assert lanes[1].title == "published, its own scale"
    (together,) = ledger_page.drawings.lanes(counted)
    assert together.ours is not None and together.published is not None and together.bar is None


def test_a_margin_is_drawn_on_the_side_that_its_check_gives_it():
    line = row("a", "mini", "supported")
    equal = claims.Equal(equal=["x/a", "x/b"])
    names = [[name for _, name in ledger_page.drawings.lanes(line, check)[0].lines] for check in (None, equal)]
    assert names == [["0", "margin"], ["0", "−margin", "margin"]]


def test_a_long_curve_is_thinned_and_keeps_its_end():
    curve = {"update": list(range(1000)), "train_loss": [5 - x / 250 for x in range(1000)], "empty": [None] * 1000}
    (drawn,) = ledger_page.drawings.curves(curve)
    assert drawn.points.count(" ") < 50 and drawn.last == "1" and drawn.updates == "999"
    assert ledger_page.drawings.curves({}) == [] and ledger_page.drawings.curves(None) == []


def test_a_folder_without_a_ledger_is_one_line(tmp_path):
    with pytest.raises(UserError, match="ledger.csv: cannot be read as a ledger"):
        main(["page", str(tmp_path)])


def test_the_end_of_a_run_names_counts_and_pages(written, capsys):
    assert main(["page", str(written), "--outcome"]) == 0
    output = capsys.readouterr().out
    assert "2 parts counted or proved at the papers' own sizes: 1 supported, 1 contradicted" in output
    assert output.splitlines()[-1].endswith("ledger.html")


# --- words and README -------------------------------------------------------------------------------------------------
def test_readme_holds_what_the_published_ledger_counts():
    table = ledger.read(ROOT / "results/published/ledger.csv")
    parts = {
        "counts": headline.counts_part(table, proxies.read(ROOT / "results/published/proxy.csv")),
        "measured": headline.measured_part(ROOT / "results/published/measured.json"),
    }
    text = (ROOT / "README.md").read_text()
    assert headline.filled(text, parts) == text, "run: python -m analysis page --readme README.md"


def test_readme_is_short_and_its_links_lead_somewhere():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150 and "TODO" not in text
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if not link.startswith("http")]
    generated = {"results/published/ledger.html"}
    assert links and [link for link in links if not (ROOT / link).exists() and link not in generated] == []


def test_the_forest_in_readme_is_that_of_the_published_ledger():
    from PIL import Image

    table = ledger.read(ROOT / "results/published/ledger.csv")
    with Image.open(ROOT / "results/published/figures/forest.png") as picture:
        assert picture.text["Source"] == forests.digest_of(table), "run: python -m analysis forest"


def test_generated_parts_need_their_markers():
    text = "a\n<!-- counts -->\nold\n<!-- /counts -->\nb\n"
    assert headline.filled(text, {"counts": "new"}) == "a\n<!-- counts -->\nnew\n<!-- /counts -->\nb\n"
    with pytest.raises(UserError, match="README.md: the markers <!-- counts --> and <!-- /counts --> are missing"):
        headline.filled("a\n<!-- counts -->\nold\n", {"counts": "new"})


def test_the_readme_option_writes_what_changed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("R.md").write_text("<!-- counts -->\nold\n<!-- /counts -->\n<!-- measured -->\nold\n<!-- /measured -->\n")
    (tmp_path / "measured.json").write_text('{"build_s": 780, "machine": "two cores"}')
    ledger.runs.write_csv(tmp_path / "ledger.csv", synthetic())
    for state in ("updated", "up to date"):
        assert main(["page", ".", "--experiments", str(EXPERIMENTS), "--readme", "R.md"]) == 0
        assert f"R.md: {state}" in capsys.readouterr().out
    text = Path("R.md").read_text()
    assert (
        "building the environment from a warm package cache: 13 min" in text
        and "peak memory of two runs at once: not measured" in text
        and "two cores" in text
    )
    assert "**4 claims of 3 papers, 8 parts, 5 of them decided.**" in text


@pytest.mark.parametrize("content", ['{"build": 3}', '{"build_s": "soon"}', '{"disk_gb": -1}', '{"disk_gb": true}'])
def test_a_measurement_must_be_a_known_positive_number(tmp_path, content):
    path = tmp_path / "measured.json"
    path.write_text(content)
    with pytest.raises(UserError, match="measured.json: "):
        headline.measured(path)


# --- in a browser -----------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def browser():
    """Headless Chromium."""
    sync_api = pytest.importorskip("playwright.sync_api")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser, written):
    """A function that opens the page, offline, and collects console errors and requests that are no part of it."""
    contexts, problems = [], []

    def open_page(width: int = 1280, scheme: str = "light", script: bool = True):
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True, java_script_enabled=script
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("requestfailed", lambda request: problems.append(request.url))
        page.goto((written / "ledger.html").as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


def rows_shown(page) -> list[str]:
    """The first cells of the rows that are visible, from top to bottom."""
    cells = page.locator("#ledger > tbody:visible > tr.main > td:first-child")
    return [text.strip() for text in cells.all_inner_texts()]


def test_nothing_is_missing_and_nothing_of_the_data_runs(opened):
    page = opened()
    assert page.evaluate("[...document.images].every((picture) => picture.complete && picture.naturalWidth > 0)")
    assert page.evaluate("document.images.length") > 1
    assert page.evaluate("window.hacked === undefined")
    assert page.locator("#shown").inner_text() == "10 of 10 rows"


def test_search_and_filters_narrow_the_rows(opened):
    page = opened()
    page.get_by_label("Search").fill("undecided acmix")
    assert rows_shown(page) == ["acmix 10a"]
    page.get_by_label("Search").fill("no such thing")
    assert rows_shown(page) == [] and page.locator("#shown").inner_text() == "0 of 10 rows"
    page.get_by_role("button", name="Reset").click()
    page.get_by_role("combobox", name="verdict").select_option("supported")
    assert rows_shown(page) == ["muse 1a", "muse 1d", "coatnet 12a"]
    page.get_by_role("combobox", name="level").select_option("exact")
    assert rows_shown(page) == ["muse 1d"]
    page.get_by_role("combobox", name="study").select_option("coatnet")
    assert rows_shown(page) == []


def test_columns_sort_both_ways_with_the_keyboard(opened):
    page = opened()
    head = page.locator("#ledger > thead button", has_text="estimate")
    head.focus()
    page.keyboard.press("Enter")
    first = rows_shown(page)
    assert first[:2] == ["muse 1b", "muse 1a"] and first[-1] == "muse 99z"  # without an estimate: last
    assert page.locator("th", has_text="estimate").first.get_attribute("aria-sort") == "ascending"
    page.keyboard.press("Enter")
    turned = rows_shown(page)
    assert turned[0] == "muse 1e" and turned[-1] == "muse 99z"
    page.locator("#ledger > thead button", has_text="part").click()
    assert rows_shown(page)[0] == "acmix 10a"


def test_focus_can_be_seen(opened):
    page = opened()
    for _ in range(40):
        page.keyboard.press("Tab")
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        assert page.evaluate(f"document.activeElement === document.body || {outline} !== 'none'")


def test_a_claim_leads_to_the_command_of_a_run(opened):
    page = opened()
    part = page.locator("#muse-1a-mini")
    part.locator("summary").focus()
    page.keyboard.press("Enter")
    assert part.locator("svg.lane").count() == 2 and part.locator("svg.lane").first.is_visible()
    part.get_by_role("link", name="muse/branches/muse/seed1").click()
    run = page.locator("#run-mini-muse-branches-muse-seed1")
    assert run.get_by_text("snakemake --cores 1 results/runs/mini/muse/branches/muse/seed1").is_visible()
    assert run.get_by_text("python -m plugins.runner here").is_visible()
    assert run.locator("polyline").first.is_visible()


def test_a_link_to_a_row_opens_it(opened, written):
    page = opened()
    page.get_by_label("Search").fill("coatnet")
    page.evaluate("location.hash = 'muse-1a-mini'")
    page.wait_for_function("document.querySelector('#muse-1a-mini details').open")
    assert page.locator("#muse-1a-mini").is_visible()


def test_the_page_reads_without_its_script(opened):
    page = opened(script=False)
    assert page.locator("#ledger > tbody").count() == 10
    page.locator("#muse-1a-mini summary").click()
    assert page.locator("#muse-1a-mini svg.lane").first.is_visible()
    assert not page.locator("form").is_visible()


@pytest.mark.parametrize("width", [400, 800, 1280])
def test_nothing_is_cut_at_any_width(opened, width):
    page = opened(width)
    page.evaluate("for (const details of document.querySelectorAll('details')) details.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("(box => box.scrollWidth <= box.clientWidth)(document.querySelector('.counts').parentElement)")
    cut = """[...document.querySelectorAll('body *')].filter((node) => !node.closest('.scroll, svg')
        && node.getBoundingClientRect().right > innerWidth + 1).map((node) => node.outerHTML.slice(0, 80))"""
    assert page.evaluate(cut) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(opened, scheme):
    page = opened(scheme=scheme)
    page.evaluate("for (const details of document.querySelectorAll('details')) details.open = true")
    colours = page.evaluate(COLOURS)
    assert len(colours) > 4
    worst = {f"{text} on {ground} ({name})": round(contrast(text, ground), 2) for text, ground, name in colours}
    assert {name: ratio for name, ratio in worst.items() if ratio < 4.5} == {}
    assert (luminance(page.evaluate("getComputedStyle(document.body).backgroundColor")) < 0.2) == (scheme == "dark")


COLOURS = """() => {
  const pairs = new Map();
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor;
      if (colour !== 'rgba(0, 0, 0, 0)') return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  for (const node of document.querySelectorAll('body *')) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (!own || ['SCRIPT', 'STYLE', 'OPTION'].includes(node.tagName)) continue;
    const text = node.namespaceURI.endsWith('svg') ? getComputedStyle(node).fill : getComputedStyle(node).color;
    pairs.set(text + ground(node), [text, ground(node), node.className.baseVal ?? node.className]);
  }
  return [...pairs.values()];
}"""


def luminance(colour: str) -> float:
    """Relative luminance of "rgb(r, g, b)" (WCAG 2)."""
    parts = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours (WCAG 2)."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
