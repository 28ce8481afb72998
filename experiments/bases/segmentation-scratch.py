# Segmentation of small pictures from scratch, on a CPU, but for the model: data, AdamW, a polynomial schedule.
_base_ = ["mmseg::_base_/default_runtime.py"]

custom_imports = dict(imports=["plugins.openmm_ext.loading"])
load = [dict(type="LoadCheckedImage"), dict(type="LoadAnnotations")]
train_dataloader = dict(
    num_workers=0,
    sampler=None,
    dataset=dict(pipeline=[*load, dict(type="RandomFlip", prob=0.5), dict(type="PackSegInputs")]),
)
test_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(test_mode=True, pipeline=[*load, dict(type="PackSegInputs")]),
)
test_evaluator = dict(type="IoUMetric", iou_metrics=["mIoU"])
test_cfg = dict(type="TestLoop")
env_cfg = dict(cudnn_benchmark=False)
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=0.001, weight_decay=0.05),
    clip_grad=dict(max_norm=35, norm_type=2),
)
# mmseg's polynomial schedule, after a warm-up.
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=1500),
    dict(type="PolyLR", eta_min=1e-6, power=0.9, begin=1500, end=40000, by_epoch=False),
]
train_cfg = dict(max_iters=40000)
