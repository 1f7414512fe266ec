"""Write docs/model_zoo.md and the README.md of every family of configs from the metafiles.

    python tools/dev/model_zoo.py           # write
    python tools/dev/model_zoo.py --check   # exit with 1 if a file is out of date

``configs/<family>/metafile.yml`` describes the family and its configs, ``configs/metafile.yml`` the
entry points in ``configs/`` itself; ``model-index.yml`` lists them for mim.
``configs/<family>/presets.yml`` describes the presets, which have no config of their own.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from textwrap import wrap

import yaml

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / 'docs' / 'model_zoo.md'
#: values of a result's ``stated in``: where the figure is published.
STATED = {
    'official repository': "the README or a log of the authors' code has the figure",
    'paper': 'the paper of the method has the figure (Bipolar Self-attention: for its own models)',
    'paper, unverified': (
        "attributed to the paper from memory; the authors' code does not have the figure: "
        'verify it before you cite it'
    ),
    'third party': 'the repository of another method cites the figure',
}
#: keys of a result that differ from those of the model, as the table prints them.
CONDITIONS = {
    'T': 'T = {}',
    'D': 'D = {}',
    'Input': '{0} x {0}',
    'Epochs': '{} epochs',
    'Note': '{}',
}
#: task -> metric of its table.
TASKS = {
    'Image Classification': 'Top 1 Accuracy',
    'Semantic Segmentation': 'mIoU',
    'Object Detection': 'box AP',
    'Single Object Tracking': 'AUC',
    'Point Cloud Classification': 'OA',
}
#: data sets that are not for classification.
TASK_OF_DATA = {
    **dict.fromkeys(
        ('ADE20K', 'CamVid', 'Cityscapes', 'COCOStuff', 'PascalVOC', 'DrawnScenes'),
        'Semantic Segmentation',
    ),
    **dict.fromkeys(
        ('COCO', 'DrawnInstances', 'Prophesee Gen1', 'Prophesee 1Mpx'), 'Object Detection'
    ),
    **dict.fromkeys(
        ('FE108', 'FELT', 'VisEvent', 'Moving targets', 'Recordings of your own'),
        'Single Object Tracking',
    ),
    **dict.fromkeys(
        ('ModelNet10', 'ModelNet40', 'ScanObjectNN', 'PointSolids'), 'Point Cloud Classification'
    ),
}
HEAD = """# Model zoo

Generated from the metafiles under `configs/` by `tools/dev/model_zoo.py`; do not edit.

Every classifier in these tables is a timm model with this name after `import mmbsa.models`, and a
backbone `dict(type='mmbsa.<family>', arch='<arch>')` for dense tasks. Every name also exists with
`_bsa`: the same network with Bipolar Self-attention. The tables have rows for the `_bsa` models for
which the paper gives figures.

* **T**, **D**: the default number of time steps and of levels. D = 1 means binary spikes.
* **parameters**: the number of parameters of our model, with the number of classes of the data set.
  A test checks it. It is equal to that of the official code without tensors that the official
  forward never uses: two LayerNorms per block (Spikformer, Spikingformer), a position embedding and
  a LayerNorm (Spikformer for events), and the talking heads (Spike-driven Transformer).
* **SOPs**, **mJ**: published synaptic operations and energy of one image; `-` means unknown.
* **with**: conditions of a result that differ from the defaults of the model: T, D, input size,
  epochs.
* **top 1**, **mIoU**: in percent. Only figures with the source *ours* were measured here.

| source | meaning |
|---|---|
"""


def read(pattern: str) -> dict[str, dict]:
    """Return path -> content of YAML files under ``configs/``, sorted."""
    paths = sorted((ROOT / 'configs').glob(pattern))
    return {str(path.relative_to(ROOT)): yaml.safe_load(path.read_text()) for path in paths}


def families() -> dict[str, dict]:
    """Return folder -> metafile of every family."""
    return {Path(path).parent.name: content for path, content in read('*/metafile.yml').items()}


def source(result: dict) -> str:
    """Return the source of a figure, in words of ``STATED`` or of the result's own ``source``."""
    stated = result.get('stated in')
    if stated is not None and stated not in STATED:
        raise ValueError(f"'stated in: {stated}' must be one of {', '.join(STATED)}")
    return stated or result['source']


def energy(model: dict, result: dict) -> list[str]:
    """Return the cells for operations and energy."""
    sops, joule = model['Metadata'].get('SOPs'), result.get('Metrics', {}).get('Energy (mJ)')
    return [f'{sops / 1e9:.2f} G' if sops else '-', str(joule) if joule else '-']


