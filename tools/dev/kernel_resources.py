"""Compile the Triton kernels for a GPU and print the resources that they need; no GPU is required.

    python tools/dev/kernel_resources.py --dtype bfloat16 --width 32 64
    python tools/dev/kernel_resources.py --kernel lif_fwd lif_bwd --dtype float32 bfloat16

Registers and spills are those of ptxas, shared memory is Triton's request at launch, both per
program and configuration; programs per multiprocessor follow from them. ``loop/score`` counts the
instructions that a thread issues per score in the loop over blocks, from the disassembled machine
code. For neurons the memory accesses are listed; ``.128`` means 16 bytes per thread at once. The
tool needs triton with its ptxas.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

TYPES = dict(float32='fp32', bfloat16='bf16', float16='fp16', int8='i8')
#: of a Hopper multiprocessor: registers, bytes of shared memory (the system reserves 1 KiB per
#: program), warps, programs
REGISTERS, SHARED, WARPS, PROGRAMS = 65536, 228 * 1024, 64, 32
#: arguments of kernels that are real numbers, no counts.
SCALARS = 'factor', 'slope', 'tau', 'threshold', 'rest', 'alpha'
SASS = ('HGMMA', 'IGMMA', 'HMMA', 'IMMA', 'MUFU', 'LDGSTS', 'UTMALDG', 'LDL', 'STL')


def parse_args(argv=None):
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--kernel',
        nargs='+',
        default=['fwd', 'bwd_q', 'bwd_kv'],
        choices=['fwd', 'bwd_q', 'bwd_kv', 'lif_fwd', 'lif_bwd'],
    )
    parser.add_argument('--steps', type=int, default=4, help='time steps T of the neurons')
    parser.add_argument('--binary', action='store_true', help='neurons without negative spikes')
    parser.add_argument(
        '--dtype', nargs='+', default=['bfloat16'], choices=['float32', 'bfloat16', 'float16']
    )
    parser.add_argument('--width', type=int, nargs='+', default=[32, 64], help='d = d_v of a head')
    parser.add_argument('--normalizer', default='shiftmax', choices=['shiftmax', 'softmax'])
    parser.add_argument('--product', default='ternary', choices=['ternary', 'binary', 'real'])
    parser.add_argument('--bytes', action='store_true', help='q and k are int8')
    parser.add_argument('--tokens', type=int, default=1024)
    parser.add_argument('--arch', type=int, default=90)
    return parser.parse_args(argv)


def attention_kernels() -> dict:
    """Return name -> autotuned kernel of bipolar attention."""
    from mmbsa.ops.bipolar_attention import triton, triton_backward

    return dict(
        fwd=triton.bipolar_attention_fwd_kernel,
        bwd_q=triton_backward.bipolar_attention_bwd_q_kernel,
        bwd_kv=triton_backward.bipolar_attention_bwd_kv_kernel,
    )


def attention_constants(
    name: str,
    dtype: str,
    width: int,
    normalizer: str,
    product: str,
    tokens: int,
    as_bytes: bool = False,
) -> dict:
    """Return the compile-time constants of a launch, for dense operands of these sizes."""
    import torch

    from mmbsa.ops.bipolar_attention import launch

    q = torch.empty(
        1, 1, tokens, width, dtype=torch.int8 if as_bytes else getattr(torch, dtype), device='meta'
    )
    v = q.to(getattr(torch, dtype))
    modes = launch._modes(q, q, v, product, normalizer, 1.0)
    sizes = {key: value for key, value in launch._sizes(q, q, v).items() if key.isupper()}
    if name == 'fwd':
        special = launch.exactness(q, k=q, modes=modes) | dict(
            DIRECT=launch._direct(q, v, modes), FIXED_K=-1
        )
    else:
        special = dict(CLAMP=launch.clamped(width)) | (
            dict(STE=True, FIXED_K=-1) if name == 'bwd_q' else dict(FIXED_Q=-1)
        )
    return sizes | modes | special


def attention_pointers(dtype: str, as_bytes: bool) -> dict:
    """Return pointer argument -> element type, of all three kernels."""
    element, spikes = TYPES[dtype], 'i8' if as_bytes else TYPES[dtype]
    return (
        {x: 'fp32' for x in ('g', 'weight_sum', 'delta')}
        | dict(q=spikes, k=spikes)
        | {x: element for x in ('dout', 'v', 'out', 'dq', 'dk', 'dv')}
    )


def attention_configs(name: str, dtype: str, constants: dict) -> list:
    """Return the configurations that auto-tuning tries for these sizes."""
    import torch

    from mmbsa.ops.bipolar_attention.triton import _fitting

    v = torch.empty(0, dtype=getattr(torch, dtype))
    return _fitting(attention_kernels()[name].configs, dict(v=v), **constants)


def lif_kernels() -> dict:
    """Return name -> autotuned kernel of neurons."""
    from mmbsa.ops.lif import triton

    return dict(lif_fwd=triton.lif_fwd_kernel, lif_bwd=triton.lif_bwd_kernel)


def lif_constants(name: str, steps: int, signed: bool) -> dict:
    """Return the compile-time constants of a launch.

    The neurons have tau 2, a hard and detached reset, and a sigmoid surrogate.
    """
    import torch

    from mmbsa.ops.lif import launch
    from mmbsa.ops.lif.common import Parameters

    p = Parameters(2.0, True, 1.0, 0.0, True, 'sigmoid', 4.0, signed)
    modes = launch._modes(torch.empty(steps, 0), None, p)
    if name == 'lif_fwd':
        return dict(modes, v0=None, v_last=None)
    return dict(
        modes, v0=None, grad_v=None, grad_v0=None, DETACH=p.detach_reset, SURROGATE=p.surrogate
    )


def lif_pointers(dtype: str) -> dict:
    """Return pointer argument -> element type, of both kernels."""
    return dict.fromkeys(('x', 'spikes', 'grad', 'grad_x'), TYPES[dtype]) | dict(charged='fp32')


def compile_kernel(kernel, constants: dict, pointers: dict, config, arch: int) -> dict:
    """Return registers, spills, shared memory and instructions of one configuration.

    Args:
        kernel: an autotuned kernel.
        constants: its constexpr arguments except those of the configuration.
        pointers: pointer argument -> Triton's name of the element type.
        config: one of its configurations.
        arch: compute capability times ten.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    function = kernel.fn
    names = function.arg_names
    # In launches the innermost stride is the constant 1, and other strides and addresses are
    # multiples of 16.
    constants = (
        constants | config.kwargs | {name: 1 for name in names if re.fullmatch(r'(\w+)_d', name)}
    )
    signature, attributes = {}, {}
    for index, name in enumerate(names):
        if name in constants:
            signature[name] = 'constexpr'
            continue
        signature[name] = (
            f'*{pointers[name]}' if name in pointers else 'fp32' if name in SCALARS else 'i32'
        )
        if (
            name in pointers
            or name in ('n', 'stride')
            or re.fullmatch(r'\w+_[bhn]', name)
            and not name.startswith('bucket')
        ):
            attributes[index,] = [['tt.divisibility', 16]]
    source = ASTSource(
        fn=function,
        signature=signature,
        attrs=attributes,
        constexprs={(names.index(name),): value for name, value in constants.items()},
    )
    binary = triton.compile(
        source,
        target=GPUTarget('cuda', arch, 32),
        options=dict(
            num_warps=config.num_warps, num_stages=config.num_stages, maxnreg=config.maxnreg
        ),
    )
    return dict(shared=binary.metadata.shared, **assembled(binary.asm['ptx'], arch))


