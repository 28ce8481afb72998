"""What the attention module of spatial_attention adds at paper size, counted and derived.

The paper's own counts could not be read. Counted is the difference of whole networks, an arm with the module minus the
same without it, as `plugins.runner.cost` counts them. Derived is the sum of the paper's terms over the places of the
module, with N queries, K keys and C channels a place:

    value K C^2, output N C^2, query N C^2 (E1, E2), key K C^2 (E1, E3), position (W wk + H hk) C^2 / 2 (E2, E4),
    E1 N K C, E2 N (hk + wk) C, E3 alone K C, E4 alone (W wk + H hk) C, aggregation N K C;
    0010 has one map for all queries: output C^2 and aggregation K C.

Multiply-adds; softmax and additions are left out.
"""

from __future__ import annotations

from collections.abc import Mapping

from plugins.suite import catalog

STUDY = "spatial_attention"
# (channels, blocks, height, width) of the module's places: conv4 and conv5 of ResNet-50 at 800 x 1344; the head of the
# segmentation network at 769 x 769, stride 8.
PLACES = {"detection": ((256, 6, 50, 84), (512, 3, 25, 42)), "segmentation": ((512, 1, 97, 97),)}


def derived(terms: str, kv_stride: int, task: str) -> tuple[int, int]:
    """(parameters, multiply-adds) of the module at all its places."""
    e1, e2, e3, e4 = (bit == "1" for bit in terms)
    parameters = macs = 0
    for c, blocks, h, w in PLACES[task]:
        hk, wk = -(-h // kv_stride), -(-w // kv_stride)
        n, keys, along, shared = h * w, hk * wk, w * wk + h * hk, terms == "0010"
        square = 2 + (e1 or e2) + (e1 or e3) + (e2 or e4)
        parameters += blocks * (square * c * c + c + e3 * c + e4 * c + 1)
        products = keys * c * c + (c * c if shared else n * c * c) + (keys * c if shared else n * keys * c)
        products += (e1 or e2) * n * c * c + (e1 or e3) * keys * c * c + (e2 or e4) * along * c * c // 2
        products += n * keys * c if e1 else keys * c if e3 else 0
        products += n * (hk + wk) * c if e2 else along * c if e4 else 0
        macs += blocks * products
    return parameters, macs


def compared(records: list[Mapping]) -> list[dict]:
    """{arm, params, derived_params, macs, derived_macs} of every counted arm of the study that has the module."""
    counts = {record["arm"]: record for record in records if record["study"] == STUDY and record["arm"]}
    rows = []
    for ablation, content in catalog.ablations(STUDY).items():
        for arm, body in content.arms.items() if content.task in PLACES else ():
            name, options = f"{ablation}/{arm}", body.set or {}
            attention = options.get("attention")
            if name not in counts or not attention or attention.get("spatial_range", -1) >= 0:
                continue
            without = counts[f"factors_{content.task}/w/o{'+dcn' if options.get('deformable') else ''}"]
            parameters, macs = derived(attention["terms"], attention["kv_stride"], content.task)
            row = {"arm": name, "derived_params": parameters, "derived_macs": macs}
            rows.append(row | {key: counts[name][key] - without[key] for key in ("params", "macs")})
    return rows
