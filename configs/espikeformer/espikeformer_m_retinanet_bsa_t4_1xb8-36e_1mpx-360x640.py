# The detector of the Gen1 config on Prophesee 1Mpx, at half of 1280 x 720 pixels. The folder with
# train, val and test: ONE_MPX_ROOT in the environment, data/1mpx if it is not set.
_base_ = './espikeformer_m_retinanet_bsa_t4_1xb8-36e_gen1-240x304.py'
data_root = '{{$ONE_MPX_ROOT:data/1mpx}}'
train_pipeline = [
    dict(type='mmbsa.LoadEventWindow', num_frames=4, max_count=10),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(640, 360), keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='mmbsa.LoadEventWindow', num_frames=4, max_count=10),
    dict(type='Resize', scale=(640, 360), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'instances'),
    ),
]
one_mpx = dict(
    data_root=data_root,
    sensor='1mpx',
    metainfo=dict(
        classes=(
            'pedestrian',
            'two wheeler',
            'car',
            'truck',
            'bus',
            'traffic sign',
            'traffic light',
        )
    ),
)
train_dataloader = dict(dataset=dict(**one_mpx, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(**one_mpx, pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(**one_mpx, pipeline=test_pipeline))
model = dict(bbox_head=dict(num_classes=7))
