# A small E-SpikeFormer with its own attention kind on CamVid, from scratch, for two CPU cores. The
# folder of the photos: CAMVID_ROOT in the environment.
_base_ = './espikeformer/espikeformer_3-64_fpn_b8-800i_camvid-160x160.py'
