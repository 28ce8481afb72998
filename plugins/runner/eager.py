"""Keeps torch's compiler out of a run: no run compiles, and importing it takes a second.

torch imports `torch._dynamo` with the first optimiser and the first count of operations, only to tell it that it must
not compile their bookkeeping.
"""

BOOKKEEPING = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")


def without_compiler() -> None:
    """Lets optimisers and counters run as they are, which is what the compiler, told to keep out, makes of them."""
    from torch.optim import Optimizer
    from torch.utils.flop_counter import _FlopCounterMode

    for function in (*(getattr(Optimizer, name) for name in BOOKKEEPING), _FlopCounterMode.__torch_dispatch__):
        plain = getattr(function, "__wrapped__", None)
        if plain is not None:
            plain.__dynamo_disable = plain  # where `torch._disable_dynamo` keeps the compiler's answer
