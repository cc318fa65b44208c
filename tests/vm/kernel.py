#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Kernels out of Debian's packages, unpacked into the cache, never installed:
the distribution's stock one, and those that are listed in the file `kernels`.

    kernel.py [NAME]    print the directory of a kernel, fetching it if need be

The directory holds

    vmlinuz         the kernel as the distribution ships it
    vmlinux         the same unpacked, of amd64 and where it can be: it boots
                    faster, through QEMU's PVH entry
    build/          the headers, to be used as KDIR=
    root/           the few modules the guest needs, as lib/modules/RELEASE/
"""

import collections
import gzip
import lzma
import os
from pathlib import Path
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time

from apt import Apt, Unobtainable, apt_failed, unpack
from cache import (DAY, LOOK_AGAIN_AFTER, announce, cache, locked, write_atomically)
from linux import FLAVOURS, build_linux, is_current
from machines import HOST, MACHINES

# What a guest loads (virtio) or a test may want (zram, to swap to).
GUEST_MODULES = ('virtio_pci', 'virtio_console', 'zram', 'lzo_rle')
IMAGE_FILES = ('*/vmlinuz*', './boot/vmlinux-*', '*/drivers/virtio/*',
               '*/drivers/char/virtio_console.ko*', '*/drivers/block/zram/*',
               '*/mm/zsmalloc.ko*', '*/lib/842/*', '*/lib/lz4/*', '*/lib/zstd/*',
               '*/lib/lzo/*', '*/lib/zlib_deflate/*', '*/crypto/*',
               '*/modules.builtin*', '*/modules.order')

# The packages that make up a kernel, among all that the metapackages need.
# (An image is there twice where it is signed; without a signature in a package
# whose name ends in -unsigned.)
KERNEL_PACKAGE = re.compile(
    r'linux-(image|binary|modules|headers|kbuild)-\d.*(?<!-unsigned)')

# Those of them that are not the kernel's architecture's own.
SHARED_PACKAGE = re.compile(r'^linux-kbuild-|-common(-rt)?$')

# Where a kernel comes from, and what it is run with. No suites: from those of
# this machine. guests: kinds of page tables; usual: those of every `make test`.
class Source(collections.namedtuple(
        'Source', 'name tier arch flavour pages guests suites why usual',
        defaults=[()])):
    """A line of the list of kernels."""

    @property
    def is_built(self):
        """Whether it is built here; otherwise it comes as packages."""
        return self.flavour in FLAVOURS


KERNELS = Path(__file__).with_name('kernels')

# What kbuild's tools of a newer release are linked with.
LIBRARIES = ('libc6', 'libelf1t64', 'zlib1g', 'libzstd1', 'libssl3t64')


class Kernel:
    """One unpacked kernel, of a source."""

    def __init__(self, path, source):
        self.path = Path(path)
        self.release = self.path.name
        self.name = source.name
        self.arch = source.arch
        self.is_built = source.is_built
        self.guests = source.guests
        self.usual = source.usual or source.guests
        self.build = self.path / 'build'
        self.root = self.path / 'root'

    def has(self, option):
        """Whether it was built with an option, as its headers say."""
        text = (self.build / 'include/config/auto.conf').read_text()
        return re.search(rf'^CONFIG_{option}=', text, re.M) is not None

    def knows(self, header, name):
        """Whether a header of its for user space has a name."""
        trees = (*self.path.glob('usr/src/linux-headers-*-common*'),
                 self.path / 'source')
        path = trees[0] / 'include/uapi' / header
        return re.search(rf'\b{name}\b', path.read_text()) is not None

    def exports(self, name):
        """Whether it has a symbol for modules."""
        text = (self.build / 'Module.symvers').read_text()
        return re.search(rf'\t{name}\t', text) is not None

    @property
    def patience(self):
        """How many times as long as others' its commands may take."""
        return (4 if self.is_built else 1) * self.machine.patience

    @property
    def append(self):
        """What its command line is to have. A race is often the kernel's own:
        that is no end, and which are ours is seen in the log."""
        return 'panic_on_warn=0' if self.has('KCSAN') else ''

    @property
    def machine(self):
        """What guests of its architecture need."""
        return MACHINES[self.arch]


# --- unpacking ---------------------------------------------------------------

def decompressed(data):
    """The content of a compressed kernel or module, whatever it is."""
    if data.startswith(b'\xfd7zXZ'):
        # The kernel's build appends four bytes to the stream.
        return lzma.LZMADecompressor().decompress(data)
    if data.startswith(b'\x1f\x8b'):
        return gzip.decompress(data)
    if data.startswith(b'\x28\xb5\x2f\xfd'):
        # The status tells only of the bytes that follow the stream.
        return subprocess.run(['zstd', '-dcq'], input=data, check=False,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL).stdout
    return data


