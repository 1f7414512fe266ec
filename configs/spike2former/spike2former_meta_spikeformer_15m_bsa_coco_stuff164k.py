# Spike2Former with Meta-SpikeFormer 15M on COCO-Stuff 164k, with Bipolar Self-attention in backbone
# and head.
_base_ = './spike2former_meta_spikeformer_15m_coco_stuff164k.py'
attention = dict(type='mmbsa.BipolarSelfAttention')
model = dict(backbone=dict(attention=attention), decode_head=dict(attention=attention))
