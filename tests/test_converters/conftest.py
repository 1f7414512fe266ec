"""Prints what the parity tests found: the largest errors against the official implementations."""

import sys


def pytest_terminal_summary(terminalreporter):
    errors = getattr(sys.modules.get('test_parity'), 'ERRORS', {})
    if not errors:
        return
    write = terminalreporter.write_line
    terminalreporter.section('parity with the official implementations: largest errors')
    write(
        'values, in evaluation and training, and buffers: absolute; gradients of parameters and of '
        'the input: L2 norm of '
        'the error over that of the gradient'
    )
    columns = 'eval', 'train', 'buffers', 'gradients', 'input'
    write('| fixture | ' + ' | '.join(columns) + ' |')
    write('|---' * (len(columns) + 1) + '|')
    for name, found in sorted(errors.items()):
        write(
            f'| {name} | '
            + ' | '.join(f'{found[c]:.1e}' if c in found else '-' for c in columns)
            + ' |'
        )
