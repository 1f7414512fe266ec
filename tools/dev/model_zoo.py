"""Write docs/model_zoo.md from the metafiles.

    python tools/dev/model_zoo.py           # write
    python tools/dev/model_zoo.py --check   # exit with 1 if the file is out of date

``configs/<family>/metafile.yml`` describes the presets of a family; ``configs/metafile.yml``,
``configs/metafile_classification.yml`` and ``configs/metafile_tracking.yml`` the configs of the
repo. Only these are in ``model-index.yml``, because mim downloads configs, and presets have none.
"""

import argparse
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / 'docs' / 'model_zoo.md'
#: what a result may say about where its figure is stated.
STATED = {
    'official repository': "the README or a log of the authors' code states it",
    'paper': 'the paper of the method states it (of Bipolar Self-attention: for its own models)',
    'paper, unverified': (
        "attributed to the paper from memory, and not stated by the authors' code: "
        'verify before quoting'
    ),
    'third party': "another method's repository restates it",
}
#: keys of a result that differ from the model's own, as the table prints them.
CONDITIONS = {
    'T': 'T = {}',
    'D': 'D = {}',
    'Input': '{0} x {0}',
    'Epochs': '{} epochs',
    'Note': '{}',
}
HEAD = """# Model zoo

Generated from the metafiles under `configs/` by `tools/dev/model_zoo.py`; do not edit.

Every classifier below is a timm model of that name after `import mmbsa.models`, and a backbone
`dict(type='mmbsa.<family>', arch='<arch>')` for dense tasks. Every name also exists with `_bsa`:
the same network with Bipolar Self-attention; rows are listed for those of which its paper gives
figures.

* **T** steps, **D** levels: what the model is built with by default. D = 1 are binary spikes.
* **parameters** are counted from the model built here, with the classes of the data it is listed
  under, and a test compares them. They are those of the official code without tensors that its
  forward never uses: two LayerNorms per block (Spikformer, Spikingformer), a position embedding and
  a LayerNorm (Spikformer for events), and the talking heads (Spike-driven Transformer).
* **SOPs** synaptic operations, and **mJ** energy, of one image, as published; `-` is unknown.
* **with** conditions of a result that differ from the model's own: T, D, size of the input, epochs.
* **top 1** and **mIoU** in percent. No figure here was measured by us unless its source says
  *ours*.

| source | meaning |
|---|---|
"""


def metafiles() -> dict[str, dict]:
    """Contents by path relative to the repo: families in alphabetical order, the configs of the
    repo last."""
    paths = sorted((ROOT / 'configs').glob('*/metafile.yml'))
    paths += [
        ROOT / 'configs' / name
        for name in ('metafile_classification.yml', 'metafile_tracking.yml', 'metafile.yml')
    ]
    return {str(path.relative_to(ROOT)): yaml.safe_load(path.read_text()) for path in paths}


def source(result: dict) -> str:
    """Where a figure comes from, in words of ``STATED`` or of the result's own ``source``."""
    stated = result.get('stated in')
    if stated is not None and stated not in STATED:
        raise ValueError(f"'stated in: {stated}' must be one of {', '.join(STATED)}")
    return stated or result['source']


def energy(model: dict, result: dict) -> list[str]:
    """Cells for operations and energy."""
    sops, joule = model['Metadata'].get('SOPs'), result.get('Metrics', {}).get('Energy (mJ)')
    return [f'{sops / 1e9:.2f} G' if sops else '-', str(joule) if joule else '-']


def rows(model: dict, label: str, metric: str) -> list[list[str]]:
    """Cells of a model: one row per result, the model's own cells in the first."""
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


def table(models: list[dict], metric: str, column: str) -> list[str]:
    """Markdown lines."""
    head = ['model', 'T', 'D', 'parameters', 'SOPs', 'mJ', 'data', 'with', column, 'source']
    cells = [row for model in models for row in rows(model, f'`{model["Name"]}`', metric)]
    return [f'| {" | ".join(row)} |' for row in (head, ['---'] * len(head), *cells)]


def render() -> str:
    """The whole file."""
    lines = [HEAD + '\n'.join(f'| {name} | {meaning} |' for name, meaning in STATED.items())]
    *families, (_, classifiers), (_, trackers), (_, configs) = metafiles().items()
    for _, content in families:
        (collection,) = content['Collections']
        family = content['Models'][0]['Metadata']['Family']
        lines += [
            '',
            f'## {collection["Name"]}',
            '',
            f'[{collection["Paper"]["Title"]}]({collection["Paper"]["URL"]}). '
            f'`mmbsa.{family}`: {", ".join(collection["Metadata"]["Architecture"])}.',
            '',
            *table(content['Models'], 'Top 1 Accuracy', 'top 1'),
        ]
        lines += ['', *collection['Remarks']] if 'Remarks' in collection else []
    lines += [
        '',
        '## Classification configs',
        '',
        'Each name is that of a file in `configs/` or in the folder of its family; recipes are the '
        'official ones, and '
        'with BSA those of its paper where it has one. Figures are those published for the model.',
        '',
        *table(classifiers['Models'], 'Top 1 Accuracy', 'top 1'),
    ]
    lines += [
        '',
        '## Segmentation',
        '',
        'Each name is that of a file in `configs/`.',
        '',
        *table(configs['Models'], 'mIoU', 'mIoU'),
    ]
    lines += [
        '',
        '## Tracking',
        '',
        'Each name is that of a file in `configs/sdtrack/` or `configs/`. AUC and PR in percent.',
        '',
        *table(trackers['Models'], 'AUC', 'AUC'),
        '',
        *trackers['Collections'][0]['Remarks'],
    ]
    return '\n'.join(lines) + '\n'


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--check', action='store_true', help='write nothing, exit with 1 if the file is out of date'
    )
    args = parser.parse_args()
    text = render()
    if not args.check:
        OUT.write_text(text)
        print(f'wrote {OUT.relative_to(ROOT)}')
    elif not OUT.is_file() or OUT.read_text() != text:
        raise SystemExit(
            f'{OUT.relative_to(ROOT)} is out of date; run python tools/dev/model_zoo.py'
        )


if __name__ == '__main__':
    main()
