# Spike2Former with Meta-SpikeFormer 15M on COCO-Stuff 164k, with Bipolar Self-attention in backbone
# and head.
_base_ = './spike2former_meta-spikeformer-15m_t1_4xb9-160k_coco-stuff164k-512x512.py'
attention = dict(type='mmbsa.BipolarSelfAttention')
model = dict(backbone=dict(attention=attention), decode_head=dict(attention=attention))
