# RetinaNet 1x on COCO, the setting of the baselines' projects; what the paper trained is unread. The backbone starts
# from scratch here: give `model.backbone.init_cfg` a checkpoint of the classification study to fine-tune one.
_base_ = ["mmdet::retinanet/retinanet_r50_fpn_1x_coco.py"]

model = dict(backbone=dict(_delete_=True, norm_cfg=dict(type="SyncBN", requires_grad=True), norm_eval=False))
