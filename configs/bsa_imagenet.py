# ImageNet pre-training of E-SpikeFormer 10M with Bipolar Self-attention, whose weights
# configs/bsa_ade20k.py starts from:
#   bash tools/dist_train.sh configs/bsa_imagenet.py 4
#   bash tools/dist_train.sh configs/bsa_ade20k.py 4 --cfg-options \
#       model.backbone.init_cfg.checkpoint=work_dirs/bsa_imagenet/epoch_200.pth
_base_ = './espikeformer/espikeformer_m_bsa_4xb150-200e_imagenet-224.py'
