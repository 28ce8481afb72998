# CIFAR with random crops and mirroring, and the optimiser of swin-scratch.py.
_base_ = ["swin-scratch.py"]

load = dict(type="LoadCheckedImage", size=None)
train_dataloader = dict(
    num_workers=2,
    persistent_workers=True,
    dataset=dict(
        pipeline=[
            load,
            dict(type="RandomCrop", crop_size=32, padding=4),
            dict(type="RandomFlip", prob=0.5, direction="horizontal"),
            dict(type="PackInputs"),
        ]
    ),
)
