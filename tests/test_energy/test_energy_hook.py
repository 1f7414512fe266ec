"""The hook of validations and tests: figures in metrics, message hub and files; ablation tables."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_run
import torch
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.model import BaseModel, MMDistributedDataParallel
from nets import lif_net
from torch import nn

from mmbsa.apis.ablation.grid import Grid
from mmbsa.apis.ablation.table import Row, columns, comma_separated
from mmbsa.energy import Report, count_operations
from mmbsa.energy.account import energy
from mmbsa.energy.watch import samples_of
from mmbsa.engine import EnergyHook
from mmbsa.registry import HOOKS


class Model(BaseModel):
    """A network behind mmengine's steps; what its data preprocessor computes is no part of it."""

    def __init__(self):
        super().__init__(data_preprocessor=None)
        self.net = lif_net()

    def forward(self, inputs, mode='tensor'):
        return self.net(inputs.unsqueeze(0).expand(2, *inputs.shape))

    def val_step(self, data):
        torch.relu(torch.rand(4))  # outside of the forward
        return self(**data, mode='predict')


@pytest.fixture
def runner(tmp_path):
    name = f'energy_{tmp_path.name}'
    return SimpleNamespace(
        model=Model().eval(),
        message_hub=MessageHub.get_instance(name),
        work_dir=str(tmp_path),
        iter=7,
    )


def validate(hook, runner, batches, mode='val'):
    metrics = dict(accuracy=0.5)
    getattr(hook, f'before_{mode}_epoch')(runner)
    for index, batch in enumerate(batches):
        data = dict(inputs=batch)
        getattr(hook, f'before_{mode}_iter')(runner, index, data)
        with torch.no_grad():
            runner.model.val_step(data)
        torch.relu(batch).sum()  # an evaluator computes too
        getattr(hook, f'after_{mode}_iter')(runner, index, data, None)
    getattr(hook, f'after_{mode}_epoch')(runner, metrics)
    return metrics


BATCHES = [torch.rand(3, 3, 8, 8), torch.rand(2, 3, 8, 8), torch.rand(1, 3, 8, 8)]


@pytest.mark.parametrize('mode, name', [('val', 'energy.json'), ('test', 'energy_test.json')])
def test_figures_are_those_of_all_images(runner, tmp_path, mode, name):
    metrics = validate(EnergyHook(), runner, BATCHES, mode)
    wanted = [count_operations(runner.model, batch) for batch in BATCHES]
    total = wanted[0] + wanted[1] + wanted[2]
    assert metrics['energy/compute_mJ'] == pytest.approx(energy(total, 'field').compute, rel=1e-12)
    assert (
        metrics['energy/GAC'] == pytest.approx(total.total.ac / 6e9) and metrics['accuracy'] == 0.5
    )
    assert (
        runner.message_hub.get_scalar(f'{mode}/energy/compute_mJ').current()
        == metrics['energy/compute_mJ']
    )
    data = json.loads((tmp_path / name).read_text())
    assert data['energy']['compute'] == metrics['energy/compute_mJ'] and data['iter'] == 7
    report = Report.from_dict(data['report'])
    assert (
        report.images == 6 and report.total.ac == total.total.ac and report.total.comparisons == 0
    )
    assert (tmp_path / name).with_suffix('.md').read_text().startswith('# Energy of Model')


def _validate_a_share(rank: int, folder: str) -> None:
    """One of two processes: every second batch through a wrapped model."""
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/meeting', rank=rank, world_size=2
    )
    torch.manual_seed(0)
    model = Model()
    for x in model.parameters():
        x.requires_grad_(True)
    runner = SimpleNamespace(
        model=MMDistributedDataParallel(model).eval(),
        message_hub=MessageHub.get_instance('gloo'),
        work_dir=folder,
        iter=7,
    )
    metrics = validate(EnergyHook(cost='step'), runner, torch.load(f'{folder}/batches.pt')[rank::2])
    Path(folder, f'metrics{rank}.json').write_text(json.dumps(metrics))
    torch.distributed.destroy_process_group()


def test_two_processes_report_what_one_reports(runner, tmp_path):
    torch.save(BATCHES, tmp_path / 'batches.pt')
    shares = [tiny_run.start(_validate_a_share, rank, str(tmp_path)) for rank in range(2)]
    assert tiny_run.finish(*shares) == [0, 0]
    both = json.loads((tmp_path / 'energy.json').read_text())
    found = [json.loads((tmp_path / f'metrics{rank}.json').read_text()) for rank in range(2)]
    torch.manual_seed(0)
    runner.model = Model().eval()
    wanted = validate(EnergyHook(cost='step'), runner, BATCHES)
    alone = json.loads((tmp_path / 'energy.json').read_text())
    assert found[0] == found[1] == pytest.approx(wanted, rel=1e-12)
    assert both['report']['images'] == alone['report']['images'] == 6
    assert both['report']['total'] == alone['report']['total']
    assert [row['counts'] for row in both['report']['rows']] == [
        row['counts'] for row in alone['report']['rows']
    ]


