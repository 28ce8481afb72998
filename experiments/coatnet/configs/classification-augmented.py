# The same with what the other ablations of the paper train under, at the size of small images: flips and shifts, label
# smoothing, weight decay.
_base_ = ["./classification-scratch.py"]

load = dict(type="LoadCheckedImage", size=None)
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            load,
            dict(type="RandomCrop", crop_size=None, padding=4),  # of the images' own size
            dict(type="RandomFlip", prob=0.5, direction="horizontal"),
            dict(type="PackInputs"),
        ]
    )
)
model = dict(head=dict(loss=dict(type="LabelSmoothLoss", label_smooth_val=0.1, mode="original", _delete_=True)))
optim_wrapper = dict(optimizer=dict(weight_decay=0.05), paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0))
