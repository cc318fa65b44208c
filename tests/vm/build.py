# SPDX-License-Identifier: GPL-2.0-only
"""Build the tree for a guest's kernel, in a copy in the cache.

Not in the tree itself: builds for two kernels would overwrite each other, and
the tree's own build is for the kernel of the host.
"""

import hashlib
import os
from pathlib import Path
import re
import shutil
import subprocess
import sys

from cache import announce, cache, locked
from machines import HOST

TREE = Path(__file__).resolve().parents[2]
SOURCES = ('*.c', '*.h', 'Makefile', 'Kbuild', 'tests/fixtures/*.[ch]',
           'tests/planted/*', 'tests/floor/*', 'scripts/*', 'man/*.in', 'docs/insmod.md')
HELPERS = ('pagemap', 'lazy_allocation')
# A helper that ends at the first thing that C does not define. The runtime is in
# the program: the guest need not have it.
CHECKED = ('-std=gnu11', '-O1', '-g', '-s', '-fsanitize=address,undefined',
           '-fno-sanitize-recover=all', '-static-libasan', '-static-libubsan')
# All warnings that kbuild has: one is a failure. And no type information: that
# would take pahole, and the guest has no use for it.
VARIABLES = ('W=1', 'CONFIG_DEBUG_INFO_BTF_MODULES=')
# This machine's compiler may be older than the one that built a kernel.
OTHER_COMPILER = ('CONFIG_CC_HAS_MIN_FUNCTION_ALIGNMENT=',)
# What it does not align, arm64's ftrace warns of: so nothing of ours is traced there.
FLAGS = {'arm64': '-Wno-attributes -fpatchable-function-entry=0'}
OTHER_FLAGS = '-Wno-attributes'
# What counts how often each line is executed. Optimized, lines are joined; the
# kernel's headers take -O1 at least.
COUNTED = ('GCOV_PROFILE=y', f'KCFLAGS={OTHER_FLAGS} -O1',
           'CFLAGS=-O0 -g --coverage -include fixtures/counted.h')
WARNING = re.compile(r'^\S+: warning:|^WARNING:', re.M)


class BuildError(Exception):
    """The tree does not build; the compiler's words are in the message."""


class Build:
    """What was built: modules, and programs at their places in the tree."""

    def __init__(self, path):
        self.path = path

    @property
    def modules(self):
        """The suite's modules, that with bugs and the floor where they were built."""
        return sorted(path for where in ('', 'planted/', 'floor/')
                      for path in self.path.glob(f'{where}*.ko'))

    @property
    def signed(self):
        """The suite's modules once more, with a signature, where there is a key."""
        return sorted(self.path.glob('signed/*.ko'))

    @property
    def programs(self):
        """The suite's helpers and the tests' fixtures."""
        helpers = [self.path / name for name in HELPERS]
        fixtures = [path.with_suffix('') for path in
                    sorted(self.path.glob('fixtures/*.c'))]
        checked = [self.path / 'checked' / name for name in HELPERS]
        return [path for path in helpers + fixtures + checked if path.exists()]


def sources():
    """The files to build from, by their names in the tree."""
    found = (path for pattern in SOURCES for path in TREE.glob(pattern))
    # kbuild leaves its own lkm1.mod.c behind in a tree that was built in.
    return {path.relative_to(TREE): path for path in found
            if not path.name.endswith('.mod.c')}


def place(name):
    """Where a file of the tree stands in the copy."""
    return Path(*name.parts[1:]) if name.parts[0] == 'tests' else name


def copy_sources(copy):
    """Bring the copy up to date; times are kept, so make does the least."""
    wanted = {copy / place(name): path for name, path in sources().items()}
    for target, path in wanted.items():
        target.parent.mkdir(exist_ok=True)
        old = target.stat() if target.exists() else None
        new = path.stat()
        if not old or (old.st_mtime_ns, old.st_size) != (new.st_mtime_ns,
                                                         new.st_size):
            shutil.copy2(path, target)
    for path in [*copy.glob('*.[ch]'), *copy.glob('*/*.c')]:
        if path not in wanted and not path.name.endswith('.mod.c'):
            forget(path)


def forget(path):
    """Remove a source that is gone from the tree, and what it became."""
    for name in (path, path.with_suffix('.ko'), path.with_suffix('')):
        name.unlink(missing_ok=True)


