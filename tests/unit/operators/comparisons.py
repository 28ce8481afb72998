"""Comparisons shared by the tests of operators."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def randomise(module: nn.Module, scale: float = 0.4) -> nn.Module:
    """Every parameter random, so that no gate or bias hides an error by starting at 0."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, scale)
    return module


def relative_error(a: Tensor, b: Tensor) -> float:
    """Largest difference over the largest magnitude of ``b``."""
    a, b = a.detach(), b.detach()
    return float((a.double() - b.double()).abs().max() / b.double().abs().max().clamp(min=1e-12))


def output_and_gradients(form: Callable, module: nn.Module, x: Tensor) -> list[Tensor]:
    """Output, input gradient and parameter gradients under a fixed random loss."""
    module.zero_grad(set_to_none=True)
    x = x.detach().clone().requires_grad_()
    y = form(x)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64).to(y.dtype)
    (y * weights).sum().backward()
    leaves = (x, *module.parameters())
    return [y.detach(), *(torch.zeros_like(p) if p.grad is None else p.grad for p in leaves)]


def assert_same(fast: Callable, reference: Callable, module: nn.Module, x: Tensor, tolerance: float = 1e-4) -> None:
    """Same output and gradients: to `tolerance` as given (float32), to 1e-9 in float64, where rounding hides nothing.

    Relative to each tensor's largest entry; in float32 to at least a tenth of the largest of all, since a sum that
    nearly cancels, such as the gradient of a scalar gate, has the rounding of its terms.
    """
    assert_close(fast, reference, module, x, tolerance, floor=0.1)
    assert_close(fast, reference, module.double(), x.double(), 1e-9, floor=1e-4)
    module.to(x.dtype)


def assert_close(
    fast: Callable, reference: Callable, module: nn.Module, x: Tensor, tolerance: float, floor: float
) -> None:
    """Largest difference of output and gradients, over the largest entry or `floor` times the largest of all."""
    ours, theirs = (output_and_gradients(form, module, x) for form in (fast, reference))
    least = floor * max(float(t.abs().max()) for t in theirs)
    for a, b in zip(ours, theirs, strict=True):
        error = float((a.double() - b.double()).abs().max()) / max(float(b.abs().max()), least, 1e-12)
        assert error <= tolerance, f"{x.dtype}: relative error {error:.2e} in a tensor of shape {tuple(b.shape)}"


def gradcheck(module: nn.Module, x: Tensor, forward: Callable | None = None) -> None:
    """Numerical gradients in float64 of the input and of every parameter; forward(module, x) picks the output."""
    module, x = module.double(), x.double()
    names = [name for name, _ in module.named_parameters()]
    pick = forward or (lambda m, x: m(x))

    class Call(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, x: Tensor) -> Tensor:
            return pick(self.inner, x)

    call = Call()

    def function(x: Tensor, *parameters: Tensor) -> Tensor:
        values = {f"inner.{name}": p for name, p in zip(names, parameters, strict=True)}
        return torch.func.functional_call(call, values, (x,))

    parameters = [p.detach().clone().requires_grad_() for p in module.parameters()]
    assert torch.autograd.gradcheck(function, (x.detach().clone().requires_grad_(), *parameters), fast_mode=True)


def assert_compiles(module: nn.Module, *inputs: Tensor | None) -> None:
    """One graph, forward and backward, with the eager result."""
    torch._dynamo.reset()
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    first = lambda y: y[0] if isinstance(y, tuple) else y  # noqa: E731
    y = first(compiled(*inputs))
    y.sum().backward()
    assert relative_error(y, first(module(*inputs))) < 1e-5