def test_samples_of_a_batch():
    assert samples_of(dict(inputs=[torch.ones(3), torch.ones(3)])) == (2, 2)
    assert samples_of(torch.ones(5, 3)) == samples_of(dict(inputs=torch.ones(5, 3))) == (5, 5)
    # of two sequences every frame but the first is searched, two at a time
    assert samples_of(dict(inputs=dict(frames=[range(5), range(3)]))) == (6, 2)


def test_every_nth_batch_and_at_most_so_many(runner, tmp_path):
    validate(EnergyHook(interval=2), runner, BATCHES)
    assert json.loads((tmp_path / 'energy.json').read_text())['report']['images'] == 4
    validate(EnergyHook(max_batches=1), runner, BATCHES)
    assert json.loads((tmp_path / 'energy.json').read_text())['report']['images'] == 3


def test_a_second_validation_begins_anew(runner, tmp_path):
    hook = EnergyHook()
    first, second = validate(hook, runner, BATCHES[:1]), validate(hook, runner, BATCHES[:1])
    assert first == second
    assert not runner.model._forward_hooks and not runner.model._forward_pre_hooks


def test_without_a_batch_nothing_is_written(runner, tmp_path):
    assert validate(EnergyHook(), runner, []) == dict(accuracy=0.5)
    assert not list(tmp_path.iterdir())


def test_cost_is_chosen_by_name_or_dict(runner):
    step = validate(EnergyHook(cost='step'), runner, BATCHES[:1])
    assert step['energy/memory_mJ'] > 0
    assert validate(EnergyHook(cost=dict(ac=1.0)), runner, BATCHES[:1])[
        'energy/compute_mJ'
    ] == pytest.approx(step['energy/GAC'])


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(interval=0), 'interval must be at least 1'),
        (dict(max_batches=0), 'max_batches must be at least 1'),
        (dict(cost='gold'), "'gold' is neither a preset"),
    ],
)
def test_bad_arguments_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        EnergyHook(**kwargs)


def test_a_compiled_model_is_refused(runner):
    runner.model.net = torch.compile(runner.model.net)
    with pytest.raises(ValueError, match='torch.compile'):
        EnergyHook().before_val_epoch(runner)


def test_a_forward_that_fails_leaves_no_mode_behind(runner):
    hook = EnergyHook()
    hook.before_val_epoch(runner)
    hook.before_val_iter(runner, 0, dict(inputs=torch.rand(1, 5, 8, 8)))
    with pytest.raises(RuntimeError):
        runner.model.val_step(dict(inputs=torch.rand(1, 5, 8, 8)))
    hook.after_val_iter(runner, 0)
    assert torch._C._len_torch_dispatch_stack() == 0


def test_it_is_registered_and_runs_before_the_logger():
    hook = HOOKS.build(dict(type='mmbsa.EnergyHook', interval=3))
    assert isinstance(hook, Hook) and hook.interval == 3 and hook.priority == 'VERY_HIGH'


def test_ablation_tables_have_an_energy_column():
    grid = Grid('grid', Path('base.py'), {'a': {'x': {}}}, [0, 1])
    runs = [
        dict(seed=seed, final=1.0, curve={}, energy_mj=value)
        for seed, value in ((0, 0.25), (1, 0.75))
    ]
    row = Row({'a': 'x'}, 2, runs)
    header, cells = columns(grid, [row], 'acc')
    assert cells[0][header.index('energy, mJ')] == '0.5'
    assert 'energy_mj' in comma_separated(grid, [row], 'acc').splitlines()[0]
    assert (
        'energy, mJ'
        not in columns(grid, [Row({'a': 'x'}, 1, [dict(seed=0, final=1.0, curve={})])], 'acc')[0]
    )


def test_models_of_modules_alone_work(tmp_path):
    runner = SimpleNamespace(
        model=nn.Linear(4, 2),
        message_hub=MessageHub.get_instance(f'plain_{tmp_path.name}'),
        work_dir=str(tmp_path),
        iter=0,
    )
    hook = EnergyHook()
    hook.before_val_epoch(runner)
    hook.before_val_iter(runner, 0, torch.rand(3, 4))
    runner.model(torch.rand(3, 4))
    hook.after_val_iter(runner, 0)
    metrics = {}
    hook.after_val_epoch(runner, metrics)
    assert metrics['energy/GMAC'] == pytest.approx(8e-9)
