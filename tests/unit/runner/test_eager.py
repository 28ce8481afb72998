"""That a run does not import torch's compiler only to be told that it is not wanted."""

import subprocess
import sys

WORK = """
import sys
import torch
from torch.utils.flop_counter import FlopCounterMode
from plugins.runner import eager

if {without}:
    eager.without_compiler()
layer = torch.nn.Linear(2, 3)
optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
with FlopCounterMode(display=False) as counter:
    layer(torch.ones(1, 2)).sum().backward()
gradients = [p.grad.clone() for p in layer.parameters()]
optimizer.load_state_dict(optimizer.state_dict())
optimizer.zero_grad()
print(gradients, counter.get_total_flops(), [p.grad for p in layer.parameters()], "torch._dynamo" in sys.modules)
"""


def done(without: bool) -> str:
    command = [sys.executable, "-c", WORK.format(without=without)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_bookkeeping_does_the_same_without_the_compiler():
    with_it, without_it = done(False), done(True)
    assert with_it.endswith("True") and without_it.endswith("False")
    assert with_it.removesuffix("True") == without_it.removesuffix("False")
