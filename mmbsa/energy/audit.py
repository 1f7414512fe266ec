"""Audit of a network: which matrix products and convolutions are spike-driven, and why."""

from dataclasses import dataclass

from mmbsa.energy.report import Report

#: kinds of operands with which a product needs accumulates only.
SPIKES = ('binary', 'ternary', 'integer', 'bits')


@dataclass(frozen=True)
class Finding:
    """The result of the audit for one product.

    Attributes:
        layer: name of the module and the op.
        component: part of the network, for example ``'stem'``.
        operands: (role, kind, domain, origin) of each operand.
        spike_driven: True if accumulates are enough: one operand holds spikes, and no two operands
            are real-valued.
        reason: the reason for the value of ``spike_driven``.
    """

    layer: str
    component: str
    operands: tuple
    spike_driven: bool
    reason: str


def audit(report: Report) -> list[Finding]:
    """Audit every convolution, linear layer, matrix product and attention of a report.

    Args:
        report: operation counts, from :func:`count_operations`.

    Returns:
        One finding per product, in the order of the report.

    Raises:
        ValueError: nothing was counted.
    """
    findings = []
    for row in report.counted():
        if row.kind not in ('conv', 'linear', 'matmul', 'attention'):
            continue
        acting = [operand for operand in row.operands if operand[1] != 'weight']
        driven = row.counts.mac == 0
        spikes = [o for o in acting if all(kind in SPIKES for kind in o[1].split(' or '))]
        if driven:
            reason = (
                '; '.join(f'{role}: {kind} {domain}'.strip() for role, kind, domain, _ in spikes)
                or 'weights alone'
            )
            others = [o for o in acting if o not in spikes]
            if others:
                reason += (
                    ' ('
                    + '; '.join(f'{role}: {kind}, {origin}' for role, kind, _, origin in others)
                    + ')'
                )
            if row.counts.shifts:
                reason += '; weights are powers of two: shifts'
        else:
            reason = '; '.join(
                f'{role}: {kind}, {origin}'
                for role, kind, _, origin in acting
                if (role, kind, _, origin) not in spikes
            )
        findings.append(Finding(row.name, row.component, row.operands, driven, reason))
    return findings


def summary(findings: list[Finding]) -> str:
    """Return one sentence: how many products are spike-driven, and which are not."""
    driven = sum(finding.spike_driven for finding in findings)
    rest = [
        f'{finding.layer} ({finding.reason})' for finding in findings if not finding.spike_driven
    ]
    return f'{driven} of {len(findings)} products are spike-driven' + (
        f'; not: {"; ".join(rest)}' if rest else ''
    )


def markdown(findings: list[Finding]) -> str:
    """Return a Markdown table of all products."""
    lines = ['| product | part | spike-driven | what it reads |', '|---|---|---|---|']
    lines += [
        f'| {f.layer} | {f.component} | {"yes" if f.spike_driven else "**no**"} | {f.reason} |'
        for f in findings
    ]
    return '\n'.join(lines) + '\n'
