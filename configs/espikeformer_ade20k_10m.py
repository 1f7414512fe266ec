# E-SpikeFormer 10M + 1.4M on ADE20K with its own attention kind: 40.1 mIoU in the paper of
# Spike-driven Transformer V3. Weights of the classifier: V3_10.0M_1x4.pth of the authors, converted
# by tools/model_converters/convert.py sdt_v3_cls.
_base_ = './espikeformer/espikeformer_m_fpn_4xb4-160k_ade20k-512x512.py'
