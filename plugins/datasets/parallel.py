"""What the preparers of translation data share: aligned lines in; cleaned, in subwords and binarised for fairseq out.

Lines are streamed: the vocabulary is held in memory, the corpus is not. Nothing leaves silently: a pair that is left
out of a training split is counted by its reason under `skipped`, what is odd but stays under `noted`, and what counting
cannot mend is one UserError with the file and the line.
"""

import gzip
import io
import itertools
import math
import posixpath
import re
import shutil
import tarfile
import unicodedata
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, redirect_stderr
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from plugins.datasets.binarise import binarise
from plugins.suite.data import file_sha256
from plugins.suite.errors import UserError

MOST_SUBWORDS = 1023  # fairseq's models take 1,024 positions, end-of-sentence included
LARGEST_MEMBER = 1 << 30  # bytes of one file of an archive; the largest original has about 20 MB
SUBWORD_REASONS = {"empty": "empty", "too_long": "too_many_subwords", "ratio": "subword_ratio"}

Pair = tuple[str, str]


def lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 file, plain or .gz, without line end and byte order mark; UserError names file and line."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                yield _decoded(line, number, path)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path}: not a whole gzip file ({error}); fetch the original again") from error


def _decoded(line: bytes, number: int, path: Path) -> str:
    try:
        if b"\0" in line:
            raise ValueError("it holds a zero byte")
        text = line.decode("utf-8").rstrip("\n").rstrip("\r")
    except ValueError as error:
        raise UserError(f"{path}: line {number} is not UTF-8 text; fetch the original again") from error
    return text.removeprefix("\ufeff") if number == 1 else text


def segments(path: Path) -> Iterator[str]:
    """The sentences of a file of evaluation campaigns, `<seg id="1"> ... </seg>` on one line each, curly apostrophes
    made straight; UserError names file and line of a segment that does not end where it begins."""
    for number, line in enumerate(lines(path), 1):
        if "<seg id" not in line:
            continue
        match = re.search(r'<seg id="[^"]*">(.*)</seg>', line)
        if not match or line.count("<seg id") > 1:
            raise UserError(f"{path}: line {number} is not one whole <seg>; fetch the original again")
        yield match[1].strip().replace("’", "'")


def aligned(left: Path, right: Path, read: Callable[[Path], Iterable[str]] = lines) -> Iterator[Pair]:
    """Sentence pairs of two files; UserError, at the end, where they have no lines or not equally many."""
    counts = [0, 0]
    for pair in itertools.zip_longest(read(left), read(right)):
        counts = [count + (line is not None) for count, line in zip(counts, pair, strict=True)]
        if counts[0] == counts[1]:
            yield pair
    if counts[0] != counts[1]:
        raise UserError(f"{left} has {counts[0]} lines, {right.name} has {counts[1]}; line N of both must be one pair")
    if counts[0] == 0:
        raise UserError(f"{left}: no lines; fetch the original again")


@dataclass(frozen=True)
class Limits:
    """Which pairs stay: 1 to `longest` tokens on both sides, the longer side at most `ratio` times the shorter."""

    longest: float = math.inf
    ratio: float = math.inf

    def reason(self, left: int, right: int) -> str | None:
        """Why a pair with so many tokens on its sides must go; None where it stays."""
        short, long = sorted((left, right))
        if short == 0:
            return "empty"
        if long > self.longest:
            return "too_long"
        return "ratio" if long / short > self.ratio else None


def cleaned(pairs: Iterable[Pair], limits: Limits, skipped: Counter) -> Iterator[Pair]:
    """The pairs that stay, counted in words; the others are counted into `skipped`."""
    for pair in pairs:
        reason = limits.reason(*(len(line.split()) for line in pair))
        if reason:
            skipped[reason] += 1
        else:
            yield pair


def moses(text: str, language: str, normalise: bool = False, hyphens: bool = False) -> str:
    """`text` as Moses tokenises it: punctuation normalised and unprintable characters blanked where `normalise`,
    hyphens inside words as tokens `@-@` where `hyphens`."""
    tokenizer, normalizer = _moses(language)
    if normalise:
        text = normalizer.normalize(text)
        if not text.isprintable():
            text = "".join(" " if unicodedata.category(sign).startswith("C") else sign for sign in text)
    return " ".join(tokenizer.tokenize(text, aggressive_dash_splits=hyphens, return_str=True).split())


