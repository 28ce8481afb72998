"""``python -m benchmarks.operators``: our operators beside their references and the installed peers, in one run.

For each case the fast form, the reference form and the peer take turns, so that a busy moment hits them alike; a time
is the median over the turns. Memory is the peak of what a pass allocates beyond its inputs and parameters: on a CPU the
running sum of the allocator's events, on a GPU ``max_memory_allocated``. The floor is the larger of the published
multiply-adds over the machine's measured matrix-product rate and the bytes that must move (inputs, parameters, outputs
and, in training, their gradients, once each) over its measured copy rate; a training pass counts the multiply-adds
three times.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks import against

PASSES = ("fwd", "fwd+bwd")
FIELDS = (
    "operator case device threads dtype pass ours_ms reference_ms peer peer_ms ours_peak_mb peer_peak_mb floor_ms"
).split()
OURS_REFERENCE = "our unfold reference (the released algorithm)"


@dataclass
class Case:
    """What is run: our module, its reference form, a peer, and the inputs that all of them take.

    `time` and `memory` are targets: how many times faster (or smaller) than the peer we mean to be, by pass.
    """

    operator: str
    name: str
    ours: nn.Module
    inputs: tuple[Tensor, ...]
    reference: Callable[..., Tensor] | None = None
    peer: str | None = None
    peer_call: nn.Module | Callable[..., Tensor] | None = None
    time: dict[str, float] | None = None
    memory: float | None = None


def generalized_attention(quick: bool) -> Iterator[Case]:
    """Patterns of E1..E4 on the maps of detection; mmcv is left out where it is wrong."""
    ours = import_module("plugins.operators.generalized_attention")
    try:
        peer_class = import_module("mmcv.cnn.bricks").GeneralizedAttention
    except ImportError:
        peer_class = None
    maps = [(512, 25, 42)] if quick else [(512, 25, 42), (256, 50, 84)]
    every = ["0010", "1000", "0011", "0100", "1111"] if quick else [f"{i:04b}" for i in range(1, 16)]
    for channels, height, width in maps:
        for kv_stride in (1, 2):
            for terms in every:
                module = ours.GeneralizedAttention(channels, terms=terms, heads=8, kv_stride=kv_stride)
                nn.init.constant_(module.gamma, 0.1)
                right = peer_class is not None and terms not in ("0100", "0110", "1100", "1110")
                peer = peer_class(channels, num_heads=8, kv_stride=kv_stride, attention_type=terms) if right else None
                if peer is not None:
                    peer.load_state_dict(module.state_dict(), strict=False)
                position, content = terms[1] == "1" or terms[3] == "1", terms == "1000"
                yield Case(
                    "generalized attention",
                    f"{terms} C={channels} {height}x{width} kv_stride {kv_stride}",
                    module,
                    (torch.randn(1, channels, height, width),),
                    lambda x, m=module: ours.generalized_attention_reference(m, x),
                    "mmcv GeneralizedAttention" if right else None,
                    peer,
                    {"fwd+bwd": 4.0 if position else 2.0 if content else 1.0},
                    4.0 if position else 2.0 if content else 1.0,
                )


def text(quick: bool) -> Iterator[Case]:
    """MUSE's branch and dynamic convolution at T=64, B=32, d=384."""
    muse, dynamic = (import_module(f"plugins.operators.{name}") for name in ("muse", "dynamic_conv"))
    x = torch.randn(64, 32, 384)
    for causal in (False, True):
        module = muse.MuseAttention(384, 4, kernels=[3, 15], causal=causal, weight_dropout=0.0)
        yield Case(
            "MUSE branch",
            f"kernels 3, 15 T=64 B=32 d=384{' causal' if causal else ''}",
            _first(module),
            (x,),
            lambda x, m=module: muse.muse_attention_reference(m, x)[0],
            "the branch on fairseq's modules",
            _fairseq_branch(causal),
            {"fwd+bwd": 1.5},
            1.0,
        )
    for kernel in (3, 15):
        module = dynamic.DynamicConv1d(384, kernel, kernel // 2, num_heads=4)
        yield Case(
            "dynamic conv 1-D",
            f"kernel {kernel} T=64 B=32 d=384",
            module,
            (x,),
            lambda x, m=module: dynamic.tap_conv1d_reference(m, x),
            "fairseq DynamicConv1dTBC",
            _fairseq_dynamic(kernel, kernel // 2),
            {"fwd+bwd": 2.0},
            1.0,
        )


def deformable(quick: bool) -> Iterator[Case]:
    """Deformable convolution beside mmcv's operator (no target: both are compiled)."""
    ours = import_module("plugins.operators.deform_conv")
    module = ours.DeformConv2d(256, 256, 3, padding=1)
    try:
        peer = import_module("mmcv.ops").DeformConv2dPack(256, 256, 3, padding=1)
    except (ImportError, RuntimeError, AttributeError):
        peer = None
    yield Case(
        "deformable conv 2-D",
        "C=256 25x42",
        module,
        (torch.randn(1, 256, 25, 42),),
        None,
        "mmcv DeformConv2dPack" if peer is not None else None,
        peer,
    )


def aaconv(quick: bool) -> Iterator[Case]:
    """Attention with relative logits (nu = 1: no convolution) beside timm's bottleneck attention of the same widths."""
    ours = import_module("plugins.operators.aaconv")
    peer_class = import_module("timm.layers.bottleneck_attn").BottleneckAttn
    cases = [(8, 256, 14, 14, 20, 3), (1, 512, 25, 42, 20, 6), (1, 512, 25, 42, 64, 64)]
    cases += [] if quick else [(4, 128, 28, 28, 20, 1), (1, 256, 50, 84, 20, 3), (1, 256, 50, 84, 32, 32)]
    for batch, channels, height, width, key, value in cases:
        module = ours.AAConv(channels, 8 * value, heads=8, dk=8 * key, dv=8 * value, map_size=(height, width))
        yield Case(
            "AAConv relative",
            f"N={batch} C={channels} {height}x{width} dk/head {key} dv/head {value}",
            module,
            (torch.randn(batch, channels, height, width),),
            lambda x, m=module: ours.aaconv_reference(m, x),
            "timm BottleneckAttn",
            peer_class(channels, 8 * value, (height, width), num_heads=8, dim_head=key),
            {"fwd+bwd": 1.5},
            2.0,
        )


def acmix(quick: bool) -> Iterator[Case]:
    """ACmix beside the released algorithm, which is our reference: no package has it."""
    ours = import_module("plugins.operators.acmix")
    for batch, stride in ((1, 1), (4, 1)) if quick else ((1, 1), (4, 1), (4, 2)):
        module = ours.ACmix(64, 64, heads=4, kernel_att=7, stride=stride)
        yield Case(
            "ACmix",
            f"N={batch} C=64 56x56 k_a 7 stride {stride}",
            module,
            (torch.randn(batch, 64, 56, 56),),
            lambda x, m=module: ours.acmix_reference(m, x),
            OURS_REFERENCE,
            None,
            {"fwd": 8.0, "fwd+bwd": 3.0},
            5.0,
        )


def coatnet(quick: bool) -> Iterator[Case]:
    """Two blocks of a stage of CoAtNet-0 beside timm's blocks with the same strides and pools."""
    ours, peer = import_module("plugins.operators.coatnet"), import_module("timm.models.maxxvit")
    position = import_module("timm.layers").RelPosBias
    batch = 2 if quick else 8
    for before, width, side in ((64, 96, 112), (96, 192, 56)):
        yield Case(
            "CoAtNet stage",
            f"2 MBConv {before}->{width} {side}x{side} N={batch}",
            nn.Sequential(ours.MBConv(before, width, 2, "depthwise", pool="avg2"), ours.MBConv(width, width)),
            (torch.randn(batch, before, side, side),),
            None,
            "timm MbConvBlock",
            nn.Sequential(peer.MbConvBlock(before, width, 2), peer.MbConvBlock(width, width)),
            {"fwd+bwd": 1.0},
            1.0,
        )
    for before, width, side in ((192, 384, 28), (384, 768, 14)):
        size = (side // 2, side // 2)

        def bias(num_heads: int, size: tuple[int, int] = size, **_) -> nn.Module:
            return position(size, num_heads=num_heads)

        yield Case(
            "CoAtNet stage",
            f"2 Transformer {before}->{width} {side}x{side} N={batch}",
            nn.Sequential(
                ours.TransformerBlock(before, width, size, 2, pool="avg2"), ours.TransformerBlock(width, width, size)
            ),
            (torch.randn(batch, before, side, side),),
            None,
            "timm TransformerBlock2d",
            nn.Sequential(
                peer.TransformerBlock2d(before, width, 2, bias), peer.TransformerBlock2d(width, width, 1, bias)
            ),
            {"fwd+bwd": 1.0},
            1.0,
        )


FAMILIES = {
    "generalized_attention": generalized_attention,
    "text": text,
    "deformable": deformable,
    "aaconv": aaconv,
    "acmix": acmix,
    "coatnet": coatnet,
}


class _first(nn.Module):  # noqa: N801  (a function of a module, in effect)
    """The output alone of a module that also gives attention weights."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)[0]

    def macs(self, x: Tensor) -> int:
        return self.inner.macs(x)


def _fairseq_dynamic(kernel: int, left: int) -> nn.Module:
    peer = import_module("fairseq.modules.dynamic_convolution").DynamicConv1dTBC
    return peer(384, kernel, left, num_heads=4, weight_softmax=True)


def _fairseq_branch(causal: bool) -> nn.Module:
    attention = import_module("fairseq.modules").MultiheadAttention(384, 4, self_attention=True)
    mask = torch.full((64, 64), -math.inf).triu(1) if causal else None

    class Branch(nn.Module):
        """The MUSE branch put together from the toolbox: attention, two dynamic convolutions of v, gate, output
        projection."""

        def __init__(self) -> None:
            super().__init__()
            self.attention = attention
            self.convolutions = nn.ModuleList(_fairseq_dynamic(k, k - 1 if causal else k // 2) for k in (3, 15))
            self.gate = nn.Parameter(torch.zeros(2))
            self.project = nn.Linear(384, 384)
            self.register_buffer("mask", mask)

        def forward(self, x: Tensor) -> Tensor:
            attended, _ = self.attention(x, x, x, attn_mask=self.mask, need_weights=False)
            value = self.attention.v_proj(x)
            gate = self.gate.softmax(0)
            return attended + self.project(
                sum(g * conv(value) for g, conv in zip(gate, self.convolutions, strict=True))
            )

    return Branch()


@dataclass
class Rates:
    """What the machine does: multiply-adds a second in a matrix product, bytes a second (read and written) in a
    copy."""

    matmul: float
    copy: float


def measure_rates(device: torch.device) -> Rates:
    """Best of several products of 1024 x 1024 (CPU) or 8192 x 8192 (CUDA) and of copies of 64 MB or 1 GB."""
    large = device.type == "cuda"
    side, count = (8192, 1 << 28) if large else (1024, 1 << 24)
    a, b = torch.randn(side, side, device=device), torch.randn(side, side, device=device)
    source = torch.randn(count, device=device)
    target = torch.empty_like(source)
    product = min(seconds(lambda: torch.mm(a, b), device) for _ in range(8))
    copy = min(seconds(lambda: target.copy_(source), device) for _ in range(8))
    return Rates(side**3 / product, 2 * source.numel() * source.element_size() / copy)


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """Wall time of one call, the device's work included."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def passes(
    form: Callable[..., Tensor], module: nn.Module, inputs: tuple[Tensor, ...]
) -> dict[str, Callable[[], object]]:
    """The two passes of one contestant. Training starts without gradients, so that each pass allocates its own."""
    gradient = None

    def forward() -> None:
        module.eval()
        with torch.no_grad():
            form(*inputs)

    def both() -> None:
        nonlocal gradient
        module.train()
        module.zero_grad(set_to_none=True)
        leaves = [t.detach().requires_grad_() for t in inputs]
        y = form(*leaves)
        if gradient is None:
            gradient = torch.randn_like(y)
        y.backward(gradient)

    return {"fwd": forward, "fwd+bwd": both}


def our_passes(case: Case, device: torch.device) -> dict[str, Callable[[], object]]:
    """The two passes of our module alone, on this device."""
    case.ours.to(device)
    return passes(case.ours, case.ours, tuple(t.to(device) for t in case.inputs))


def floor_ms(case: Case, name: str, rates: Rates) -> float | None:
    """Least time that the machine's own rates allow for a pass, or None where the operator counts no multiply-adds."""
    macs = sum(m.macs(*x) for m, x in _counted(case))
    if not macs:
        return None
    with torch.no_grad():
        moved = sum(t.numel() for t in (*case.inputs, *case.ours.parameters(), case.ours.eval()(*case.inputs))) * 4
    share = 3 if name == "fwd+bwd" else 1
    return 1e3 * max(share * macs / rates.matmul, (share - (share == 3)) * moved / rates.copy)


def _counted(case: Case) -> list[tuple[nn.Module, tuple[Tensor, ...]]]:
    if not isinstance(case.ours, nn.Sequential):
        return [(case.ours, case.inputs)] if hasattr(case.ours, "macs") else []
    seen, x = [], case.inputs
    with torch.no_grad():
        for block in case.ours.eval():
            seen.append((block, x))
            x = (block(*x),)
    return seen


def run_case(case: Case, rates: Rates, device: torch.device, budget: float) -> list[dict]:
    """Time and weigh every contestant of a case; one record a pass."""
    for part in (case.ours, case.peer_call):
        if isinstance(part, nn.Module):
            part.to(device)
    case.inputs = tuple(t.to(device) for t in case.inputs)
    contestants = {"ours": passes(case.ours, case.ours, case.inputs)}
    if case.reference is not None and _reference_fits(case):
        contestants["reference"] = passes(case.reference, case.ours, case.inputs)
    if case.peer_call is not None:
        contestants["peer"] = passes(case.peer_call, case.peer_call, case.inputs)
    records = []
    # Not at the top: with `--against` the process of another checkout imports this file before that checkout's plugins.
    peak_megabytes = import_module("plugins.runner.measure").peak_megabytes
    for name in PASSES:
        calls = {who: calls[name] for who, calls in contestants.items()}
        median = take_turns(calls, device, budget)
        peak = {who: peak_megabytes(call, device.type) for who, call in calls.items()}
        rival = "reference" if case.peer == OURS_REFERENCE else "peer"
        records.append(
            dict(
                zip(
                    FIELDS,
                    (
                        case.operator,
                        case.name,
                        device.type,
                        torch.get_num_threads(),
                        "float32",
                        name,
                        median["ours"],
                        median.get("reference"),
                        case.peer,
                        median.get(rival),
                        peak["ours"],
                        peak.get(rival),
                        floor_ms(case, name, rates),
                    ),
                    strict=True,
                )
            )
        )
        records[-1]["_targets"] = ((case.time or {}).get(name), case.memory if name == "fwd+bwd" else None)
    return records


def _reference_fits(case: Case) -> bool:
    """References hold every logit, and AAConv's every position vector: leave them out where that is gigabytes."""
    x = case.inputs[0]
    if x.dim() != 4 or case.operator not in ("AAConv relative", "generalized attention"):
        return True
    return (x.shape[2] * x.shape[3]) ** 2 * x.shape[0] * 8 * 4 < 4e8


def take_turns(calls: dict[str, Callable[[], object]], device: torch.device, budget: float) -> dict[str, float]:
    """Median milliseconds of each call, taken in turns for about this long a call, at least 3 turns and at most 50."""
    times: dict[str, list[float]] = {who: [] for who in calls}
    for call in calls.values():
        call()
    start = time.perf_counter()
    while len(next(iter(times.values()))) < 3 or (
        time.perf_counter() - start < budget * len(calls) and len(next(iter(times.values()))) < 50
    ):
        for who, call in calls.items():
            times[who].append(seconds(call, device) * 1e3)
    return {who: statistics.median(values) for who, values in times.items()}


def verdict(record: dict) -> str:
    """Ratios to the peer and whether they meet the targets: `4.2x faster (4x: met), 6x less (4x: met)`."""
    parts = []
    for ours, peer, target, word in (
        (record["ours_ms"], record["peer_ms"], record["_targets"][0], "faster"),
        (record["ours_peak_mb"], record["peer_peak_mb"], record["_targets"][1], "less"),
    ):
        if peer is None or not ours:
            continue
        ratio = peer / ours
        aim = "" if target is None else f" (target {target:g}: {'met' if ratio >= target else 'NOT met'})"
        parts.append(f"{ratio:.2f}x {word}{aim}")
    return ", ".join(parts)


def describe(device: torch.device, rates: Rates) -> str:
    """One line on the machine and the versions that the numbers depend on."""
    name = torch.cuda.get_device_name() if device.type == "cuda" else _processor()
    versions = []
    for package in ("torch", "timm", "fairseq-fixed", "onedl-mmcv"):
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            versions.append(f"{package} not installed")
    speed = f"matrix product {rates.matmul / 1e9:.1f} G multiply-adds/s, copy {rates.copy / 1e9:.1f} GB/s"
    return f"{name}, {torch.get_num_threads()} threads, float32; {speed}; {', '.join(versions)}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main(arguments: list[str] | None = None) -> int:
    """Run the families asked for, print the table, write the records."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.operators", description=__doc__.splitlines()[0])
    parser.add_argument(
        "families", nargs="*", metavar="FAMILY", help=f"of {', '.join(FAMILIES)} (all if none is named)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="fewer geometries and turns: minutes instead of half an hour"
    )
    parser.add_argument("--json", type=Path, metavar="F", help="write the records here")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=2, help="of the CPU (2)")
    parser.add_argument(
        "--against",
        type=Path,
        metavar="DIR",
        help="another checkout of this project: its operators and ours in turns, ratios new / old, nothing else",
    )
    parser.add_argument("--clock", choices=("wall", "processor"), default="wall", help="of --against (wall)")
    parser.add_argument("--seconds", type=float, help="time for the turns of one pass (3; with --quick 0.5)")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.families if name not in FAMILIES]
    if unknown:
        parser.error(f"unknown family {unknown[0]}: one of {', '.join(FAMILIES)}")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no GPU")
    options.seconds = options.seconds or (0.5 if options.quick else 3.0)
    families = options.families or list(FAMILIES)
    if options.against:
        if not (options.against / "plugins" / "operators").is_dir():
            parser.error(f"--against {options.against}: no checkout of this project (it has no plugins/operators)")
        if options.clock == "processor" and options.device == "cuda":
            parser.error("--clock processor: the time of a GPU is wall time")
        return against.compare(options, families, PASSES)
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    rates = measure_rates(device)
    print(describe(device, rates))
    records = []
    for family in families:
        torch.manual_seed(0)
        for case in FAMILIES[family](options.quick):
            for record in run_case(case, rates, device, options.seconds):
                show(record)
                records.append({key: record[key] for key in FIELDS})
            if options.json:  # after every case, so that an interrupted run leaves what it has
                options.json.write_text(json.dumps(records, indent=1) + "\n")
    return 0


def show(record: dict) -> None:
    """One line of the table."""

    def number(value: float | None, unit: str) -> str:
        return "-".rjust(8 + len(unit)) if value is None else f"{value:8.1f}{unit}"

    share = (
        ""
        if record["floor_ms"] is None
        else f" floor {record['floor_ms']:.1f} ms ({record['floor_ms'] / record['ours_ms']:.0%})"
    )
    print(
        f"{record['operator']:22} {record['case']:44} {record['pass']:8} ours {number(record['ours_ms'], ' ms')}"
        f" {number(record['ours_peak_mb'], ' MB')}  reference {number(record['reference_ms'], ' ms')}"
        f"  peer {number(record['peer_ms'], ' ms')} {number(record['peer_peak_mb'], ' MB')}  {verdict(record)};{share}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
