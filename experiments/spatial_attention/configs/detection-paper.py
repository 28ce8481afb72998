# The paper's setting as the toolbox released it: Faster R-CNN R50-FPN, 1x, ImageNet-pretrained.
# The arm adds its operators.
_base_ = ["mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py"]
