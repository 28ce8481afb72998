# ImageNet-1K as in the released ResNet code: SGD, cosine after a warm-up of 5 epochs from a quarter of the rate, 90
# epochs, label smoothing 0.1, crops and mirroring; weight decay on everything, the path scales and shift kernels too.
# The batch of the published run is not known; the released command says 128.
_base_ = ["../../bases/classification-imagenet.py"]

# The released loss spreads its 0.1 over the 999 wrong classes; mmpretrain's spreads over all 1000.
smoothing = 0.1 * 1000 / 999
model = dict(
    head=dict(loss=dict(_delete_=True, type="LabelSmoothLoss", label_smooth_val=smoothing, mode="original")),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.25, by_epoch=True, begin=0, end=5),
    dict(type="CosineAnnealingLR", eta_min=0, by_epoch=True, begin=5, end=90),
]
train_cfg = dict(by_epoch=True, max_epochs=90)
