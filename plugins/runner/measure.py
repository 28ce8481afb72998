"""What a model costs: parameters and multiply-adds, and the memory that a call needs.

Multiply-adds are torch's FlopCounterMode halved (matrix products, convolutions, attention products). Modules with a
`macs(*inputs)` method, our operators, speak for themselves: their number is that of the published algorithm, however
our fast form computes it. Left out: element-wise work, softmax, normalisation, pooling, embeddings, interpolation.
Time is measured by `plugins.runner.timing`, alone on the machine.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

COUNTER = "torch FlopCounterMode / 2, operators by their own macs()"

LEAVES_OUT = (
    "element-wise work, softmax, normalisation, pooling, embedding look-ups, interpolation, box post-processing"
)


def _attention_flops(query, key, value, *options, out_shape=None, **more) -> int:
    """Of shapes, as torch's counter hands them on."""
    return sdpa_flop_count(query, key, value)


# torch's counter knows the fused attention of GPUs only.
FUSED_ATTENTION = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}


def count_parameters(model: nn.Module) -> int:
    """Numbers in all parameters, trained or not; shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


class _Spoken:
    """Replaces what the counter saw inside modules with `macs` by what they say of themselves."""

    def __init__(self, model: nn.Module, counter: FlopCounterMode):
        self.counter, self.correction, self.depth, self.handles = counter, 0, 0, []
        for module in model.modules():
            if callable(getattr(module, "macs", None)):
                self.handles.append(module.register_forward_pre_hook(self._enter, with_kwargs=True))
                self.handles.append(module.register_forward_hook(self._leave, with_kwargs=True, always_call=False))

    def _enter(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        if self.depth == 0:
            self.before = self.counter.get_total_flops()
        self.depth += 1

    def _leave(self, module: nn.Module, args: tuple, kwargs: dict, output) -> None:
        self.depth -= 1
        if self.depth == 0:
            seen = (self.counter.get_total_flops() - self.before) // 2
            self.correction += int(module.macs(*args, **kwargs)) - seen

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()


@contextlib.contextmanager
def omit_attention_products(model: nn.Module):
    """Within it, `macs` of modules that know their `attention_macs` leave out the two products of attention.

    For prints that do not count them (Attention Augmented Convolution). ValueError where no module knows.
    """
    modules = [module for module in model.modules() if callable(getattr(module, "attention_macs", None))]
    if not modules:
        raise ValueError("leaves_out attention_products: no module of this model has attention_macs()")
    for module in modules:
        module.macs = partial(_without_products, module, module.macs)
    try:
        yield
    finally:
        for module in modules:
            del module.macs


def _without_products(module: nn.Module, macs: Callable[..., int], *inputs, **options) -> int:
    return macs(*inputs, **options) - module.attention_macs(*inputs, **options)


def count_macs(model: nn.Module, forward: Callable[[], object]) -> int:
    """Multiply-adds of one call of `forward`, which runs `model`."""
    counter = FlopCounterMode(display=False, custom_mapping=FUSED_ATTENTION)
    spoken = _Spoken(model, counter)
    try:
        with torch.no_grad(), counter:
            forward()
    finally:
        spoken.remove()
    return counter.get_total_flops() // 2 + spoken.correction


def peak_megabytes(call: Callable[[], object], device: str) -> float:
    """Most memory that one call holds at once above what was held before it, in MB (10^6 bytes).

    On a CPU from the allocator's events as torch's profiler sees them; on a GPU from torch's own statistics.
    """
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        call()
    held = peak = 0
    events = (e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]")
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak / 1e6


def one_example(size: dict) -> dict:
    """The `measure` section of a recipe for a batch of one, so that no batch size enters a cost."""
    return size | ({"batch": 1} if "batch" in size else {})


def measure(model: nn.Module, forward: Callable[[], object]) -> dict:
    """The `cost` part of metrics.json. `forward` is one inference."""
    model.eval()
    return {
        "params": count_parameters(model),
        "macs": count_macs(model, forward),
        "macs_counter": COUNTER,
        "macs_leaves_out": LEAVES_OUT,
    }
