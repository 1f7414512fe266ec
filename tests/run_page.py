"""Run the code of Markdown pages, block by block and in order:
``python tests/run_page.py FOLDER PAGE [PAGE ...]``.

* A block ```` ```python ```` runs in one namespace that all Python blocks of the page share;
  ```` ```python FILE.py ```` is written to that file, which later blocks can import.
* A block ```` ```bash ```` is a list of commands ``python tools/...``, each of which runs as in a
  process of its own: a fork of this one, which has imported the packages already. Other commands
  are refused.
* A block ```` ```text ```` after one of these is what that block prints; ``...`` stands for any
  text. Blocks of other languages are not run.

Every page has a folder of its own, FOLDER/<name of the page>, where it runs and writes files. It
has to exist and to hold ``configs`` and ``tools``.
"""

import contextlib
import io
import os
import re
import runpy
import shlex
import sys
import traceback
from pathlib import Path

BLOCK = re.compile(r'^( *)```(\w+)(?: +(\S+))?\n(.*?)^ *```$', re.M | re.S)


def blocks(text: str) -> list[tuple[str, str | None, str]]:
    """Language, name and code of every block."""
    found = []
    for indent, language, name, code in BLOCK.findall(text):
        lines = [line.removeprefix(indent) for line in code.splitlines()]
        found.append((language, name or None, '\n'.join(lines) + '\n'))
    return found


def fork(command: list[str]) -> str:
    """Run ``python FILE ARGS`` in a fork and return its standard output.

    Raises:
        SystemExit: The command did not end with 0.
    """
    sys.stdout.flush()
    log = Path('command.log')
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with log.open('w') as file:
                os.dup2(file.fileno(), 1)
                sys.argv = command
                sys.path.insert(0, str(Path(command[0]).parent))
                runpy.run_path(command[0], run_name='__main__')
            code = 0
        except SystemExit as stop:
            if isinstance(stop.code, str):
                print(stop.code, file=sys.stderr)
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    output = log.read_text()
    log.unlink()
    if status:
        raise SystemExit(f'{output}\n{shlex.join(command)} ended with {status}')
    return output


def run_commands(code: str) -> str:
    """Run the commands of a bash block and return what they print."""
    output = ''
    for line in code.replace('\\\n', ' ').splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        if words[0] != 'python' or not words[1].endswith('.py'):
            raise SystemExit(f'only commands "python FILE.py ..." can run here, got: {line}')
        output += fork(words[1:])
    return output


def check(printed: str, expected: str) -> None:
    """Compare what a block printed with what the page says."""
    lines = [re.escape(line.strip()).replace(r'\.\.\.', '.*') for line in expected.splitlines()]
    seen = '\n'.join(line.strip() for line in printed.splitlines())
    if not re.search('^' + r'\n'.join(lines) + '$', seen, re.M | re.S):
        raise SystemExit(f'the page says that this is printed:\n{expected}\nand this was:\n{seen}')


def run(page: Path) -> int:
    """Run a page; return how many blocks ran."""
    namespace, printed, count = {'__name__': '__page__'}, None, 0
    sys.path.insert(0, '')
    for language, name, code in blocks(page.read_text(encoding='utf-8')):
        if language == 'python' and name:
            Path(name).write_text(code)
        elif language == 'python':
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile(code, f'{page.name}, block {count + 1}', 'exec'), namespace)
            printed = out.getvalue()
        elif language == 'bash':
            printed = run_commands(code)
        elif language == 'text' and printed is not None:
            check(printed, code)
            printed = None
            continue
        else:
            continue
        count += 1
    return count


def run_apart(page: Path, folder: Path) -> int:
    """Run a page in a fork, in its folder; return 0, or another number where it failed."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.chdir(folder)
            print(f'{page.stem}: {run(page)} blocks ran', flush=True)
            code = 0
        except BaseException as error:
            traceback.print_exc()
            print(f'{page.stem}: {error}', file=sys.stderr, flush=True)
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == '__main__':
    import mmbsa.models  # noqa: F401  (before the first fork, so that pages share the import)

    root, *pages = (Path(argument).resolve() for argument in sys.argv[1:])
    sys.exit(sum(run_apart(page, root / page.stem) != 0 for page in pages))
