"""Names and shapes of official tensors, and what each becomes, for sources of which the repository
has no compact fixture.

``python tests/test_converters/test_official_names.py ../shared/oracle`` writes them from full
fixtures, which ``test_parity.py`` and its neighbours judge by their outputs.
"""

import gzip
import json
import sys
from pathlib import Path

import pytest
import torch

from mmbsa.converters import RECIPES, build_from_official

STORED = Path(__file__).resolve().parents[1] / 'data' / 'official_names.json.gz'
SOURCES = (
    'qkformer_imagenet',
    'qkformer_imagenet_sepT',
    'sdt_v3_seg_full',
    'sdtrack_base',
    'sdtrack_tiny',
    'sdtrack_tiny_T4D1',
    'sglformer_dvs',
    'sglformer_imagenet2',
    'sglformer_imagenet_sepT',
    'spike2former_head',
    'spike2former_head_noreorder',
    'spikf_semm_cifar_step',
    'spt_direct',
    'tim_dvs_asrun',
)


def numbered(shapes):
    """A tensor for every name, each with numbers of its own."""
    return {
        name: torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
        .add(1000 * place)
        .reshape(shape)
        for place, (name, shape) in enumerate(shapes.items())
    }


def convert(source, args, shapes):
    """Official name -> our name, or None for a tensor that is not used."""
    official = numbered(shapes)
    model = build_from_official(source, official, **args)
    ours, keys = model.state_dict(), model.conversion_report.keys
    for key, name in keys.items():
        expected = official[name].to(ours[key].dtype).flatten()
        assert torch.equal(ours[key].flatten(), expected), f'{name} is not what {key} has'
    renamed = {name: key for key, name in keys.items()}
    return {name: renamed.get(name) for name in shapes}


@pytest.mark.seg
@pytest.mark.parametrize('source', SOURCES)
def test_official_names_become_ours(source):
    pytest.importorskip('mmpretrain' if source.startswith('spt') else 'mmseg')
    stored = json.loads(gzip.decompress(STORED.read_bytes()))[source]
    shapes = {name: shape for name, (shape, _) in stored['names'].items()}
    found = convert(source, stored['args'], shapes)
    assert found == {name: ours for name, (_, ours) in stored['names'].items()}


@pytest.mark.seg
@pytest.mark.parametrize('source', [s for s in SOURCES if s.startswith('sdtrack')])
def test_backbones_of_trackers_are_converted_alone(source):
    """The ImageNet checkpoints, from which the published trainings start, have no tracking head."""
    pytest.importorskip('mmseg')
    stored = json.loads(gzip.decompress(STORED.read_bytes()))[source]
    backbone = {
        name.removeprefix('backbone.'): entry
        for name, entry in stored['names'].items()
        if name.startswith('backbone.')
    }
    shapes = {name: shape for name, (shape, _) in backbone.items()}
    found = convert(f'{source}_backbone', stored['args'].get('backbone', {}), shapes)
    assert len(found) > 100
    assert found == {
        name: ours and ours.removeprefix('backbone.') for name, (_, ours) in backbone.items()
    }


@pytest.mark.seg
@pytest.mark.parametrize(
    'wrong', [dict(backbone=dict(embed_dim=[1, 2, 3, 4])), dict(head=dict(channel=7))]
)
def test_arguments_that_contradict_the_tensors_are_named(wrong):
    pytest.importorskip('mmseg')
    stored = json.loads(gzip.decompress(STORED.read_bytes()))['sdtrack_tiny']
    official = numbered({name: shape for name, (shape, _) in stored['names'].items()})
    key = next(iter(next(iter(wrong.values()))))
    with pytest.raises(ValueError, match=key):
        build_from_official('sdtrack_tiny', official, **{**stored['args'], **wrong})


def test_sources_are_those_of_the_documentation():
    """Also those whose layout only ``test_layouts_without_fixtures.py`` describes."""
    for package in ('mmseg', 'mmpretrain', 'mmdet'):
        pytest.importorskip(package)
    fixtures = {path.stem for path in (STORED.parent / 'parity').glob('*.npz')}
    layouts = {
        *('qkformer_dvs', 'qkformer_dvs_sepT', 'sdt_v3_171m', 'sdt_v3_83m'),
        *('sglformer_imagenet2_sepT', 'spikformer_dvs', 'spikingformer_dvs'),
        *(f'{source}_backbone' for source in RECIPES if f'{source}_backbone' in RECIPES),
    }
    others = {'gtp_events', 'sdtrack_preproc', 'tracking_metrics'}  # no model
    assert set(RECIPES) == (fixtures - others) | set(SOURCES) | layouts


def main(folder):
    from safetensors import safe_open

    stored = {}
    for source in SOURCES:
        meta = json.loads((folder / f'{source}.json').read_text())
        args = dict(meta['constructor_args'])
        if meta.get('T') is not None and not source.startswith('spike2former'):
            args.setdefault('T', meta['T'])
        with safe_open(folder / f'{source}.weights.safetensors', 'pt') as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}
        names = convert(source, args, shapes)
        stored[source] = dict(args=args, names={k: [shapes[k], names[k]] for k in shapes})
    content = json.dumps(stored, separators=(',', ':')).encode()
    STORED.write_bytes(gzip.compress(content, mtime=0))


if __name__ == '__main__':
    main(Path(sys.argv[1]))
