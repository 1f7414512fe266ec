"""Whether a network is spike-driven: what every product of matrices and every convolution reads,
and why.
"""

from dataclasses import dataclass

from mmbsa.energy.report import Report

#: operands that make a product of accumulates alone.
SPIKES = ('binary', 'ternary', 'integer', 'bits')


@dataclass(frozen=True)
class Finding:
    """One product.

    Attributes:
        layer: module and op.
        component: part of the network.
        operands: role, kind, domain and origin of each.
        spike_driven: whether accumulates do: one operand of a product holds spikes, and no two
            real ones meet.
        reason: why, or why not.
    """

    layer: str
    component: str
    operands: tuple
    spike_driven: bool
    reason: str


def audit(report: Report) -> list[Finding]:
    """What each convolution, linear layer, matrix product and attention of a report multiplies.

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
    """How many products are spike-driven, and which are not."""
    driven = sum(finding.spike_driven for finding in findings)
    rest = [
        f'{finding.layer} ({finding.reason})' for finding in findings if not finding.spike_driven
    ]
    return f'{driven} of {len(findings)} products are spike-driven' + (
        f'; not: {"; ".join(rest)}' if rest else ''
    )


def markdown(findings: list[Finding]) -> str:
    """A table of all products."""
    lines = ['| product | part | spike-driven | what it reads |', '|---|---|---|---|']
    lines += [
        f'| {f.layer} | {f.component} | {"yes" if f.spike_driven else "**no**"} | {f.reason} |'
        for f in findings
    ]
    return '\n'.join(lines) + '\n'
