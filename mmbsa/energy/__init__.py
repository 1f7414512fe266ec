"""Exact operation counts and energy of a network per layer, with cost tables, twins and audits."""

from mmbsa.energy.counter import OpCounter, UnknownOpError
from mmbsa.energy.counts import Counts, Row
from mmbsa.energy.report import Report, count_operations
from mmbsa.energy.rules import RULES, rule

__all__ = [
    'Counts',
    'OpCounter',
    'RULES',
    'Report',
    'Row',
    'UnknownOpError',
    'count_operations',
    'rule',
]