@lru_cache
def _moses(language: str):
    from sacremoses import MosesPunctNormalizer, MosesTokenizer

    return MosesTokenizer(language), MosesPunctNormalizer(language)


def in_processes(function: Callable, items: Iterable, workers: int, batch: int = 2000) -> Iterator:
    """`function` of every item, in their order. With several workers it must be picklable, and no more than two
    batches a worker are under way."""
    if workers == 1:
        yield from map(function, items)
        return
    items = iter(items)
    with ProcessPoolExecutor(workers) as pool:
        waiting = deque()
        while part := list(itertools.islice(items, batch)):
            waiting.append(pool.submit(_each, function, part))
            if len(waiting) > 2 * workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _each(function: Callable, items: list) -> list:
    return [function(item) for item in items]


def original(path: Path, origin: str) -> Path:
    """The path, or the same with .gz; UserError, with where to get it, where neither is there."""
    for candidate in (path, path.with_name(f"{path.name}.gz")):
        if candidate.is_file():
            return candidate
    raise UserError(f"{path}: missing; it comes from {origin}, put it there")


def unpack(archive: Path, names: list[str], to: Path) -> None:
    """Writes the members `names` of a tar archive to folder `to`, under their last names; no other path of the archive
    is followed. UserError where the archive is broken, lacks one, or has a link or something huge in its place."""
    wanted = {name: to / posixpath.basename(name) for name in names}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                target = wanted.pop(posixpath.normpath(member.name), None)
                if target is None:
                    continue
                if not member.isfile() or member.size > LARGEST_MEMBER:
                    raise UserError(f"{archive}: {member.name} is no plain file below 1 GB; fetch the original again")
                with tar.extractfile(member) as source, open(target, "xb") as file:
                    shutil.copyfileobj(source, file)
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{archive}: not a whole .tgz archive ({error}); fetch the original again") from error
    if wanted:
        raise UserError(f"{archive}: has no {next(iter(wanted))}; fetch the original again")


def language_pair(name: str, params: dict, known: tuple[str, ...]) -> list[str]:
    """[source, target] of the parameters; UserError unless they are two different ones of `known`."""
    for key in ("source", "target"):
        if params[key] not in known:
            raise UserError(f"data set {name}: {key}={params[key]!r} must be one of {', '.join(known)}")
    if params["source"] == params["target"]:
        raise UserError(f"data set {name}: source and target are both {params['source']!r}; they must differ")
    return [params["source"], params["target"]]


