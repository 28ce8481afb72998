# CIFAR: stochastic gradient descent with momentum, linear warm-up and cosine to zero, the shape of the paper's recipe,
# with the usual augmentation of public recipes, crops of the padded picture and mirroring.
_base_ = ["classification-scratch.py"]

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
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="SGD", lr=0.1, momentum=0.9, weight_decay=0.0005),
)
