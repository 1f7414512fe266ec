"""Packaging of mmbsa; bounds live in ``requirements/``, the version in ``mmbsa/version.py``."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


def requirements(name):
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    return [line for line in map(str.strip, lines) if line and not line.startswith('#')]


def version():
    text = (ROOT / 'mmbsa' / 'version.py').read_text()
    return re.search(r"^__version__ = '(.+)'$", text, re.M).group(1)


#: extras by the names of their files; the tests of the maintained fork need all of them.
EXTRAS = {
    name: requirements(name)
    for name in ('openmmlab', 'detection', 'events', 'deploy', 'docs', 'tests')
}
EXTRAS['docs'] = sorted({*EXTRAS['docs'], *EXTRAS['openmmlab'], *EXTRAS['detection']})
EXTRAS['tests'] = sorted(
    {'playwright', 'snntorch', *(line for lines in EXTRAS.values() for line in lines)}
)


class BuildWithMim(build_py):
    """Ship ``configs``, ``tools`` and ``model-index.yml`` as ``mmbsa/.mim``, where mim looks for
    them."""

    def run(self):
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / 'mmbsa' / '.mim'
        for name in ('configs', 'tools', 'model-index.yml'):
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(
                    source,
                    target / name,
                    dirs_exist_ok=True,
                    ignore=shutil.ignore_patterns('__pycache__'),
                )
            elif source.exists():
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target / name)


setup(
    name='mmbsa',
    version=version(),
    description='Bipolar Self-attention and spiking transformers for OpenMMLab',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    author='The mmbsa authors',
    license='Apache-2.0',
    keywords=(
        'spiking neural networks, spiking transformer, bipolar self-attention, '
        'semantic segmentation, OpenMMLab'
    ),
    classifiers=[
        'Development Status :: 4 - Beta',
        'Intended Audience :: Science/Research',
        'Operating System :: OS Independent',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
    packages=find_packages(include=['mmbsa', 'mmbsa.*']),
    package_data={
        'mmbsa': ['ops/*.hpp', 'ops/*/*.hpp', 'ops/*/*.cpp']
    },  # compiled on first use, see mmbsa/ops/native.py
    python_requires='>=3.11',
    install_requires=requirements('runtime'),
    extras_require=EXTRAS,
    cmdclass={'build_py': BuildWithMim},
    zip_safe=False,
)
