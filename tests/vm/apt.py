# SPDX-License-Identifier: GPL-2.0-only
"""Debian's packages, found, fetched and unpacked without touching the host.

apt does it, with a state of its own in the cache: it checks signatures, takes
up again what was left half done, and knows the machine's proxies and keyrings.
"""

import collections
import hashlib
import os
from pathlib import Path
import re
import subprocess
import time

from cache import LOOK_AGAIN_AFTER, cache, locked, write_atomically
from machines import HOST


class Unobtainable(Exception):
    """A package cannot be had; the message says why, in one line."""


class Gone(Unobtainable):
    """The archive has it no more: nobody here has done anything wrong."""


# Read after the system's own configuration, so that its proxies, sources and
# keyrings hold. Only package lists are wanted, and no hook may run.
APT_CONF = '''
Dir::State::Lists "{state}/lists";
Dir::Cache "{state}";
Dir::Cache::archives "archives";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "srcpkgcache.bin";
APT::Sandbox::User "root";
APT::Architecture "{native}";
#clear APT::Architectures;
APT::Architectures {{ {architectures} }};
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


# And these for the packages of other releases than this machine's. Of all the
# suites that are named the newest package is wanted, as if they were one.
APT_SUITES = '''
Dir::Etc::SourceList "{state}/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "{state}/preferences";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State::status "/dev/null";
'''
PREFERENCES = 'Package: *\nPin: release a=*\nPin-Priority: 500\n'
KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg'


class File(collections.namedtuple('File', 'uri name size hash')):
    """A package in the archive, as the signed lists have it."""

    def is_in(self, directory):
        """Whether it was fetched before, and is what it should be."""
        path = directory / self.name
        kind, _, value = self.hash.partition(':')
        if not path.is_file() or path.stat().st_size != int(self.size):
            return False
        return hashlib.new(kind, path.read_bytes()).hexdigest() == value


class Apt:
    """A distribution's packages, asked for without touching the host."""

    def __init__(self, suites=(), arch=HOST, native=HOST):
        """Packages of an architecture, beside those of the native one: which
        stands for this machine, unless a whole foreign system is wanted."""
        place = '-'.join(['+'.join(suites) or 'host', arch, native])
        state = cache('apt', place)
        cache('apt', place, 'lists', 'partial')
        cache('apt', place, 'archives', 'partial')
        architectures = ' '.join(f'"{name}";' for name in sorted({arch, native}))
        conf = APT_CONF.format(state=state, native=native,
                               architectures=architectures)
        if suites:
            conf += APT_SUITES.format(state=state)
            write_atomically(state / 'preferences', PREFERENCES.encode())
            write_atomically(state / 'sources.list', sources(suites).encode())
        self.arch = arch
        self.state = state
        self.conf = state / 'apt.conf'
        self.debs = cache('apt', place, 'debs')
        write_atomically(self.conf, conf.encode())

    def _command(self, tool, *args):
        return [tool, '-c', str(self.conf), *args]

    def _run(self, tool, *args):
        """Run a tool of apt's: quietly, but all that it says is in stdout."""
        return subprocess.run(self._command(tool, *args), text=True,
                              env={**os.environ, 'LC_ALL': 'C'}, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def _get(self, *args):
        return self._run('apt-get', '-q', *args)

    def _ask(self, *args):
        return subprocess.run(self._command('apt-cache', *args), text=True,
                              stdout=subprocess.PIPE, check=False,
                              stderr=subprocess.DEVNULL).stdout

    def update(self):
        """Refresh the lists; what apt said of it. A third party's broken source
        fails this without mattering to us: what counts is what can be found
        after."""
        return self._get('update').stdout

    def behind(self, packages):
        """Names of all that packages depend on, without the architecture."""
        named = [f'{name}:{self.arch}' for name in packages]
        text = self._ask('depends', '--recurse', '--important', *named)
        return {line.split()[-1].partition(':')[0]
                for line in text.splitlines()}

    def size(self, packages):
        """Bytes to download."""
        text = self._ask('show', '--no-all-versions', *packages)
        return sum(map(int, re.findall(r'^Size: (\d+)$', text, re.M)))

    def download(self, packages):
        """Fetch packages. What an earlier try left is taken up again: whole
        files and, where the server can, the half of one."""
        what = f'{packages[0]} and what goes with it'
        files = self._uris('download', packages, what)
        wanted = [word for file in files if not file.is_in(self.debs)
                  for word in (file.uri, str(self.debs / file.name), file.hash)]
        if wanted:
            done = self._run('/usr/lib/apt/apt-helper', 'download-file', *wanted)
            if done.returncode:
                raise apt_failed(done.stdout, what)
        return [self.debs / file.name for file in files]

    def _uris(self, verb, packages, what):
        """The files that apt-get would fetch."""
        done = self._get('--print-uris', '-y', '--no-install-recommends', verb,
                         *packages)
        if done.returncode:
            raise apt_failed(done.stdout, what)
        return [File(*match) for match in
                re.findall(r"^'(\S+)' (\S+) (\d+) (\S+)$", done.stdout, re.M)]

    def closure(self, packages):
        """Fetch packages with all that they depend on."""
        what = f'{packages[0]} for {self.arch}'
        files = self._uris('install', packages, what)
        done = self._get('install', '--download-only', '-y',
                         '--no-install-recommends', *packages)
        if done.returncode:
            raise apt_failed(done.stdout, what)
        return [self.state / 'archives' / file.name for file in files]


# What apt says of a file, or a suite, that is not there; and of other troubles.
NOT_THERE = re.compile(r'\b404\s+Not Found|does not have a Release file')
TROUBLE = re.compile(
    r'Could not|Cannot|Temporary failure|[Cc]onnection|[Tt]imed? ?out|No space|'
    r'\b40[13]\s|\b5\d\d\s|Hash Sum|not signed|NO_PUBKEY')


def apt_failed(said, what):
    """The error for what could not be had, from what apt said of it."""
    lines = [line.strip() for line in said.splitlines()]
    trouble = [line for line in lines if TROUBLE.search(line)]
    if not trouble and any(map(NOT_THERE.search, lines)):
        return Gone(f'the archive no longer has {what}')
    errors = [line for line in lines if line.startswith('E:')]
    why = [*trouble, *errors, 'it is in no package list'][0]
    return Unobtainable(f'{what} cannot be had: {why}')


def mirrors():
    """(archive, security archive): where this machine has Debian from."""
    text = subprocess.run(
        ['apt-get', 'indextargets', '--format',
         '$(ORIGIN)|$(LABEL)|$(REPO_URI)'], text=True, check=True,
        stdout=subprocess.PIPE).stdout
    rows = [line.split('|') for line in dict.fromkeys(text.splitlines())]
    # Before the first update nothing but the address tells whose it is.
    archive = [uri for origin, label, uri in rows if origin == label == 'Debian'
               or not origin and uri.rstrip('/').endswith('/debian')]
    security = [uri for origin, label, uri in rows
                if (origin, label) == ('Debian', 'Debian-Security')
                or not origin and 'debian-security' in uri]
    if archive:
        beside = f"{archive[0].rstrip('/').rpartition('/')[0]}/debian-security/"
        return archive[0], [*security, beside][0]
    why = "this machine's package sources name no mirror of Debian"
    if re.search('^ID=debian$', Path('/etc/os-release').read_text(), re.M):
        raise Unobtainable(why)
    raise Gone(why)


def sources(suites):
    """A sources.list for suites of Debian."""
    archive, security = mirrors()
    return ''.join(
        f'deb [signed-by={KEYRING}] '
        f"{security if suite.endswith('-security') else archive} {suite} main\n"
        for suite in suites)


def unpack(package, where, *patterns):
    """Unpack a package, or what of it matches patterns."""
    wanted = ['--wildcards', *patterns] if patterns else []
    with subprocess.Popen(['dpkg-deb', '--fsys-tarfile', str(package)],
                          stdout=subprocess.PIPE) as deb:
        tar = subprocess.run(['tar', '-x', '-C', str(where), *wanted],
                             stdin=deb.stdout, text=True, check=False,
                             stderr=subprocess.PIPE,
                             env={**os.environ, 'LC_ALL': 'C'})
    # It complains of patterns that match nothing in this package.
    complaints = [line for line in tar.stderr.splitlines() if not re.search(
        'Not found in archive|previous errors', line)]
    if deb.returncode or complaints or tar.returncode and not wanted:
        raise Unobtainable(f'{package.name} cannot be unpacked')


def kept(note, find):
    """The directory that find() made last, beside a note of its name. After a week it
    is called again; where nothing is to be had then, the old one will do."""
    with locked(note.name):
        found = note.parent / note.read_text() if note.is_file() else None
        if found and not found.is_dir():
            found = None
        if found and time.time() - note.stat().st_mtime < LOOK_AGAIN_AFTER:
            return found
        try:
            newest = find()
        except Unobtainable:
            if not found:
                raise
            return found
        write_atomically(note, newest.name.encode())
        return newest
