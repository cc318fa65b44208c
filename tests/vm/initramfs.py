# SPDX-License-Identifier: GPL-2.0-only
"""The guest's userland: busybox, and the real ps, top, kmod and so on.

Tests compare the modules with what the real procps says, so its programs are
the host's own, with the libraries that they are linked with; for a foreign
architecture they come from Debian's packages. busybox fills in what is left.
"""

from pathlib import Path
import re
import shutil
import stat
import subprocess
import tempfile

from apt import Apt, unpack
from cache import announce, cache, locked, write_atomically
from machines import HOST

HERE = Path(__file__).resolve().parent

# busybox's env, timeout and the like would start busybox's own ps.
PROGRAMS = ('bash', 'dash', 'dmesg', 'env', 'free', 'kmod', 'nice', 'nohup',
            'pmap', 'ps', 'setpriv', 'setsid', 'timeout', 'top', 'watch', 'xargs')
LINKS = {'sh': 'dash', **dict.fromkeys(
    ('depmod', 'insmod', 'lsmod', 'modinfo', 'modprobe', 'rmmod'), 'kmod')}
# Where these are, on a foreign architecture, and in which release of Debian.
PACKAGES = ('bash', 'busybox-static', 'coreutils', 'dash', 'findutils', 'kmod',
            'procps', 'util-linux')
RELEASE = 'trixie'

DIRECTORIES = ('dev', 'lkm', 'proc', 'root', 'run', 'sys', 'tmp', 'usr/bin',
               'home/user', 'etc')
TERMINALS = ('d/dumb', 'l/linux', 's/screen', 's/screen-256color', 't/tmux',
             't/tmux-256color', 'v/vt100', 'x/xterm', 'x/xterm-256color')

TEXTS = {
    'etc/passwd': 'root:x:0:0:root:/root:/bin/sh\n'
                  'user:x:1000:1000:user:/home/user:/bin/sh\n',
    'etc/group': 'root:x:0:\nuser:x:1000:\n',
    'etc/motd': 'A disposable guest, and you are root. /lkm holds the modules: '
                'try\n    insmod lkm1.ko; dmesg | tail\n'
                '`exit` ends it, ctrl-a x kills it.\n\n',
    'root/.bashrc': "PS1='guest:\\w# '\n",
}
# The guest's user is root already; a person's habits keep working.
SUDO = '#!/bin/sh\nexec "$@"\n'


class Archive:
    """A cpio archive in the format that the kernel unpacks (newc)."""

    def __init__(self):
        self.parts = []
        self.names = set()

    def _add(self, name, mode, data=b''):
        if name in self.names:
            return
        self.names.add(name)
        parent = str(Path(name).parent)
        if parent != '.':
            self.directory(parent)
        path = name.encode() + b'\0'
        fields = (len(self.names), mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0,
                  len(path), 0)
        header = b'070701' + b''.join(b'%08X' % field for field in fields)
        self.parts += [_padded(header + path), _padded(data)]

    def directory(self, name, mode=0o755):
        """Add a directory and those above it."""
        self._add(name, stat.S_IFDIR | mode)

    def file(self, name, data, mode=0o644):
        """Add a file."""
        self._add(name, stat.S_IFREG | mode, data)

    def program(self, name, path):
        """Add an executable file, with the content of one of the host's."""
        self.file(name, Path(path).read_bytes(), 0o755)

    def link(self, name, target):
        """Add a symbolic link."""
        self._add(name, stat.S_IFLNK | 0o777, target.encode())

    def content(self):
        """The whole archive."""
        self._add('TRAILER!!!', 0)
        return b''.join(self.parts)


def _padded(data):
    return data + bytes(-len(data) % 4)


class Userland:
    """A Debian system to take programs from: this one, or an unpacked one."""

    def __init__(self, root, machine):
        self.root = Path(root)
        self.machine = machine

    def which(self, program):
        """Path of a program, also of one that is for root only."""
        for where in ('usr/bin', 'bin', 'usr/sbin', 'sbin'):
            path = self.root / where / program
            if path.is_file():
                return path
        raise FileNotFoundError(f'{program} is not installed')

    def libraries(self, programs):
        """{place in the guest: file} of the shared libraries, with the loader,
        that programs need."""
        found, left = {}, list(programs)
        while left:
            path = left.pop()
            for name in needed(path):
                where, library = self._library(name)
                if where not in found:
                    found[where] = library
                    left.append(library)
        return found

    def _library(self, name):
        """Where the guest is to have a library, and the file. A loader is named
        with its path, all others without."""
        places = [f'usr{name}'] if name.startswith('/') else [
            f'usr/lib/{self.machine.tuple}/{name}', f'usr/lib/{name}']
        for place in places:
            # Merged /usr or not: /lib/x and /usr/lib/x are one file.
            for path in self.root / place, self.root / place[len('usr/'):]:
                if path.is_file():
                    return place, path
        raise FileNotFoundError(f'there is no {name} in {self.root}')


