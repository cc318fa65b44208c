#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Kernels out of Debian's packages, unpacked into the cache, never installed:
the distribution's stock one, and those that are listed in the file `kernels`.

    kernel.py [NAME]    print the directory of a kernel, fetching it if need be

The directory holds

    vmlinuz         the kernel as the distribution ships it
    vmlinux         the same one unpacked: boots faster, through QEMU's PVH entry
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

from cache import announce, cache, locked, write_atomically

DAY = 24 * 3600
LOOK_AGAIN_AFTER = 7 * DAY

# What a guest loads (virtio) or a test may want (zram, to swap to).
GUEST_MODULES = ('virtio_pci', 'virtio_console', 'zram')
MODULE_FILES = ('*/drivers/virtio/*', '*/drivers/char/virtio_console.ko*',
                '*/drivers/block/zram/*', '*/mm/zsmalloc.ko*', '*/lib/842/*',
                '*/lib/lz4/*', '*/lib/zstd/*', '*/crypto/*',
                '*/modules.builtin*', '*/modules.order')

# The packages that make up a kernel, among all that the metapackages need.
# (An image is there twice where it is signed; without a signature in a package
# whose name ends in -unsigned.)
KERNEL_PACKAGE = re.compile(
    r'linux-(image|binary|modules|headers|kbuild)-\d.*(?<!-unsigned)')

# Where a kernel comes from: its suites, or none for those of this machine.
Source = collections.namedtuple('Source', 'name tier flavour suites why')
KERNELS = Path(__file__).with_name('kernels')

# What kbuild's tools of a newer release are linked with.
LIBRARIES = ('libc6', 'libelf1t64', 'zlib1g', 'libzstd1', 'libssl3t64')


class KernelError(Exception):
    """No kernel can be had; the message says why, in one line."""


class Kernel:
    """One unpacked kernel."""

    def __init__(self, path):
        self.path = Path(path)
        self.release = self.path.name
        self.vmlinuz = self.path / 'vmlinuz'
        self.vmlinux = self.path / 'vmlinux'
        self.build = self.path / 'build'
        self.root = self.path / 'root'

    @property
    def name(self):
        """The release without the flavour: 6.1.0-56."""
        return self.release.rpartition('-')[0]


# --- apt, with a state of its own -------------------------------------------

# Read after the system's own configuration, so that its proxies, sources and
# keyrings hold. Only package lists are wanted, and no hook may run.
APT_CONF = '''
Dir::State::Lists "{state}/lists";
Dir::Cache "{state}";
Dir::Cache::archives "archives";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "srcpkgcache.bin";
APT::Sandbox::User "root";
#clear APT::Architectures;
APT::Architectures {{ "amd64"; }};
#clear APT::Update;
#clear DPkg::Post-Invoke;
#clear Acquire::IndexTargets;
Acquire::IndexTargets::deb::Packages {{
    MetaKey "$(COMPONENT)/binary-$(ARCHITECTURE)/Packages";
    flatMetaKey "Packages";
    ShortDescription "Packages";
    Description "$(RELEASE)/$(COMPONENT) $(ARCHITECTURE) Packages";
    Optional "false";
}};
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "15";
Acquire::https::Timeout "15";
'''


# And these for the packages of other releases than this machine's.
APT_SUITES = '''
Dir::Etc::SourceList "{state}/sources.list";
Dir::Etc::SourceParts "/dev/null";
APT::Default-Release "{release}";
'''
KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg'


class Apt:
    """A distribution's packages, asked for without touching the host."""

    def __init__(self, suites=()):
        place = '+'.join(suites) or 'host'
        state = cache('apt', place)
        cache('apt', place, 'lists', 'partial')
        cache('apt', place, 'archives', 'partial')
        conf = APT_CONF.format(state=state)
        if suites:
            conf += APT_SUITES.format(state=state, release=suites[0])
            write_atomically(state / 'sources.list', sources(suites).encode())
        self.conf = state / 'apt.conf'
        self.debs = cache('apt', place, 'debs')
        write_atomically(self.conf, conf.encode())

    def _command(self, tool, *args):
        return [tool, '-c', str(self.conf), *args]

    def _ask(self, *args):
        return subprocess.run(self._command('apt-cache', *args), text=True,
                              stdout=subprocess.PIPE, check=False).stdout

    def update(self):
        """Refresh the lists. A third party's broken source fails this
        without mattering to us: what counts is what can be found after."""
        subprocess.run(self._command('apt-get', 'update'),
                       stdout=sys.stderr, check=False)

    def kernel_packages(self, flavour):
        """Names of the packages behind the metapackages."""
        meta = [f'linux-image-{flavour}', f'linux-headers-{flavour}']
        text = self._ask('depends', '--recurse', '--important', *meta)
        names = {line.split()[-1] for line in text.splitlines()}
        return sorted(filter(KERNEL_PACKAGE.fullmatch, names))

    def size(self, packages):
        """Bytes to download."""
        text = self._ask('show', '--no-all-versions', *packages)
        return sum(map(int, re.findall(r'^Size: (\d+)$', text, re.M)))

    def download(self, packages):
        """Fetch packages; what an earlier try left half done is resumed."""
        subprocess.run(self._command('apt-get', 'download', *packages),
                       stdout=sys.stderr, cwd=self.debs, check=True)
        return sorted(self.debs.glob('*.deb'))


