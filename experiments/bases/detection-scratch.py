# Detection on small pictures from scratch, on a CPU, but for the model: data, AdamW, the 1x schedule.
_base_ = ["mmdet::_base_/default_runtime.py"]

custom_imports = dict(imports=["plugins.openmm_ext.loading"])
load = [
    dict(type="LoadCheckedImage"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Resize", scale=None, keep_ratio=True),  # to the size that the data set's manifest states
]
facts = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
train_dataloader = dict(
    num_workers=0,
    sampler=None,
    dataset=dict(type="CocoDataset", pipeline=[*load, dict(type="RandomFlip", prob=0.5), dict(type="PackDetInputs")]),
)
test_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="CocoDataset",
        test_mode=True,
        pipeline=[*load, dict(type="PackDetInputs", meta_keys=facts)],
    ),
)
test_evaluator = dict(type="CocoMetric", metric="bbox")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=0.001, weight_decay=0.05),
    clip_grad=dict(max_norm=35, norm_type=2),
)
# The 1x schedule: a tenth of the rate after 8 of 12 epochs and again after 11.
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type="MultiStepLR", begin=0, end=12, by_epoch=True, milestones=[8, 11], gamma=0.1),
]
train_cfg = dict(max_epochs=12)
