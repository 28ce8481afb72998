# Fine-tuning on small images: as in the augmented recipe, then enlarged to the model's own image size.
_base_ = ["./classification-augmented.py"]

load = dict(type="LoadCheckedImage", size=None)
enlarge = dict(type="Resize", scale=None)
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            load,
            dict(type="RandomCrop", crop_size=None, padding=4),
            dict(type="RandomFlip", prob=0.5, direction="horizontal"),
            enlarge,
            dict(type="PackInputs"),
        ]
    )
)
test_dataloader = dict(dataset=dict(pipeline=[load, enlarge, dict(type="PackInputs")]))
