"""Verdicts on the numbered claims of each paper: <out>.csv (one row a check) and <out>.md (one row a claim).

A claim holds if all its checks hold. Each check compares arms of one scale on shared seeds:

    {better: A, than: B, by: m}             A - B > m (m = 0 when left out); for losses and costs, better is lower
    {no_worse: A, than: B, within: m}       A - B > -m
    {equal: [A, B], within: m}              -m < A - B < m
    {gain: [A, B], exceeds: [C, D], by: m}  (B - A) - (D - C) > m
    {ratio: [A, B], metric: cost.macs, at_most: r, at_least: s}     s <= A / B <= r
    {value: A, metric: gate_slope, above: x, below: y}              x < A < y

Arms are written <ablation>/<arm>; `metric` is a name under metrics, or dotted (cost.params, losses.valid).

supported       the whole interval of the difference (see stats.interval_of_mean) lies where the check wants it
contradicted    the whole interval lies outside
undecided       the interval spans the margin
not comparable  arms that were not run, unlike settings or data, too few shared seeds, or nothing to test it with

Parameters and multiply-adds do not vary between seeds and are compared exactly, from one seed on.
"""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis import loading, reference, stats, summary, text
from analysis.loading import Ablation, AnalysisError
from analysis.stats import Difference

VERDICTS = ("supported", "contradicted", "undecided", "not comparable")
MARKS = {"supported": "yes", "contradicted": "no", "undecided": "?", "not comparable": "n/c"}
EXACT = ("cost.params", "cost.macs")
TIMED = ("latency_ms", "train_step_ms", "inference_peak_mb", "train_peak_mb")
FORMS = {
    "better": ({"better", "than"}, {"by", "metric"}),
    "no_worse": ({"no_worse", "than", "within"}, {"metric"}),
    "equal": ({"equal", "within"}, {"metric"}),
    "gain": ({"gain", "exceeds"}, {"by", "metric"}),
    "ratio": ({"ratio", "metric"}, {"at_most", "at_least"}),
    "value": ({"value", "metric"}, {"above", "below"}),
}
# Settings that an arm may change on purpose; all others, and the data, must be alike for two arms to be compared.
OWN_SETTINGS = ("settings.dropout", "settings.train_fraction")


