# Semantic FPN on ADE20K, 40k updates of 16 crops of 512x512 with AdamW: the setting of the baseline's (PVT's) project;
# what the paper trained is unread. The backbone starts from scratch here: give `model.backbone.init_cfg` a checkpoint
# of the classification study to fine-tune one.
_base_ = ["mmseg::sem_fpn/fpn_r50_4xb4-160k_ade20k-512x512.py"]

model = dict(
    pretrained=None,
    backbone=dict(_delete_=True, norm_cfg=dict(type="SyncBN", requires_grad=True), norm_eval=False),
)
optim_wrapper = dict(_delete_=True, type="OptimWrapper", optimizer=dict(type="AdamW", lr=0.0001, weight_decay=0.0001))
param_scheduler = [dict(type="PolyLR", eta_min=0.0, power=0.9, begin=0, end=40000, by_epoch=False)]
train_cfg = dict(max_iters=40000)
