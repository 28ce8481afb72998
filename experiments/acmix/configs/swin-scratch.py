# A small Swin Transformer from scratch: AdamW as in the released Swin recipe, no decay on vectors, scales and tables.
_base_ = ["classification-scratch.py"]

undecayed = dict(decay_mult=0.0)
model = dict(
    init_cfg=[
        dict(type="TruncNormal", layer="Linear", std=0.02, bias=0.0),
        dict(type="Constant", layer="LayerNorm", val=1.0, bias=0.0),
    ]
)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=0.001, weight_decay=0.05, betas=(0.9, 0.999)),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys={"relative_position_bias_table": undecayed},
    ),
)
