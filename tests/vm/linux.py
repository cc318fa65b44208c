# SPDX-License-Identifier: GPL-2.0-only
"""Kernels built from Debian's sources, to look for what a stock kernel lets
pass. What they have is said in `kconfig/`, and all else is left out.

As one that was unpacked, such a kernel is a directory of the cache (kernel.py);
its headers are the tree it was built in, and the file `recipe` says of what.
"""

import hashlib
import os
from pathlib import Path
import re
import shutil
import subprocess
import tempfile

from apt import Apt, Unobtainable, apt_failed, kept, unpack
from cache import announce, cache

KCONFIG = Path(__file__).with_name('kconfig')
# The fragments that make up a flavour.
FLAVOURS = {'kasan': ('guest', 'pages', 'checks', 'kasan'),
            'kcsan': ('guest', 'pages', 'checks', 'kcsan')}
# What building a kernel takes that building modules does not.
PACKAGES = ('bc', 'bison', 'ccache', 'flex', 'libelf-dev', 'libssl-dev', 'lz4')
OPTION = re.compile(r'^CONFIG_(\w+)=(.*)', re.M)


def read_options(*fragments):
    """{option: value}; n stands for an option that is not set."""
    texts = [(KCONFIG / name).read_text() for name in fragments]
    return dict(OPTION.findall('\n'.join(texts)))


def wanted(flavour, tree):
    """The options of a flavour. Of those that only older sources have, the ones
    that this source has."""
    known = set()
    for kconfig in tree.rglob('Kconfig*'):
        known.update(re.findall(r'^(?:menu)?config (\w+)$',
                                kconfig.read_text(errors='replace'), re.M))
    older = {name: value for name, value in read_options('older').items()
             if name in known}
    return {**read_options(*FLAVOURS[flavour]), **older}


def compare(options, config):
    """The wanted options that a .config does not have, or has otherwise."""
    got = dict(OPTION.findall(config))
    return {name: got.get(name, 'n') for name, value in options.items()
            if got.get(name, 'n') != value}


class Linux:
    """A package with the source of a kernel."""

    def __init__(self, suites):
        self.apt = Apt(suites)
        said = self.apt.update()
        names = [name for name in self.apt.behind(['linux-source'])
                 if re.fullmatch(r'linux-source-[\d.]+', name)]
        if not names:
            raise apt_failed(said, f"linux-source, {' or '.join(suites)}")
        self.package, = names

    def unpack(self, part=''):
        """The tree of the source, in the cache; or one with a directory of it, which
        is as good for those who want no more."""
        deb = self.fetch()
        name = deb.name.split('_')[1]
        tree = cache('linux') / name
        if part and not tree.is_dir():
            tree = cache('linux') / f'{name}-{part}'
        if not tree.is_dir():
            with tempfile.TemporaryDirectory(dir=tree.parent) as work:
                unpack(deb, work, '*/linux-source-*.tar.xz')
                archive, = Path(work).glob('usr/src/*.tar.xz')
                wanted = ['--wildcards', f'linux-source-*/{part}'] if part else []
                subprocess.run(['tar', '-xJf', archive, '-C', work, *wanted], check=True)
                next(Path(work).glob('linux-source-*')).rename(tree)
        return tree

    def fetch(self):
        """The package."""
        megabytes = self.apt.size([self.package]) // 10**6
        announce(f'{self.package}: downloading ({megabytes} MB), unpacking')
        deb, = self.apt.download([self.package])
        return deb


def scripts(source):
    """A tree with the scripts that come with the newest kernel's source: checkpatch,
    coccinelle's rules."""
    note = cache('linux') / '-'.join(['scripts', *source.suites])
    return kept(note, lambda: Linux(source.suites).unpack('scripts'))


def recipe(flavour):
    """What a kernel depends on besides its source."""
    texts = [(KCONFIG / name).read_text()
             for name in (*FLAVOURS[flavour], 'older')]
    return hashlib.sha256('\n'.join(texts).encode()).hexdigest()


def is_current(home, flavour):
    """Whether a kernel was built, to the end, as it would be now."""
    note = home / 'recipe'
    return note.is_file() and note.read_text() == recipe(flavour)


def make(tree, build, *what):
    """Run make in a source tree; what it says goes into a file."""
    environment = {**os.environ, 'LC_ALL': 'C', 'KBUILD_BUILD_TIMESTAMP': '0',
                   'CCACHE_DIR': str(cache('ccache')), 'CCACHE_MAXSIZE': '1G',
                   'CCACHE_BASEDIR': str(cache()), 'CCACHE_NOHASHDIR': '1'}
    log = build / 'make.log'
    with open(log, 'a') as output:
        done = subprocess.run(
            ['make', '-C', str(tree), f'O={build}', 'CC=ccache gcc',
             f'-j{len(os.sched_getaffinity(0))}', *what], env=environment,
            stdout=output, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        said = log.read_text().splitlines()
        raise Unobtainable('\n'.join(['the kernel does not build', *said[-20:]]))


def configure(tree, build, flavour):
    """Write .config; what is not asked for, and not needed, is left out."""
    options = wanted(flavour, tree)
    asked = build / 'asked'
    asked.write_text(''.join(f'CONFIG_{name}={value}\n'
                             for name, value in options.items()))
    make(tree, build, f'KCONFIG_ALLCONFIG={asked}', 'allnoconfig')
    wrong = compare(options, (build / '.config').read_text())
    if wrong:
        raise Unobtainable(f'the kernel would not be as it was asked for: {wrong}')


def build_linux(source, keep_modules):
    """Build the kernel of a source, or find it built; its directory. Of the
    modules that it has, keep_modules(DIRECTORY, RELEASE) keeps the few."""
    linux = Linux(source.suites)
    tree = linux.unpack()
    version = subprocess.run(['make', '-s', '-C', str(tree), 'kernelversion'],
                             text=True, stdout=subprocess.PIPE,
                             check=True).stdout.strip()
    home = cache('kernels') / f'{version}-{source.flavour}'
    if is_current(home, source.flavour):
        return home
    shutil.rmtree(home, ignore_errors=True)
    build = home / 'build'
    build.mkdir(parents=True)
    announce(f'{source.name}: building {home.name}')
    configure(tree, build, source.flavour)
    make(tree, build, 'bzImage', 'modules')
    make(tree, build, f'INSTALL_MOD_PATH={home}', 'modules_install')
    shutil.copy2(build / 'arch/x86/boot/bzImage', home / 'vmlinuz')
    (home / 'source').symlink_to(tree)
    keep_modules(home, home.name)
    (home / 'recipe').write_text(recipe(source.flavour))
    return home