def assembled(ptx: str, arch: int) -> dict:
    """Return ptxas's figures of a kernel, and the numbers of some instructions."""
    tool = tools()
    with tempfile.TemporaryDirectory() as folder:
        (source := Path(folder, 'kernel.ptx')).write_text(ptx)
        for assembler in tool['ptxas']:
            log = subprocess.run(
                [
                    assembler,
                    '-v',
                    f'-arch=sm_{arch}{"a" if arch >= 90 else ""}',
                    source,
                    '-o',
                    f'{folder}/kernel.cubin',
                ],
                capture_output=True,
                text=True,
            )
            if 'Unsupported .version' not in log.stderr:
                break
        if log.returncode:
            raise RuntimeError(f'{assembler}: {log.stderr}')
        log = log.stderr
        sass = subprocess.run(
            [tool['cuobjdump'], '--dump-sass', f'{folder}/kernel.cubin'],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    access = Counter(re.findall(r'\b((?:LDG|STG)\.E(?:\.EL|\.EF)?(?:\.(?:U8|U16|64|128))?)', sass))
    found = dict(
        loop=inner_loop(sass),
        memory=dict(access),
        registers=int(re.search(r'Used (\d+) registers', log)[1]),
        spilled=int(re.search(r'(\d+) bytes spill stores', log)[1]),
    )
    return found


def inner_loop(sass: str) -> dict:
    """Return instruction -> its number in the first loop with matrix products."""
    code = [(int(at, 16), text) for at, text in re.findall(r'/\*([0-9a-f]{4,})\*/\s+(.*?);', sass)]
    for at, text in code:
        jump = re.search(r'\bBRA\b.* 0x([0-9a-f]+)', text)
        if not jump or int(jump[1], 16) >= at:
            continue
        body = [re.sub(r'^@\S+\s+', '', x) for where, x in code if int(jump[1], 16) <= where <= at]
        counts = Counter(
            re.split(r'[. ]', x)[0] for x in body if 'RZ, gdesc[URZ], RZ' not in x
        )  # a fence, not a product
        if any(counts[name] for name in SASS[:4]):
            return dict(counts) | {'': len(body)}
    return {'': 0}


def tools() -> dict:
    """Return the paths of the assemblers and the disassembler in triton's package.

    Raises:
        FileNotFoundError: the package has none, or triton is not installed.
    """
    import importlib.util

    spec = importlib.util.find_spec('triton')
    folder = (
        Path(spec.origin).parent / 'backends/nvidia/bin'
        if spec
        else Path('triton is not installed')
    )
    for name in ('ptxas', 'cuobjdump'):
        if not (folder / name).exists():
            raise FileNotFoundError(
                f'{folder / name} is needed to assemble kernels; it comes with the package triton'
            )
    # some versions contain a second assembler, of a newer CUDA, and write code for it
    return dict(
        ptxas=[path for name in ('ptxas', 'ptxas-blackwell') if (path := folder / name).exists()],
        cuobjdump=folder / 'cuobjdump',
    )


def resident(registers: int, shared: int, warps: int) -> int:
    """Return the number of programs that a Hopper multiprocessor holds at once.

    Registers are allocated in units of 256 per warp, shared memory in units of 1 KiB.
    """
    by_registers = REGISTERS // (-(-registers * 32 // 256) * 256 * warps)
    by_shared = SHARED // (-(-shared // 1024) * 1024 + 1024)
    return min(by_registers, by_shared, WARPS // warps, PROGRAMS)


def main(argv=None) -> None:
    """Print one line per kernel, dtype, width and configuration."""
    args = parse_args(argv)
    try:
        tools()
    except FileNotFoundError as error:
        sys.exit(str(error))
    print(
        f'sm_{args.arch}, {args.product} {args.normalizer}, n = '
        f'{args.tokens}{", q and k int8" if args.bytes else ""}'
    )
    print(
        f'{"kernel":8}{"dtype":10}{"d":>4}  '
        f'{"BM x BN, warps, stages":24}{"registers":>10}{"spilled B":>10}'
        f'{"shared KiB":>11}{"programs/SM":>12}{"loop/score":>11}  in the loop'
    )
    for name in args.kernel:
        if name.startswith('lif'):
            print_lif(name, args)
            continue
        kernel = attention_kernels()[name]
        for dtype in args.dtype:
            for width in args.width:
                constants = attention_constants(
                    name, dtype, width, args.normalizer, args.product, args.tokens, args.bytes
                )
                pointers = attention_pointers(dtype, args.bytes)
                for config in attention_configs(name, dtype, constants):
                    found = compile_kernel(kernel, constants, pointers, config, args.arch)
                    count = ' '.join(
                        f'{key}:{found["loop"][key]}' for key in SASS if key in found['loop']
                    )
                    scores = config.kwargs['BM'] * config.kwargs['BN'] / 32 / config.num_warps
                    shape = '{BM} x {BN}'.format(**config.kwargs)
                    launch = f'{shape}, {config.num_warps}, {config.num_stages}'
                    shared = found['shared'] / 1024
                    print(
                        f'{name:8}{dtype:10}{width:>4}  '
                        f'{launch:18}'
                        f'{f"<= {config.maxnreg}" if config.maxnreg else "":6}'
                        f'{found["registers"]:>10}{found["spilled"]:>10}{shared:>11.1f}'
                        f'{resident(found["registers"], found["shared"], config.num_warps):>12}'
                        f'{found["loop"][""] / scores:>11.1f}  {count}',
                        flush=True,
                    )


def print_lif(name: str, args) -> None:
    """Print the lines of a kernel of neurons."""
    for dtype in args.dtype:
        for config in lif_kernels()[name].configs:
            found = compile_kernel(
                lif_kernels()[name],
                lif_constants(name, args.steps, not args.binary),
                lif_pointers(dtype),
                config,
                args.arch,
            )
            count = ' '.join(f'{key}:{value}' for key, value in sorted(found['memory'].items()))
            print(
                f'{name:8}{dtype:10}T={args.steps:<2}  {config.kwargs["BLOCK"]} neurons, '
                f'{config.num_warps:<9}'
                f'{found["registers"]:>10}{found["spilled"]:>10}{found["shared"] / 1024:>11.1f}'
                f'{resident(found["registers"], found["shared"], config.num_warps):>12}{"":11}  '
                f'{count}',
                flush=True,
            )


if __name__ == '__main__':
    main()