@dataclass(frozen=True)
class Outcome:
    """Verdict on one check. `effect` is the difference (or ratio) with its interval; NaN where there is none."""

    verdict: str
    reason: str
    effect: Difference = Difference(0, math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Verdict:
    """Verdict on one claim with those on its checks."""

    study: str
    claim: Mapping
    verdict: str
    reason: str
    checks: tuple[tuple[Mapping, Outcome], ...]


def load(path: Path, ablations: Mapping) -> dict:
    """claims.yaml, checked. Raises AnalysisError: file, claim, the rule, the nearest valid key or arm.

    An ablation that has no file yet may be named (its checks are "not comparable"); an arm that its file lacks may not.
    """
    content = loading.read_yaml(path)
    problem = loading.schema_problem(content, "claims")
    if problem:
        raise AnalysisError(f"{path}: {problem}")
    seen = set()
    for claim in content["claims"]:
        where = f"{path}: claim {claim['id']}"
        if claim["id"] in seen:
            raise AnalysisError(f"{where}: stands there twice; give it another id")
        seen.add(claim["id"])
        if ("checks" in claim) == ("not_tested" in claim):
            raise AnalysisError(f"{where}: needs either checks or not_tested")
        for check in claim.get("checks", []):
            _check_form(where, check)
            for arm in arms_of(check):
                _check_arm(where, arm, ablations.get((path.parent.name, arm.split("/", 1)[0])))
    return content


def _check_arm(where: str, arm: str, ablation: Ablation | None) -> None:
    name = arm.split("/", 1)[1]
    if ablation is not None and name not in ablation.arms:
        near = difflib.get_close_matches(name, ablation.arms, n=1, cutoff=0.0)[0]
        raise AnalysisError(f"{where}: ablation {ablation.name} has no arm '{name}'; nearest: '{near}'")


def _check_form(where: str, check: Mapping) -> None:
    form = form_of(check)
    if form is None:
        raise AnalysisError(
            f"{where}: a check starts with one of {', '.join(FORMS)}, not {', '.join(check) or 'nothing'}"
        )
    needed, allowed = FORMS[form]
    lacking, extra = needed - check.keys(), check.keys() - needed - allowed
    if lacking:
        raise AnalysisError(f"{where}: a check '{form}' needs '{min(lacking)}'")
    if extra:
        raise AnalysisError(
            f"{where}: a check '{form}' knows no '{min(extra)}'; it takes {', '.join(sorted(needed | allowed))}"
        )
    for bounds, judged in ((("at_most", "at_least"), "ratio"), (("above", "below"), "value")):
        if form == judged and not set(bounds) & check.keys():
            raise AnalysisError(f"{where}: a check '{form}' needs '{bounds[0]}' or '{bounds[1]}'")


def form_of(check: Mapping) -> str | None:
    """The kind of a check, by its leading key."""
    found = [form for form in FORMS if form in check]
    return found[0] if len(found) == 1 else None


def arms_of(check: Mapping) -> list[str]:
    """The arms that a check compares, in the order of its form."""
    form = form_of(check)
    if form in ("better", "no_worse"):
        return [check[form], check["than"]]
    if form == "value":
        return [check["value"]]
    return [*check[form], *check.get("exceeds", [])]


def subtracted(check: Mapping) -> list[list[str]]:
    """The arms of a check that must be alike in settings and data.

    A gain is a difference of differences: its two starts must be alike and its two ends; a start may be unlike its end.
    """
    arms = arms_of(check)
    return [arms[::2], arms[1::2]] if form_of(check) == "gain" else [arms]


def judge_interval(low: float, high: float, above: float, below: float = math.inf) -> str:
    """Verdict on "above < truth < below" from an interval of the truth; an interval of one point is exact."""
    if low > above and high < below:
        return "supported"
    if high <= above or low >= below:
        return "contradicted"
    return "undecided"


class Judge:
    """Judges the checks of one study against the rows of runs.csv."""

    def __init__(self, frame: pd.DataFrame, ablations: Mapping, study: str, metric: str):
        self.frame, self.ablations, self.study, self.metric = frame, ablations, study, metric

    def asked(self, check: Mapping) -> bool:
        """Whether the ablations of a check are meant for this scale; a check on others is left out."""
        known = [self.ablations.get((self.study, arm.split("/", 1)[0])) for arm in arms_of(check)]
        scales = set(self.frame["scale"])
        return all(ablation is None or not ablation.scales or scales <= set(ablation.scales) for ablation in known)

    def rows(self, arm: str) -> pd.DataFrame:
        ablation, name = arm.split("/", 1)
        return summary.arm_rows(self.frame, self.study, ablation, name)

    def check(self, check: Mapping) -> Outcome:
        """The verdict on one check."""
        arms = arms_of(check)
        column = summary.column_of(check.get("metric", self.metric))
        problem = self._gap(arms, column) or self._unlike(check, column)
        if problem:
            return Outcome("not comparable", problem)
        values = [summary.per_seed(self.rows(arm), column) for arm in arms]
        return self._exact(check, values) if column in EXACT else self._sampled(check, values, column)

    def _gap(self, arms: list[str], column: str) -> str:
        for arm in dict.fromkeys(arms):
            ablation = arm.split("/", 1)[0]
            if (self.study, ablation) not in self.ablations:
                return f"no arm {arm} in this suite yet"
            rows = self.rows(arm)
            if rows.empty:
                return f"{arm} was not run at this scale"
            if not (rows["status"] == "done").any():
                return f"{arm}: {', '.join(sorted(set(rows['status'])))}"
            if not summary.per_seed(rows, column):
                return f"{arm} has no {text.metric_name(column)}"
        return ""

    def _unlike(self, check: Mapping, column: str) -> str:
        """The first setting in which arms that must be alike differ on one seed; "" if none."""
        if column.startswith("cost."):
            names = ["cost.macs_input"]
            names += ["provenance.device", "provenance.threads"] if column.rsplit(".", 1)[-1] in TIMED else []
        else:
            names = [n for n in loading.columns_of(self.frame, "settings") if n not in OWN_SETTINGS]
            names += loading.columns_of(self.frame, "data")
        for arms in subtracted(check):
            rows = pd.concat([self.rows(arm) for arm in dict.fromkeys(arms)])
            rows = rows[rows["status"] == "done"]
            for name in (n for n in names if n in rows):
                for _, found in rows.dropna(subset=[name]).groupby("seed")[name]:
                    values = sorted(set(found.astype(str)))
                    if len(values) > 1:
                        return f"unlike settings: {name} is {' and '.join(loading.one_line(v, 40) for v in values[:2])}"
        return ""

    def _exact(self, check: Mapping, values: list[dict[int, float]]) -> Outcome:
        if any(len(set(found.values())) > 1 for found in values):
            return Outcome("not comparable", "unlike settings: the cost differs between seeds of one arm")
        points = [next(iter(found.values())) for found in values]
        amount = effect(check, points, sign=-1)
        return self._conclude(check, Difference(min(map(len, values)), amount, amount, amount))

    def _sampled(self, check: Mapping, values: list[dict[int, float]], column: str) -> Outcome:
        seeds = sorted(set.intersection(*(set(found) for found in values)))
        sign = -1 if column.startswith(summary.LOWER_IS_BETTER) else 1
        per_seed = [effect(check, [found[seed] for found in values], sign) for seed in seeds]
        found = stats.difference_of(per_seed)
        if found.n < stats.MIN_SEEDS:
            return Outcome("not comparable", f"too few seeds ({found.n} shared, {stats.MIN_SEEDS} needed)", found)
        return self._conclude(check, found)

    def _conclude(self, check: Mapping, found: Difference) -> Outcome:
        form, margin = form_of(check), check.get("within", check.get("by", 0.0))
        above, below = {
            "better": (margin, math.inf),
            "gain": (margin, math.inf),
            "no_worse": (-margin, math.inf),
            "equal": (-margin, margin),
            "ratio": (math.log(check.get("at_least", 1e-300)), math.log(check.get("at_most", 1e300))),
            "value": (check.get("above", -math.inf), check.get("below", math.inf)),
        }[form]
        inclusive = 1e-12 if form in ("ratio", "no_worse", "equal") else 0.0
        verdict = judge_interval(found.low, found.high, above - inclusive, below + inclusive)
        shown = (
            Difference(found.n, *(math.exp(x) for x in (found.mean, found.low, found.high)))
            if form == "ratio"
            else found
        )
        return Outcome(verdict, "", shown)


def effect(check: Mapping, points: list[float], sign: int) -> float:
    """The quantity that a check judges, from one value an arm: positive is in favour; for a ratio, its logarithm."""
    form = form_of(check)
    if form == "ratio":
        return math.log(points[0] / points[1]) if min(points) > 0 else math.nan
    if form == "value":
        return points[0]
    if form == "gain":
        return sign * ((points[1] - points[0]) - (points[3] - points[2]))
    return sign * (points[0] - points[1])


def conclude(claim: Mapping, outcomes: list[Outcome]) -> tuple[str, str]:
    """(verdict, reason) of a claim: one contradicted check contradicts it; it needs all of them to be supported."""
    if "not_tested" in claim:
        return "not comparable", claim["not_tested"]
    if not outcomes:
        return "not comparable", "its ablations are not run at this scale"
    for verdict in ("contradicted", "not comparable", "undecided"):
        hits = [index for index, outcome in enumerate(outcomes) if outcome.verdict == verdict]
        if hits:
            reasons = list(dict.fromkeys(outcomes[index].reason for index in hits if outcomes[index].reason))
            return verdict, "; ".join(reasons[:2]) or f"{len(hits)} of {len(outcomes)} checks {verdict}"
    return "supported", f"{len(outcomes)} of {len(outcomes)} checks supported"


def judge(frame: pd.DataFrame, ablations: Mapping, experiments: Path, study: str) -> list[Verdict]:
    """Verdicts on all claims of a study; none when it has no claims.yaml."""
    path = experiments / study / "claims.yaml"
    if not path.exists():
        return []
    content = load(path, ablations)
    bench = Judge(frame, ablations, study, content["metric"])
    verdicts = []
    for claim in content["claims"]:
        checks = [(dict(check), bench.check(check)) for check in claim.get("checks", []) if bench.asked(check)]
        verdicts.append(Verdict(study, claim, *conclude(claim, [outcome for _, outcome in checks]), tuple(checks)))
    return verdicts


def published_effects(check: Mapping, metric: str, references: list, ablations: Mapping, study: str) -> dict[str, str]:
    """{"paper": ..., "official": ...}: the published counterpart of a check, from each table with all its arms."""
    shown = {}
    for kind in ("paper", "official"):
        per_arm = [
            _by_table(references, ablations, study, arm, check.get("metric", metric), kind) for arm in arms_of(check)
        ]
        parts = []
        for table in per_arm[0] if all(per_arm) else []:
            if all(table in found for found in per_arm):
                points = [found[table] for found in per_arm]
                parts.append("unread" if any(map(math.isnan, points)) else _published(check, points))
        shown[kind] = "; ".join(dict.fromkeys(parts))
    return shown


def _by_table(references: list, ablations: Mapping, study: str, arm: str, metric: str, kind: str) -> dict[tuple, float]:
    ablation, name = arm.split("/", 1)
    known = ablations.get((study, ablation))
    if known is not None:
        rows = reference.of_arm(references, known, name)
    else:
        rows = [r for r in references if (r.ablation, r.arm) == (ablation, name)]
    found = {}
    for row in rows:
        if row.metric == metric and row.kind == kind:
            found.setdefault((row.table, row.dataset), row.value)
    return found


def _published(check: Mapping, points: list[float]) -> str:
    sign = -1 if check.get("metric", "").startswith(summary.LOWER_IS_BETTER) else 1
    amount = effect(check, points, sign)
    return f"× {text.number(math.exp(amount))}" if form_of(check) == "ratio" else text.signed(amount)


def check_text(check: Mapping, metric: str) -> str:
    """One check as a short formula, e.g. "branches/muse > branches/muse_simple"."""
    form, arms = form_of(check), arms_of(check)
    name = check.get("metric", metric)
    tail = "" if name == metric else f" [{text.metric_name(name)}]"
    margin = check.get("within", check.get("by", 0))
    if form == "gain":
        line = f"gain({arms[0]} → {arms[1]}) > gain({arms[2]} → {arms[3]})" + (f" + {margin:g}" if margin else "")
    elif form == "ratio":
        bounds = [f"{sign} {check[key]:g}" for key, sign in (("at_least", "≥"), ("at_most", "≤")) if key in check]
        line = f"{arms[0]} / {arms[1]} {' and '.join(bounds)}"
    elif form == "value":
        bounds = [f"{sign} {check[key]:g}" for key, sign in (("above", ">"), ("below", "<")) if key in check]
        line = f"{arms[0]} {' and '.join(bounds)}"
    elif form == "equal":
        line = f"{arms[0]} = {arms[1]} ± {margin:g}"
    elif form == "no_worse":
        line = f"{arms[0]} ≥ {arms[1]} {text.MINUS} {margin:g}"
    else:
        better = "below" if name.startswith(summary.LOWER_IS_BETTER) else ">"
        line = f"{arms[0]} {better} {arms[1]}" + (f" by {margin:g}" if margin else "")
    return line + tail


def effect_text(check: Mapping, outcome: Outcome) -> str:
    """Ours for one check: difference or ratio with interval and n; "" when there is none."""
    found = outcome.effect
    if found.n == 0 or math.isnan(found.mean):
        return ""
    exact = found.low == found.high
    if form_of(check) == "ratio":
        interval = "" if exact or not found.has_interval else f" [{text.number(found.low)}, {text.number(found.high)}]"
        return f"× {text.number(found.mean)}{interval}"
    if exact and check.get("metric") in EXACT:
        divisor, unit = text.scaled([abs(found.mean)], "MACs" if check["metric"] == "cost.macs" else "")
        return f"{text.number(abs(found.mean) / divisor)} {unit} {'lower' if found.mean >= 0 else 'higher'}"
    return f"{text.with_interval(found.mean, found.low, found.high)} (n={found.n})"


def csv_frame(
    verdicts: list[Verdict], metrics: Mapping[str, str], references: Mapping, ablations: Mapping
) -> pd.DataFrame:
    """One row a check; a claim without checks has one row."""
    rows = []
    for verdict in verdicts:
        head = {"study": verdict.study, "claim": verdict.claim["id"], "says": verdict.claim["says"]}
        head |= {"published": verdict.claim["published"], "verdict": verdict.verdict, "reason": verdict.reason}
        empty = {
            "check": "",
            "check_verdict": "",
            "check_reason": "",
            "n": 0,
            "effect": math.nan,
            "low": math.nan,
            "high": math.nan,
        }
        rows += [] if verdict.checks else [head | empty | {"paper_effect": "", "official_effect": ""}]
        for check, outcome in verdict.checks:
            said = published_effects(check, metrics[verdict.study], references[verdict.study], ablations, verdict.study)
            found = outcome.effect
            rows.append(
                head
                | {"check": check_text(check, metrics[verdict.study]), "check_verdict": outcome.verdict}
                | {
                    "check_reason": outcome.reason,
                    "n": found.n,
                    "effect": found.mean,
                    "low": found.low,
                    "high": found.high,
                }
                | {"paper_effect": said["paper"], "official_effect": said["official"]}
            )
    return pd.DataFrame(rows)


def markdown(
    frame: pd.DataFrame, verdicts: list[Verdict], metrics: Mapping, references: Mapping, ablations: Mapping
) -> str:
    """One table a study, then how to read it."""
    scale = ", ".join(sorted(set(frame["scale"]))) or "unknown"
    parts = [f"# Claims, scale {scale}\n"]
    for study in dict.fromkeys(verdict.study for verdict in verdicts):
        group = [verdict for verdict in verdicts if verdict.study == study]
        counts = ", ".join(f"{sum(v.verdict == name for v in group)} {name}" for name in VERDICTS)
        rows = [_markdown_row(verdict, metrics[study], references[study], ablations) for verdict in group]
        header = ["#", "claim", "published", "verdict", "checks: ours (published difference)", "why"]
        parts.append(f"## {study}\n\n{counts}.\n\n{text.markdown_table(header, rows, left=6)}")
    parts.append(
        "yes, no, ?, n/c: check supported, contradicted, undecided, not comparable. A check is judged by the 95 % "
        f"interval of the mean paired difference over shared seeds ({stats.RESAMPLES:,} seeded bootstrap resamples, "
        f"widened to the t interval below {stats.TINY} seeds; at least {stats.MIN_SEEDS} seeds), without correction "
        "for the number of checks. Published differences are of another scale: signs and orders may be held side by "
        "side, sizes may not. Parameters and multiply-adds are exact, of this scale.\n"
    )
    return "\n".join(parts)


def _markdown_row(verdict: Verdict, metric: str, references: list, ablations: Mapping) -> list[str]:
    lines = []
    for check, outcome in verdict.checks:
        said = published_effects(check, metric, references, ablations, verdict.study)
        ours = effect_text(check, outcome)
        beside = ", ".join(f"{kind} {value}" for kind, value in said.items() if value)
        line = f"{MARKS[outcome.verdict]}: {check_text(check, metric)}" + (f": {ours}" if ours else "")
        lines.append(line + (f" ({beside})" if beside else ""))
    claim = verdict.claim
    why = verdict.reason + (f". {claim['note']}" if claim.get("note") else "")
    return [
        str(claim["id"]),
        claim["says"],
        claim["published"],
        f"**{verdict.verdict}**",
        "<br>".join(lines) or "—",
        why,
    ]


def main(argv: list[str] | None = None) -> int:
    parser = loading.parser(__doc__)
    parser.add_argument("--study", help="this study only")
    parser.add_argument("--out", type=Path, required=True, help="path without suffix; .csv and .md are written")
    args = parser.parse_args(argv)
    frame = loading.read_runs(args.runs_csv)
    ablations = loading.load_ablations(args.experiments)
    studies = list(dict.fromkeys(a.study for a in summary.select(ablations, args.study)))
    verdicts = [v for study in studies for v in judge(frame, ablations, args.experiments, study)]
    metrics = {v.study: load(args.experiments / v.study / "claims.yaml", ablations)["metric"] for v in verdicts}
    references = {study: reference.load(args.experiments, study) for study in studies}
    table = csv_frame(verdicts, metrics, references, ablations)
    loading.write_csv(args.out.with_name(args.out.name + ".csv"), table)
    loading.write_text(
        args.out.with_name(args.out.name + ".md"), markdown(frame, verdicts, metrics, references, ablations)
    )
    return 0


if __name__ == "__main__":
    loading.cli(main)
