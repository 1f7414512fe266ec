"""Environment report for bug reports: versions, kernels that can run here, and what is missing.

python -m mmbsa
"""

from mmbsa.utils.environment import report

if __name__ == '__main__':
    print(report())
