"""Mutation test: change one place of the package at a time, and count detected changes.

    pytest -n 2 --cov=mmbsa --cov-context=test --cov-report= --junitxml=junit.xml
    python tools/dev/mutate.py --coverage .coverage --junit junit.xml --count 300 --out mutants.json

The first command records which test runs which line, and its time. The second command draws mutants
from the files, applies each to a copy of the repository, and runs the tests that reach the changed
line, fast ones first, at most ``--limit`` seconds of them. A mutant is killed by a test that fails,
by an error at import and by a run that takes far too long; a mutant on a line that no test reaches
survives. An interrupted run continues from ``--out``.

If ``MMBSA_SHARED`` and ``MMBSA_ORACLE_DIR`` are set to a folder that does not exist, only the tests
that every clone has are counted.
"""

import argparse
import ast
import copy
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import xml.etree.ElementTree as tree
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Queue

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ('ops', 'models', 'engine', 'converters', 'events', 'datasets')
#: every run is forked from a process that has imported these, which takes seconds.
PRELOADED = [
    'torch',
    'mmengine.runner',
    'mmcv.transforms',
    'mmseg.models',
    'mmpretrain.models',
    'spikingjelly.activation_based.neuron',
    'timm',
    'pytest',
]
CONTEXT = multiprocessing.get_context('forkserver')
#: files and folders that a copy of the repository needs.
COPIED = ('mmbsa', 'configs', 'tools', 'tests', 'docs', 'demo', 'pyproject.toml', 'setup.py')
COMPARISONS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
ARITHMETIC = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
}


@dataclass(frozen=True)
class Mutant:
    """One change.

    Attributes:
        file: path relative to the repository.
        line: line number, from 1.
        place: number of the node in the order of :func:`ast.walk`.
        kind: kind of the change.
        statement: first and last line of the smallest statement around the node (of its head, if
            it contains statements).
    """

    file: str
    line: int
    place: int
    kind: str
    statement: tuple[int, int]

    @property
    def name(self) -> str:
        """Name of the mutant in reports."""
        return f'{self.file}:{self.line} {self.kind} ({self.place})'