def run(command, where):
    """Run a compiler; what it has to say is an error, be it but a warning."""
    done = subprocess.run(command, cwd=where, text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode or WARNING.search(done.stdout):
        output = done.stdout.replace(f'{where}/', '')
        raise BuildError(f'{" ".join(command)}\n{output}')


def compiler(kernel):
    """The compiler for a kernel's architecture."""
    return 'gcc' if kernel.arch == HOST else f'{kernel.machine.tuple}-gcc'


def variables(kernel, counted):
    """What make is told of a kernel and of the compiler for it."""
    told = [f'KDIR={kernel.build}', f'CC={compiler(kernel)}', *VARIABLES,
            *OTHER_COMPILER,
            f'KCFLAGS={FLAGS.get(kernel.machine.kbuild, OTHER_FLAGS)}']
    if kernel.arch != HOST:
        told += [f'ARCH={kernel.machine.kbuild}',
                 f'CROSS_COMPILE={kernel.machine.tuple}-']
    return [*told, *COUNTED] if counted else told


def is_old(program, *sources):
    """Whether a program is to be made of its sources, again or at all."""
    return not program.exists() or any(
        program.stat().st_mtime <= source.stat().st_mtime for source in sources)


def compile_fixtures(copy, gcc):
    """Each fixture is one static program, with nothing to load at start."""
    headers = list(copy.glob('fixtures/*.h'))
    for source in sorted(copy.glob('fixtures/*.c')):
        program = source.with_suffix('')
        if is_old(program, source, *headers):
            run([gcc, '-O2', '-Wall', '-static', '-pthread', '-o',
                 str(program), str(source)], copy)


def sign_modules(kernel, copy, make):
    """Sign copies with the key that a kernel built here was built with, and trusts."""
    key = kernel.build / 'certs/signing_key'
    (copy / 'signed').mkdir(exist_ok=True)
    modules = [f'signed/{path.stem}' for path in sorted(copy.glob('*.ko'))]
    for module in modules:
        shutil.copy2(copy / f'{Path(module).name}.ko', copy / f'{module}.ko')
    run([*make, 'sign', f'KEY={key}.pem', f'CERT={key}.x509',
         f"MODULES={' '.join(modules)}"], copy)


def compile_checked(copy):
    """The helpers with sanitizers; this machine's compiler alone surely has
    their runtime."""
    (copy / 'checked').mkdir(exist_ok=True)
    for name in HELPERS:
        program, source = copy / 'checked' / name, copy / f'{name}.c'
        if is_old(program, source):
            run(['gcc', *CHECKED, '-o', str(program), str(source)], copy)


def fingerprint(kernel):
    """What a build depends on; kbuild takes a second to find that out."""
    made = (kernel.build / 'Module.symvers').stat().st_mtime_ns
    facts = [f'{kernel.path} {made}']
    for name, path in sorted(sources().items()):
        status = path.stat()
        facts.append(f'{name} {status.st_mtime_ns} {status.st_size}')
    return '\n'.join(facts)


def build(kernel, counted=False):
    """Build everything for a kernel; only what changed is made again. counted:
    what is built counts how often its lines are executed (tests/coverage)."""
    key = hashlib.sha256(str(TREE).encode()).hexdigest()[:12]
    copy = cache('build', f"{key}-{kernel.release}{'-counted' * counted}")
    stamp = copy / 'built'
    facts = fingerprint(kernel)
    with locked(copy.name):
        if not stamp.exists() or stamp.read_text() != facts:
            announce(f'{kernel.name}: building for {kernel.release}')
            make_all(kernel, copy, counted)
            stamp.write_text(facts)
    return Build(copy)


def make_command(kernel, counted):
    """How make is called for a kernel."""
    return ['make', '--no-print-directory', *variables(kernel, counted)]


def make_all(kernel, copy, counted):
    """Build in the copy, which is given up where something is wrong: make would
    not say again what it said of a file that it has made."""
    make = make_command(kernel, counted)
    try:
        copy_sources(copy)
        run([*make, f'-j{len(os.sched_getaffinity(0))}'], copy)
        if kernel.is_built:
            make_other(kernel, make, copy, 'planted')
            sign_modules(kernel, copy, make)
        compile_fixtures(copy, compiler(kernel))
        if kernel.arch == HOST and not counted:
            compile_checked(copy)
    except BuildError:
        shutil.rmtree(copy)
        raise


def make_other(kernel, make, copy, name):
    """Build a module that is not the suite's, in a directory of its own."""
    run([*make, '-C', str(kernel.build), f'M={copy}/{name}'], copy)


def build_floor(kernel):
    """Build everything, and the module that the suite is measured by."""
    built = build(kernel)
    with locked(built.path.name):
        try:
            make_other(kernel, make_command(kernel, False), built.path, 'floor')
        except BuildError:
            shutil.rmtree(built.path)
            raise
    return built


def build_or_exit(kernel, build=build):
    """As build(), for a command: the compiler's words, and out."""
    try:
        return build(kernel)
    except BuildError as error:
        sys.exit(f'{error}\nThe tree does not build without a warning.')