class Corpus:
    """A translation data set in the making: `write` its sentences, learn subwords on `train_lines`, then `finish`.

    `work` holds what is not part of the result and goes when it is finished; `skipped`, `noted` and `originals` (name:
    SHA-256) go into the manifest.
    """

    def __init__(self, folder: Path, name: str, languages: list[str], splits: Iterable[str]):
        self.folder, self.name, self.languages, self.splits = folder, name, languages, list(splits)
        self.work = folder / "work"
        self.work.mkdir()
        self.counts, self.skipped, self.noted, self.originals = {}, Counter(), Counter(), {}

    def record(self, path: Path) -> None:
        """Puts an original file's SHA-256 into the manifest."""
        self.originals[path.name] = file_sha256(path)

    def write(self, sentences: Iterable[tuple[str, str, str]]) -> None:
        """Takes (split, source sentence, target sentence), tokens parted by single blanks in all that is stored."""
        with ExitStack() as stack:
            files = {
                split: [stack.enter_context(_new(self._path(self.work, split, side))) for side in self.languages]
                for split in self.splits
            }
            for number, (split, *pair) in enumerate(sentences, 1):
                for file, line in zip(files[split], pair, strict=True):
                    file.write(f"{line}\n")
                if number % 1_000_000 == 0:
                    print(f"{self.name}: {number} pairs read", flush=True)

    def train_lines(self) -> Iterator[str]:
        """The training split's source sentences, then its target sentences."""
        for language in self.languages:
            yield from lines(self._path(self.work, "train", language))

    def train_pairs(self) -> Iterator[Pair]:
        """The training split, pair by pair."""
        return aligned(*(self._path(self.work, "train", language) for language in self.languages))

    def learn_bpe(self, merges: int) -> Callable[[str], list[str]]:
        """Learns one byte-pair encoding for both languages with subword-nmt, saves subword.codes and returns
        line -> subwords, whose non-final ones end in `@@`."""
        from subword_nmt.apply_bpe import BPE
        from subword_nmt.learn_bpe import learn_bpe

        codes, learnt = self.folder / "subword.codes", io.StringIO()
        try:
            with redirect_stderr(io.StringIO()):  # a progress bar
                learn_bpe(self.train_lines(), learnt, merges)
        except ValueError:
            pass  # no word has two letters
        # Fewer than asked for where no pair of symbols is left that occurs twice.
        self.counts["merges"] = learnt.getvalue().count("\n") - 1
        if self.counts["merges"] < 1:
            raise UserError(f"data set {self.name}: its training text is too small to learn subwords from")
        codes.write_text(learnt.getvalue(), encoding="utf-8", newline="\n")
        learnt.seek(0)
        bpe = BPE(learnt)
        return lambda line: bpe.segment_tokens(line.split(" "))

    def finish(
        self,
        encode: Callable[[str], list[str]],
        subword: str,
        tokenise: str,
        joined: bool,
        whole: dict[str, str],
        limits: Limits | None = None,
        most_types: int = -1,
    ) -> dict:
        """Writes text/ and bin/ through `encode` (line -> subwords), and returns the facts of the manifest.

        Splits keep the pairs within `limits`, counted in subwords; those of `whole` (split: where its lines come from)
        keep all, so that scores compare. `tokenise` is the scorer's tokeniser, `subword` how fairseq joins subwords.
        """
        limits = limits or Limits()
        pieces = self.work / "pieces"
        for folder in (pieces, self.folder / "text"):
            folder.mkdir()
        for split in self.splits:
            self.counts[split] = self._segment(split, encode, limits, whole.get(split), pieces)
        types = binarise(pieces, self.folder / "bin", *self.languages, self.splits, joined, most_types=most_types)
        shutil.rmtree(self.work)
        return {
            "task": "translation",
            "source_lang": self.languages[0],
            "target_lang": self.languages[1],
            "subword": subword,
            "tokenise": tokenise,
            "counts": {**self.counts, "types": types},
            "skipped": dict(self.skipped),
            "noted": dict(self.noted),
            "originals": self.originals,
        }

    def _segment(self, split: str, encode: Callable, limits: Limits, whole: str | None, pieces: Path) -> int:
        """Writes one split in words and in subwords; returns how many pairs it has."""
        pairs = aligned(*(self._path(self.work, split, language) for language in self.languages))
        kept = 0
        with ExitStack() as stack:
            text, encoded = (
                [stack.enter_context(_new(self._path(folder, split, language))) for language in self.languages]
                for folder in (self.folder / "text", pieces)
            )
            for number, pair in enumerate(pairs, 1):
                subwords = [encode(line) for line in pair]
                if self._stays([len(side) for side in subwords], limits, whole, number):
                    kept += 1
                    for file, line in zip((*text, *encoded), (*pair, *map(" ".join, subwords)), strict=True):
                        file.write(f"{line}\n")
        if not kept:
            raise UserError(f"data set {self.name}: no pair is left for {split}; skipped {dict(self.skipped)}")
        return kept

    def _stays(self, lengths: list[int], limits: Limits, whole: str | None, number: int) -> bool:
        most = min(limits.longest, MOST_SUBWORDS)
        if whole is None:
            reason = Limits(most, limits.ratio).reason(*lengths)
            if reason:
                self.skipped[SUBWORD_REASONS[reason]] += 1
            return reason is None
        if max(lengths) > MOST_SUBWORDS:
            raise UserError(
                f"{whole}: sentence {number} has {max(lengths)} subwords, the models take {MOST_SUBWORDS}; shorten it"
            )
        if min(lengths) == 0:
            self.noted[f"empty in {whole}"] += 1
        return True

    @staticmethod
    def _path(folder: Path, split: str, language: str) -> Path:
        return folder / f"{split}.{language}"


def _new(path: Path):
    return open(path, "x", encoding="utf-8", newline="\n")