def extract_vmlinux(bzimage):
    """The ELF kernel inside a bzImage (Documentation/arch/x86/boot.rst)."""
    setup_sectors = bzimage[0x1f1] or 4
    offset, length = struct.unpack_from('<II', bzimage, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    return decompressed(bzimage[start:start + length])


def point_headers_home(tree, home):
    """The headers name each other by /usr/src: name where they really lie."""
    for makefile in tree.glob('usr/src/*/Makefile'):
        text = makefile.read_text()
        makefile.write_text(text.replace('/usr/src/', f'{home}/usr/src/'))


def keep_guest_modules(tree, release):
    """Make root/ of the modules in GUEST_MODULES and what they need."""
    modules = next(path for path in tree.glob(f'**/lib/modules/{release}')
                   if any(path.glob('**/*.ko*')))
    base = modules.parents[2]
    for module in modules.glob('**/*.ko.*'):
        module.with_suffix('').write_bytes(decompressed(module.read_bytes()))
    depmod(base, release)
    kept = tree / 'root' / 'lib' / 'modules' / release
    kept.mkdir(parents=True)
    lists = [*modules.glob('modules.builtin*'), *modules.glob('modules.order')]
    # What is no file is built into the kernel; not all kernels list that.
    there = {path.stem.replace('-', '_') for path in modules.glob('**/*.ko')}
    wanted = [name for name in GUEST_MODULES if name in there]
    for path in dependencies(base, release, wanted) + lists:
        shutil.copy2(path, kept)
    depmod(tree / 'root', release)
    shutil.rmtree(base / 'lib' / 'modules')


def kmod(*command):
    """Run a tool of kmod, which may be in a directory for root only."""
    path = os.environ.get('PATH', '') + ':/usr/sbin:/sbin'
    # depmod warns of lists that not every kernel's packages have.
    return subprocess.run(command, env={**os.environ, 'PATH': path}, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          check=True).stdout


def depmod(root, release):
    """Write modules.dep for the modules that are there."""
    kmod('depmod', '-b', str(root), release)


def dependencies(root, release, names):
    """The files of modules and of all that they depend on."""
    if not names:
        return []
    text = kmod('modprobe', '-d', str(root), '-S', release, '-a',
                '--show-depends', *names)
    return [line.split()[1] for line in text.splitlines()
            if line.startswith('insmod')]


def programs(tree):
    """kbuild's own programs."""
    return [path for path in tree.glob('usr/lib/linux-kbuild-*/**/*')
            if path.is_file() and not path.is_symlink()
            and path.read_bytes()[:4] == b'\x7fELF'
            and b'ld-linux' in path.read_bytes()[:4096]]


def too_new(program):
    """Whether a program wants another C library than this machine's."""
    done = subprocess.run(['ldd', str(program)], text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return 'GLIBC' in done.stdout


def give_libraries(apt, tree, home):
    """Bring the libraries that kbuild's programs lack here, and make the
    programs use those, at the place where all will lie."""
    lacking = [path for path in programs(tree) if too_new(path)]
    if not lacking:
        return
    for deb in apt.download(LIBRARIES):
        if deb.name.startswith(LIBRARIES):
            unpack(deb, tree / 'libraries')
    where = 'libraries/usr/lib/x86_64-linux-gnu'
    subprocess.run(['patchelf',
                    '--set-interpreter', f'{home}/{where}/ld-linux-x86-64.so.2',
                    '--set-rpath', f'{home}/{where}', *map(str, lacking)],
                   check=True)


def assemble(debs, tree, home, release):
    """Make a kernel's directory out of its packages."""
    for deb in debs:
        large = re.match(r'linux-(image|binary|modules)-', deb.name)
        unpack(deb, tree, *(IMAGE_FILES if large else ()))
    # Not any vmlinux: the headers of newer kernels have one to look things up.
    images = [path for pattern in (f'boot/vmlinu[xz]-{release}',
                                   f'**/lib/modules/{release}/vmlinuz')
              for path in tree.glob(pattern)]
    if not images:
        raise Unobtainable(f'the packages of {release} hold no kernel')
    images[0].rename(tree / 'vmlinuz')
    content = (tree / 'vmlinuz').read_bytes()
    if content[0x202:0x206] == b'HdrS':
        content = extract_vmlinux(content)
        # Not where it is packed in LZ4, which nothing here unpacks.
        if content.startswith(b'\x7fELF'):
            (tree / 'vmlinux').write_bytes(content)
    (tree / 'build').symlink_to(f'usr/src/linux-headers-{release}')
    point_headers_home(tree, home)
    keep_guest_modules(tree, release)


# --- finding -----------------------------------------------------------------

def host_source():
    """This machine's own kernel."""
    text = Path('/etc/os-release').read_text()
    release = dict(re.findall(r'^(\w+)="?([^"\n]*)', text, re.M))
    flavour = {'debian': 'amd64', 'ubuntu': 'generic'}.get(release.get('ID'))
    if flavour is None:
        raise Unobtainable('only Debian and Ubuntu kernels are known')
    return Source('stock', '-', HOST, flavour, '4k', ('4-level', '5-level'), (),
                  'the one of this machine')


def listed():
    """The kernels in the list, by name."""
    rows = (line.split('\t') for line in KERNELS.read_text().splitlines()
            if line and not line.startswith('#'))
    sources_of = (Source(*row) for row in rows)
    return {source.name: source._replace(
        guests=tuple(name.strip('()') for name in source.guests.split(',')),
        usual=tuple(name for name in source.guests.split(',') if name[0] != '('),
        suites=tuple(source.suites.split(','))) for source in sources_of}


def source_of(name):
    """The source of a kernel, by its name."""
    if name == 'stock':
        return host_source()
    if name not in listed():
        raise Unobtainable(f"no kernel is called {name}; there are: "
                          f"{' '.join(listed())}")
    return listed()[name]


def packages_of(apt, flavour):
    """The packages of a flavour's newest kernel. kbuild's programs are to run
    here, whatever they build for."""
    meta = [f'linux-{kind}-{flavour}' for kind in ('image', 'headers')]
    names = sorted(filter(KERNEL_PACKAGE.fullmatch, apt.behind(meta)))
    return [name if SHARED_PACKAGE.search(name) else f'{name}:{apt.arch}'
            for name in names]


def release_of(packages):
    """6.1.0-56-amd64, from the name of its headers."""
    # The image's package is linux-image-RELEASE or linux-binary-RELEASE.
    for name in packages:
        match = re.match(r'linux-(image|binary)-([^:]+)', name)
        if match:
            return match[2]
    return None


def fetch(source):
    """Find the newest kernel of a source, and have it in the cache."""
    if source.is_built:
        return Kernel(build_linux(source, keep_guest_modules), source)
    return fetch_packages(source)


def fetch_packages(source):
    """Find, download and unpack the newest kernel of a source."""
    announce(f'{source.name}: looking for it in the package lists')
    apt = Apt(source.suites, source.arch)
    said = apt.update()
    packages = packages_of(apt, source.flavour)
    release = release_of(packages)
    if not release:
        raise apt_failed(said, f'linux-image-{source.flavour}, '
                         f"{' or '.join(source.suites) or 'here'}")
    home = cache('kernels') / release
    if home.is_dir():
        return Kernel(home, source)
    megabytes = apt.size(packages) // 10**6
    announce(f'{source.name}: downloading {release} ({megabytes} MB)')
    debs = apt.download(packages)
    announce(f'{source.name}: unpacking {release} into the cache')
    for left in cache('kernels').glob('.*'):    # by a run that was killed
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=cache('kernels'), prefix='.') as work:
        tree = Path(work, 'tree')
        (tree / 'libraries').mkdir(parents=True)
        assemble(debs, tree, home, release)
        give_libraries(apt, tree, home)
        tree.rename(home)
    shutil.rmtree(apt.debs)
    return Kernel(home, source)


def remembered(note, source):
    """The kernel that was found last, or None."""
    if not note.is_file():
        return None
    path = note.parent / note.read_text().strip()
    if source.is_built and not is_current(path, source.flavour):
        return None
    return Kernel(path, source) if path.is_dir() else None


def kernel(name='stock'):
    """A kernel to run guests with: from the cache while it is fresh, then
    looked for again, if there is a network."""
    source = source_of(name)
    note = cache('kernels') / '-'.join(
        ['newest', *source.suites, source.flavour])
    # Building one takes minutes, in which nobody else need wait.
    with locked(note.name if source.is_built else 'kernels'):
        found = remembered(note, source)
        if found and time.time() - note.stat().st_mtime < LOOK_AGAIN_AFTER:
            return found
        try:
            newest = fetch(source)
        except Unobtainable:
            if not found:
                raise
            announce(f'No newer kernel to be had; using {found.release}')
            tomorrow = time.time() - LOOK_AGAIN_AFTER + DAY
            os.utime(note, (tomorrow, tomorrow))
            return found
        write_atomically(note, newest.release.encode())
        return newest


def kernel_or_exit(name='stock'):
    """As kernel(), for a command: one line that says why not, and out."""
    try:
        return kernel(name)
    except Unobtainable as error:
        return sys.exit(f'no kernel to be had: {error}')


if __name__ == '__main__':
    print(kernel_or_exit(*sys.argv[1:2]).path)