def mirrors():
    """(archive, security archive): where this machine has Debian from."""
    uris = subprocess.run(
        ['apt-get', 'indextargets', '--format', '$(REPO_URI)'], text=True,
        stdout=subprocess.PIPE, check=True).stdout.split()
    for uri in uris:
        base, _, last = uri.rstrip('/').rpartition('/')
        if last == 'debian':
            security = f'{base}/debian-security/'
            others = (uri for uri in uris if 'debian-security' in uri)
            return uri, next(others, security)
    raise KernelError("this machine's package sources name no mirror of Debian")


def sources(suites):
    """A sources.list for suites of Debian."""
    archive, security = mirrors()
    return ''.join(
        f'deb [signed-by={KEYRING}] '
        f"{security if suite.endswith('-security') else archive} {suite} main\n"
        for suite in suites)


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
    vmlinux = decompressed(bzimage[start:start + length])
    if not vmlinux.startswith(b'\x7fELF'):
        raise KernelError('vmlinuz is packed in a way that is not known here')
    return vmlinux


def unpack(package, where):
    """Unpack a package; of the image, a few files only."""
    wanted = []
    if re.match(r'linux-(image|binary|modules)-', package.name):
        wanted = ['--wildcards', '*/vmlinuz*', *MODULE_FILES]
    with subprocess.Popen(['dpkg-deb', '--fsys-tarfile', str(package)],
                          stdout=subprocess.PIPE) as deb:
        # tar complains of patterns that match nothing in this package.
        subprocess.run(['tar', '-x', '-C', str(where), *wanted],
                       stdin=deb.stdout, check=not wanted,
                       stderr=subprocess.DEVNULL if wanted else None)
    if deb.returncode:
        raise KernelError(f'{package.name} cannot be unpacked')


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
        unpack(deb, tree)
    image = next(tree.glob('**/vmlinuz*'), None)
    if image is None:
        raise KernelError(f'the packages of {release} hold no kernel')
    image.rename(tree / 'vmlinuz')
    (tree / 'vmlinux').write_bytes(
        extract_vmlinux((tree / 'vmlinuz').read_bytes()))
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
        raise KernelError('only Debian and Ubuntu kernels are known')
    return Source('stock', 1, flavour, (), 'the one of this machine')


def listed():
    """The kernels in the list, by name."""
    rows = (line.split(None, 4) for line in KERNELS.read_text().splitlines()
            if line and not line.startswith('#'))
    return {name: Source(name, int(tier), flavour, tuple(suites.split(',')), why)
            for name, tier, flavour, suites, why in rows}


def source_of(name):
    """The source of a kernel by its name; the stock one without."""
    if not name:
        return host_source()
    if name not in listed():
        raise KernelError(f"no kernel is called {name}; there are: "
                          f"{' '.join(listed())}")
    return listed()[name]


def release_of(packages):
    """6.1.0-56-amd64, from the name of its headers."""
    # The image's package is linux-image-RELEASE or linux-binary-RELEASE.
    names = [re.sub('linux-(image|binary)-', '', name) for name in packages
             if name.startswith(('linux-image-', 'linux-binary-'))]
    if not names:
        raise KernelError('no kernel is found in the package lists')
    return names[0]


def fetch(source):
    """Find, download and unpack the newest kernel of a source."""
    announce(f'Looking for the {source.name} kernel in the package lists')
    apt = Apt(source.suites)
    apt.update()
    packages = apt.kernel_packages(source.flavour)
    release = release_of(packages)
    home = cache('kernels') / release
    if home.is_dir():
        return Kernel(home)
    megabytes = apt.size(packages) // 10**6
    announce(f'Downloading the kernel {release} and its headers '
             f'({megabytes} MB)')
    debs = apt.download(packages)
    announce(f'Unpacking the kernel {release} into the cache')
    with tempfile.TemporaryDirectory(dir=cache('kernels'), prefix='.') as work:
        tree = Path(work, 'tree')
        (tree / 'libraries').mkdir(parents=True)
        assemble(debs, tree, home, release)
        give_libraries(apt, tree, home)
        tree.rename(home)
    shutil.rmtree(apt.debs)
    return Kernel(home)


def remembered(note):
    """The kernel that was found last, or None."""
    if not note.is_file():
        return None
    path = note.parent / note.read_text().strip()
    return Kernel(path) if path.is_dir() else None


def kernel(name=None):
    """A kernel to run guests with: from the cache while it is fresh, then
    looked for again, if there is a network."""
    source = source_of(name)
    note = cache('kernels') / f'newest-{source.name}'
    with locked('kernels'):
        found = remembered(note)
        if found and time.time() - note.stat().st_mtime < LOOK_AGAIN_AFTER:
            return found
        try:
            newest = fetch(source)
        except (KernelError, subprocess.CalledProcessError) as error:
            if not found:
                raise KernelError(f'no kernel to be had: {error}') from error
            announce(f'No newer kernel to be had; using {found.release}')
            tomorrow = time.time() - LOOK_AGAIN_AFTER + DAY
            os.utime(note, (tomorrow, tomorrow))
            return found
        write_atomically(note, newest.release.encode())
        return newest


def kernel_or_exit(name=None):
    """As kernel(), for a command: one line that says why not, and out."""
    try:
        return kernel(name)
    except KernelError as error:
        return sys.exit(str(error))


if __name__ == '__main__':
    print(kernel_or_exit(*sys.argv[1:2]).path)
