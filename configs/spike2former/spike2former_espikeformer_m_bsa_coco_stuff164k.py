# Spike2Former with E-SpikeFormer 10M on COCO-Stuff 164k, with Bipolar Self-attention in backbone
# and head.
_base_ = './spike2former_espikeformer_m_coco_stuff164k.py'
attention = dict(type='mmbsa.BipolarSelfAttention')
model = dict(backbone=dict(attention=attention), decode_head=dict(attention=attention))