def rows(model: dict, label: str, metric: str) -> list[list[str]]:
    """Return the cells of a model, one row per result."""
    meta = model['Metadata']
    own = [label, str(meta.get('T', '-')), str(meta.get('D', '-')), f'{meta["Parameters"]:,}']
    lines = []
    for result in model.get('Results') or [{}]:
        value = result.get('Metrics', {}).get(metric)
        conditions = ', '.join(
            text.format(result[key]) for key, text in CONDITIONS.items() if key in result
        )
        judged = [
            result.get('Dataset', meta['Training Data']),
            conditions,
            '-' if value is None else str(value),
        ]
        lines.append(
            [
                *(own if not lines else [''] * len(own)),
                *energy(model, result),
                *judged,
                source(result) if result else '-',
            ]
        )
    return lines


def table(models: list[dict], metric: str, label: Callable = '`{Name}`'.format_map) -> list[str]:
    """Return Markdown lines; empty columns are omitted."""
    column = 'top 1' if metric == 'Top 1 Accuracy' else metric
    head = ['model', 'T', 'D', 'parameters', 'SOPs', 'mJ', 'data', 'with', column, 'source']
    cells = [row for model in models for row in rows(model, label(model), metric)]
    used = [i for i in range(len(head)) if any(row[i] not in ('', '-') for row in cells)]
    lines = [head, ['---'] * len(head), *cells]
    return [f'| {" | ".join(row[i] for i in used)} |' for row in lines]


def paper(collection: dict) -> str:
    """Return a link to the paper."""
    return f'[{collection["Paper"]["Title"]}]({collection["Paper"]["URL"]})'


def task_of(model: dict) -> str:
    """Return the task of a config, from its data."""
    return TASK_OF_DATA.get(model['Metadata']['Training Data'], 'Image Classification')


def by_task(models: list[dict]) -> dict[str, list[dict]]:
    """Return task -> configs, in the order of ``TASKS``; tasks without configs are omitted."""
    found = {task: [model for model in models if task_of(model) == task] for task in TASKS}
    return {task: group for task, group in found.items() if group}


def render() -> str:
    """Return the whole page."""
    lines = [HEAD + '\n'.join(f'| {name} | {meaning} |' for name, meaning in STATED.items())]
    for path, content in read('*/presets.yml').items():
        (collection,) = families()[Path(path).parent.name]['Collections']
        family = content['Models'][0]['Metadata']['Family']
        lines += [
            '',
            f'## {collection["Name"]}',
            '',
            f'{paper(collection)}. '
            f'`mmbsa.{family}`: {", ".join(collection["Metadata"]["Architecture"])}.',
            '',
            *table(content['Models'], 'Top 1 Accuracy'),
        ]
        lines += ['', *collection['Remarks']] if 'Remarks' in collection else []
    entry_points = read('metafile.yml')['configs/metafile.yml']['Models']
    models = [model for content in families().values() for model in content['Models']]
    lines += [
        '',
        '# Configs',
        '',
        'Each name is the name of a config file in the folder of its family or in `configs/`. '
        '`tools/dev/config_names.py` explains the names. The recipes are the official ones; '
        'with BSA they are those of its paper, if it has one. The figures are the published ones '
        'of the model.',
    ]
    for task, group in by_task(entry_points + models).items():
        lines += ['', f'## {task}', '', *table(group, TASKS[task])]
    remarks = [
        f'{content["Collections"][0]["Name"]}: {remark}'
        for family, content in families().items()
        if not (ROOT / 'configs' / family / 'presets.yml').is_file()
        for remark in content['Collections'][0].get('Remarks', [])
    ]
    return '\n'.join([*lines, '', *remarks]) + '\n'


def render_family(folder: str) -> str:
    """Return the README.md of a family's folder."""
    (collection,) = families()[folder]['Collections']
    models = families()[folder]['Models']
    lines = [
        f'# {collection["Name"]}',
        '',
        '<!-- generated from metafile.yml by tools/dev/model_zoo.py -->',
        '',
        *wrap(collection['Description'], 100, break_on_hyphens=False),
        '',
        f'Paper: {paper(collection)}. Code: [{collection["Code"]["URL"]}]'
        f'(../../{collection["Code"]["URL"]}).',
        'The [model zoo](../../docs/model_zoo.md) has all presets and explains the columns.',
    ]
    for task, group in by_task(models).items():
        lines += [
            '',
            f'## {task}',
            '',
            *table(group, TASKS[task], '[{Name}]({Name}.py)'.format_map),
        ]
    lines += ['', *collection['Remarks']] if 'Remarks' in collection else []
    return '\n'.join(lines) + '\n'


def pages() -> dict[Path, str]:
    """Return path -> text of every generated file."""
    readmes = {ROOT / 'configs' / name / 'README.md': render_family(name) for name in families()}
    return {OUT: render(), **readmes}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--check', action='store_true', help='write nothing, exit with 1 if a file is out of date'
    )
    args = parser.parse_args()
    for path, text in pages().items():
        name = path.relative_to(ROOT)
        if not args.check:
            path.write_text(text)
            print(f'wrote {name}')
        elif not path.is_file() or path.read_text() != text:
            raise SystemExit(f'{name} is out of date; run python tools/dev/model_zoo.py')


if __name__ == '__main__':
    main()
