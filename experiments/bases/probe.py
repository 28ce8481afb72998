# Image probes by mmseg: a stem, one layer, a head on tokens; arrays in memory; AdamW, a warm-up, a cosine to zero.
# Of mmseg's default_runtime.py what applies; looking the package's file up takes as long as ten updates.
default_scope = "mmseg"
log_level = "INFO"
log_processor = dict(by_epoch=False)
load_from = None
resume = False

collate = dict(type="convattn_stack")
train_dataloader = dict(num_workers=0, sampler=None, collate_fn=collate, dataset=dict())
test_dataloader = dict(
    batch_size=200,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=collate,
    dataset=dict(),
)
test_evaluator = dict()
test_cfg = dict(type="TestLoop")
env_cfg = dict(cudnn_benchmark=False, mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0))
model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(type="ConvattnArraysPreprocessor"),
    backbone=dict(type="ConvattnProbeNet", stem="two", width=32),
    decode_head=dict(
        type="ConvattnTokenHead",
        in_channels=32,
        channels=32,
        num_classes=2,
        # The mean over the labelled tokens alone.
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0, avg_non_ignore=True),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=0.006, weight_decay=1e-4),
    clip_grad=dict(max_norm=1, norm_type=2),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=20),
    dict(type="CosineAnnealingLR", eta_min=0, by_epoch=False, begin=20, end=240),
]
train_cfg = dict(max_iters=240)
