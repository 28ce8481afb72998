"""BLEU of translations in files, whole and by the length of the source (see analysis.sentences)."""

import json
from pathlib import Path

from plugins.suite.errors import UserError
from plugins.suite.files import write_text

NAME = "sentences"
HELP = "score translations: corpus BLEU with its interval, also by sentence length"
TOKENISERS = ("none", "13a")


def add_arguments(parser) -> None:
    parser.add_argument("--hypotheses", type=Path, required=True, help="translations, a line a sentence")
    parser.add_argument("--references", type=Path, required=True, help="references, a line a sentence")
    parser.add_argument("--sources", type=Path, help="source sentences, for --buckets")
    parser.add_argument(
        "--buckets", choices=["paper", "quantiles"], help="also by source words: steps of 15, or quarters"
    )
    parser.add_argument("--tokenise", choices=TOKENISERS, default="none", help="sacrebleu's tokeniser (none)")
    parser.add_argument("--lower-case", action="store_true", help="compare without case")
    parser.add_argument("--json", type=Path, help="also write the records there")


def run(args) -> int:
    from analysis import sentences, text

    if args.buckets and not args.sources:
        raise UserError("--buckets: needs --sources, whose words are counted")
    paths = [args.hypotheses, args.references, *([args.sources] if args.sources else [])]
    texts = sentences.aligned(*paths)
    statistics = sentences.statistics_of(texts[0], texts[1], args.tokenise, args.lower_case)
    whole = sentences.bleu(statistics)
    records = [
        {"words": "all", "sentences": len(statistics), "bleu": whole.value, "low": whole.low, "high": whole.high}
    ]
    if args.buckets:
        lengths = [len(line.split()) for line in texts[2]]
        cut = sentences.paper_buckets if args.buckets == "paper" else sentences.quantile_buckets
        records += sentences.table_of(statistics, lengths, cut(lengths))
    rows = [[r["words"], r["sentences"], f"{r['bleu']:.2f} [{r['low']:.2f}, {r['high']:.2f}]"] for r in records]
    print(text.markdown_table(["source words", "sentences", "BLEU (95 % interval)"], rows), end="")
    if args.json:
        write_text(args.json, json.dumps(records, indent=1) + "\n")
    return 0