def changes(node: ast.AST) -> Iterator[str]:
    """Yield the kinds of changes that are possible for a node."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in COMPARISONS:
        yield 'comparison'
    if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        texts = (ast.JoinedStr, ast.List, ast.Tuple)
        if not isinstance(node.left, texts) and not _is_text(node.left):
            yield 'arithmetic'
    if isinstance(node, ast.BoolOp):
        yield 'and-or'
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield 'not'
    if isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            yield 'boolean'
        elif isinstance(node.value, int | float):
            yield 'number'
    if isinstance(node, ast.If):
        yield 'condition'
    if isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value):
        yield 'return'
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield 'call'


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def apply(node: ast.AST, kind: str) -> ast.AST:
    """Return a changed copy of a node."""
    node = copy.deepcopy(node)
    if kind == 'comparison':
        node.ops[0] = COMPARISONS[type(node.ops[0])]()
    elif kind == 'arithmetic':
        node.op = ARITHMETIC[type(node.op)]()
    elif kind == 'and-or':
        node.op = ast.And() if isinstance(node.op, ast.Or) else ast.Or()
    elif kind == 'not':
        node = node.operand
    elif kind == 'boolean':
        node.value = not node.value
    elif kind == 'number':
        node.value = node.value + 1
    elif kind == 'condition':
        node.test = ast.UnaryOp(ast.Not(), node.test)
    elif kind == 'return':
        node.value = ast.Constant(None)
    elif kind == 'call':
        node = ast.Pass()
    return node


class _Replace(ast.NodeTransformer):
    def __init__(self, target: ast.AST, by: ast.AST):
        self.target, self.by = target, by

    def visit(self, node: ast.AST) -> ast.AST:
        return ast.copy_location(self.by, node) if node is self.target else self.generic_visit(node)


def mutated(source: str, mutant: Mutant) -> str:
    """Return the source of a file with the change."""
    parsed = ast.parse(source)
    target = list(ast.walk(parsed))[mutant.place]
    changed = _Replace(target, apply(target, mutant.kind)).visit(parsed)
    return ast.unparse(ast.fix_missing_locations(changed))


def _messages(parsed: ast.AST) -> set[int]:
    """Return ids of nodes whose change is no fault, or only a fault of a text.

    They are the nodes of annotations, docstrings, ``__repr__``, formatted texts and raised errors.
    """
    found: set[int] = set()
    for node in ast.walk(parsed):
        parts: list[ast.AST | None] = []
        if isinstance(node, ast.Raise | ast.JoinedStr):
            parts = [node]
        elif isinstance(node, ast.FunctionDef):
            parts = [
                node.returns,
                *(arg.annotation for arg in ast.walk(node.args) if isinstance(arg, ast.arg)),
            ]
            if node.name in ('extra_repr', '__repr__'):
                parts.append(node)
        elif isinstance(node, ast.AnnAssign):
            parts = [node.annotation]
        found |= {id(part) for whole in parts if whole is not None for part in ast.walk(whole)}
    return found


def all_mutants(packages: tuple[str, ...]) -> list[Mutant]:
    """Return every change of every file."""
    found = []
    for package in packages:
        for path in sorted((ROOT / 'mmbsa' / package).rglob('*.py')):
            parsed = ast.parse(path.read_text())
            left_out, around = _messages(parsed), _statements(parsed)
            for place, node in enumerate(ast.walk(parsed)):
                if id(node) not in left_out:
                    for kind in changes(node):
                        file = str(path.relative_to(ROOT))
                        found.append(Mutant(file, node.lineno, place, kind, around[id(node)]))
    return found


def _statements(parsed: ast.AST) -> dict[int, tuple[int, int]]:
    """Return the lines of the smallest statement around every node, by the node's id.

    Coverage does not list every line of a statement that is written on several lines.
    """
    found: dict[int, tuple[int, int]] = {}
    for statement in ast.walk(parsed):  # outer ones first
        if isinstance(statement, ast.stmt):
            last = statement.end_lineno or statement.lineno
            for body in ('body', 'orelse', 'finalbody'):
                for inner in getattr(statement, body, [])[:1]:
                    last = min(last, max(inner.lineno - 1, statement.lineno))
            for node in ast.walk(statement):
                found[id(node)] = (statement.lineno, last)
    return found


class Tests:
    """Tests that reach a line, and their times.

    Args:
        coverage: data file of ``pytest --cov-context=test``.
        junits: reports of the same run, or of more runs.
    """

    def __init__(self, coverage: Path, junits: Sequence[Path]):
        from coverage import CoverageData

        data = CoverageData(str(coverage))
        data.read()
        self.lines = {
            str(Path(file).resolve()): data.contexts_by_lineno(file)
            for file in data.measured_files()
        }
        self.seconds: dict[str, float] = {}
        self.names: dict[str, str] = {}
        for case in (case for path in junits for case in tree.parse(path).iter('testcase')):
            if any(case.find(state) is not None for state in ('skipped', 'failure', 'error')):
                continue
            name = f'{case.get("classname", "").replace(".", "/")}.py::{case.get("name")}'
            self.seconds[name] = float(case.get('time', 0))

    def reaching(self, mutant: Mutant, limit: float) -> list[str]:
        """Return the tests that run the mutant's statement.

        The test of stored defaults is first, then those of the module's own test file, and fast
        ones.

        For a statement that runs at import these are the tests of the file. They take ``limit``
        seconds in total, but there are at least three.
        """
        lines = self.lines.get(str(ROOT / mutant.file), {})
        contexts = {context for context in lines.get(mutant.line, ()) if context}
        if not contexts:
            first, last = mutant.statement
            near = [lines[number] for number in range(first, last + 1) if number in lines]
            contexts = {context for found in near for context in found if context}
        if not contexts and near:
            # it runs at import; test_public_defaults.py imports everything in another process
            contexts = {context for found in lines.values() for context in found if context}
            contexts |= {name for name in self.seconds if 'test_public_defaults' in name}
        names = {context.split('|')[0] for context in contexts}
        if 'triton' in Path(mutant.file).stem:
            # Triton's interpreter runs a rewritten copy of a kernel, which coverage does not see
            names |= {n for n in self.seconds if 'test_ops' in n and 'triton' in n}
        own = f'test_{Path(mutant.file).stem}.py'
        known = sorted(
            (
                'test_public_defaults' not in name,
                f'/{own}::' not in name,
                self.seconds[name],
                name,
            )
            for name in names
            if name in self.seconds
        )
        chosen, total = [], 0.0
        for *_, seconds, name in known:
            total += seconds
            if total > limit and len(chosen) >= 3:
                break
            chosen.append(name)
        return chosen


def run_tests(folder: str, tests: list[str], log: str) -> None:
    """Run tests in the current process, in a copy of the repository, and exit with pytest's status.

    Args:
        folder: the copy.
        tests: node ids.
        log: file for the output.
    """
    with open(log, 'w') as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(folder)
    os.environ.update(PYTHONPATH=folder, OMP_NUM_THREADS='1')
    sys.path[:] = [folder, *(path for path in sys.path if path not in ('', str(ROOT)))]
    import pytest

    options = ['-q', '-x', '-p', 'no:cacheprovider', '-p', 'no:randomly', '--no-header']
    status = pytest.main([*options, '-o', 'addopts=', *tests])
    sys.stdout.flush()
    os._exit(int(status))


def judge(mutant: Mutant, tests: list[str], folder: Path, limit: float) -> dict:
    """Run the tests on a copy of the repository with the change, and return the result."""
    path, log = folder / mutant.file, folder / 'pytest.log'
    source = (ROOT / mutant.file).read_text()
    if not tests:
        return dict(asdict(mutant), state='survived', why='no test reaches the line')
    try:
        path.write_text(mutated(source, mutant))
        process = CONTEXT.Process(target=run_tests, args=(str(folder), tests, str(log)))
        process.start()
        process.join(300 + 10 * limit)
        if process.is_alive():
            process.kill()
            process.join()
            failed, why = True, 'took too long'
        else:
            failed = process.exitcode not in (0, 5)
            lines = log.read_text(errors='replace').splitlines()
            last = [line for line in lines if line.startswith(('FAILED', 'ERROR'))]
            why = last[0][:200] if last else f'exit {process.exitcode}'
    finally:
        path.write_text(source)
    return dict(asdict(mutant), state='killed' if failed else 'survived', why=why, tests=len(tests))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--coverage', type=Path, required=True, help='data file of pytest --cov')
    parser.add_argument(
        '--junit', type=Path, nargs='+', required=True, help='reports of the same tests'
    )
    parser.add_argument('--packages', nargs='+', default=PACKAGES, help='folders of mmbsa')
    parser.add_argument('--count', type=int, default=300, help='number of mutants to draw')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--limit', type=float, default=45.0, help='seconds of tests per mutant')
    parser.add_argument('--minutes', type=float, default=600.0, help='stop after this time')
    parser.add_argument('--jobs', type=int, default=1)
    parser.add_argument('--out', type=Path, required=True, help='JSON lines, one per mutant')
    return parser.parse_args()


def main() -> None:
    import time

    args = parse_args()
    os.environ['OMP_NUM_THREADS'] = '1'
    CONTEXT.set_forkserver_preload(PRELOADED)
    drawn = all_mutants(tuple(args.packages))
    random.Random(args.seed).shuffle(drawn)
    done = []
    if args.out.exists():
        done = [json.loads(line) for line in args.out.read_text().splitlines()]
    seen = {(row['file'], row['place'], row['kind']) for row in done}
    waiting = [m for m in drawn[: args.count] if (m.file, m.place, m.kind) not in seen]
    tests = Tests(args.coverage, args.junit)
    end = time.monotonic() + 60 * args.minutes
    with tempfile.TemporaryDirectory(prefix='mutants-') as work:
        folders: Queue = Queue()
        for number in range(args.jobs):
            folder = Path(work, str(number))
            for name in COPIED:
                if (ROOT / name).is_dir():
                    shutil.copytree(
                        ROOT / name, folder / name, ignore=shutil.ignore_patterns('__pycache__')
                    )
                elif (ROOT / name).exists():
                    shutil.copy(ROOT / name, folder / name)
            folders.put(folder)

        def run(mutant: Mutant) -> dict | None:
            if time.monotonic() > end:
                return None
            folder = folders.get()
            try:
                return judge(mutant, tests.reaching(mutant, args.limit), folder, args.limit)
            finally:
                folders.put(folder)

        with ThreadPoolExecutor(args.jobs) as pool, open(args.out, 'a') as file:
            for row in pool.map(run, waiting):
                if row is not None:
                    done.append(row)
                    print(json.dumps(row), file=file, flush=True)
    states = Counter(row['state'] for row in done)
    print(f'{len(drawn)} mutants in all, {len(done)} tried: {dict(states)}')
    for row in done:
        if row['state'] == 'survived':
            print(f'  {row["file"]}:{row["line"]} {row["kind"]}: {row["why"]}')


if __name__ == '__main__':
    main()
