"""The Triton kernels as a Hopper GPU would run them: compiled, assembled and looked at, without
one."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location(
        'kernel_resources', ROOT / 'tools/dev/kernel_resources.py'
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        module.tools()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    return module


def compiled(tool, name, dtype, width, product='ternary', normalizer='shiftmax', as_bytes=False):
    """The first configuration that auto-tuning would try."""
    constants = tool.attention_constants(name, dtype, width, normalizer, product, 1024, as_bytes)
    config = tool.attention_configs(name, dtype, constants)[0]
    pointers = tool.attention_pointers(dtype, as_bytes)
    return tool.compile_kernel(tool.attention_kernels()[name], constants, pointers, config, 90)


@pytest.mark.parametrize('name, products', [('fwd', 2), ('bwd_q', 3), ('bwd_kv', 4)])
def test_every_product_is_on_the_tensor_core(tool, name, products):
    """d = 64 is four steps of 16; ptxas has dropped a product once whose bits it thought it
    knew."""
    found = compiled(tool, name, 'bfloat16', 64)
    assert found['loop']['HGMMA'] >= 4 * products
    assert found['spilled'] == 0
    assert found['loop'].get('MUFU', 0) == 0  # a power of two is written, not computed
    assert tool.resident(found['registers'], found['shared'], 8) >= 1


def test_softmax_computes_exponentials(tool):
    assert compiled(tool, 'fwd', 'bfloat16', 64, normalizer='softmax')['loop']['MUFU'] >= 16


def test_bytes_are_multiplied_as_bytes(tool):
    found = compiled(tool, 'fwd', 'bfloat16', 64, as_bytes=True)
    assert found['loop']['IGMMA'] >= 2 and found['loop']['HGMMA'] >= 4


@pytest.mark.parametrize('name', ['fwd', 'bwd_q', 'bwd_kv'])
@pytest.mark.parametrize(
    'dtype, width, product',
    [('float32', 32, 'ternary'), ('float16', 256, 'ternary'), ('float32', 64, 'real')],
)
def test_other_modes_compile_and_fit(tool, name, dtype, width, product):
    found = compiled(tool, name, dtype, width, product)
    assert found['shared'] <= 227 * 1024
    assert found['registers'] <= 255


@pytest.mark.parametrize('name', ['lif_fwd', 'lif_bwd'])
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_neurons_move_sixteen_bytes_at_once_and_spill_nothing(tool, name, dtype):
    kernel = tool.lif_kernels()[name]
    for signed in (False, True):
        found = tool.compile_kernel(
            kernel,
            tool.lif_constants(name, 4, signed),
            tool.lif_pointers(dtype),
            kernel.configs[0],
            90,
        )
        assert found['spilled'] == 0 and found['registers'] <= 64
        wide = {access for access in found['memory'] if access.endswith('.128')}
        assert {access[:3] for access in wide} == {'LDG', 'STG'}
        assert sum(found['memory'].values()) == sum(found['memory'][access] for access in wide)