def needed(path):
    """What the loader must find for a program or library; for a static program
    that is nothing."""
    text = subprocess.run(['readelf', '-ld', str(path)], text=True, check=True,
                          stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL).stdout
    return re.findall(r'(?:program interpreter: |\(NEEDED\).*\[)([^\]]+)\]', text)


def foreign(arch):
    """A system of another architecture, unpacked into the cache."""
    root = cache('userland') / f'{RELEASE}-{arch}'
    with locked('userland'):
        if not root.exists():
            announce(f'{arch}: downloading the programs of its guests')
            apt = Apt((RELEASE,), arch, native=arch)
            apt.update()
            with tempfile.TemporaryDirectory(dir=root.parent) as work:
                tree = Path(work, 'tree')
                tree.mkdir()
                for deb in apt.closure(PACKAGES):
                    unpack(deb, tree)
                tree.rename(root)
            shutil.rmtree(apt.state / 'archives')
    return root


def userland_of(kernel):
    """Where a kernel's guests have their programs from."""
    root = '/' if kernel.arch == HOST else foreign(kernel.arch)
    return Userland(root, kernel.machine)


def add_system(archive, userland):
    """The directories, texts and programs of every guest."""
    archive.directory('tmp', 0o1777)
    for name in DIRECTORIES:
        archive.directory(name)
    # As on the host: /bin and the others are links into /usr.
    for name in ('bin', 'sbin', 'lib', 'lib64'):
        archive.directory(f'usr/{name}')
        archive.link(name, f'usr/{name}')
    for name, text in TEXTS.items():
        archive.file(name, text.encode())
    archive.program('init', HERE / 'init')
    archive.file('usr/bin/sudo', SUDO.encode(), 0o755)
    for name in PROGRAMS:
        archive.program(f'usr/bin/{name}', userland.which(name))
    for name, target in LINKS.items():
        archive.link(f'usr/bin/{name}', target)
    # Where the kernel looks for it, to load what a module asks for.
    archive.link('usr/sbin/modprobe', '../bin/kmod')


def add_terminals(archive):
    """What top and bash must know of terminals."""
    for name in TERMINALS:
        for base in ('/lib/terminfo', '/usr/share/terminfo'):
            path = Path(base, name)
            if path.is_file():
                archive.file(f'usr/share/terminfo/{name}', path.read_bytes())


def add_busybox(archive, userland):
    """busybox and a link for each applet that no real program stands for. The
    host's says which these are: a foreign one cannot be asked."""
    archive.program('usr/bin/busybox', userland.which('busybox'))
    applets = subprocess.run(['busybox', '--list'], text=True, check=True,
                             stdout=subprocess.PIPE).stdout.split()
    for name in applets:
        archive.link(f'usr/bin/{name}', 'busybox')


def make_initramfs(kernel, build):
    """Write the guest's userland for a kernel and a build; its path."""
    archive = Archive()
    userland = userland_of(kernel)
    add_system(archive, userland)
    add_terminals(archive)
    add_busybox(archive, userland)
    for path in sorted(kernel.root.glob('lib/modules/*/*')):
        name = path.relative_to(kernel.root)
        archive.file(f'usr/{name}', path.read_bytes())
    for path in build.modules:
        archive.file(f'lkm/{path.name}', path.read_bytes())
    for path in build.signed:
        archive.file(f'lkm/signed/{path.name}', path.read_bytes())
    for path in build.programs:
        archive.program(f'lkm/{path.relative_to(build.path)}', path)
    programs = [userland.which(name) for name in PROGRAMS] + build.programs
    for name, path in sorted(userland.libraries(programs).items()):
        archive.program(name, path)
    path = build.path / 'initramfs.cpio'
    write_atomically(path, archive.content())
    return path
