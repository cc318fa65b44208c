# SPDX-License-Identifier: GPL-2.0-only
"""Debian's packages, found, fetched and unpacked without touching the host.

apt does it, with a state of its own in the cache: it checks signatures, takes
up again what was left half done, and knows the machine's proxies and keyrings.
"""

import os
import re
import subprocess

from cache import cache, write_atomically
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

    def _get(self, *args, **options):
        """Run apt-get: quietly, but all that it says is in stdout."""
        return subprocess.run(self._command('apt-get', '-q', *args), text=True,
                              env={**os.environ, 'LC_ALL': 'C'}, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              **options)

    def _ask(self, *args):
        return subprocess.run(self._command('apt-cache', *args), text=True,
                              stdout=subprocess.PIPE, check=False).stdout

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
        """Fetch packages; what an earlier try left half done is resumed."""
        done = self._get('download', *packages, cwd=self.debs)
        if done.returncode:
            raise apt_failed(done.stdout, f'{packages[0]} and what goes with it')
        return sorted(self.debs.glob('*.deb'))

    def closure(self, packages):
        """Fetch packages with all that they depend on."""
        done = self._get('install', '--download-only', '-y',
                         '--no-install-recommends', *packages)
        if done.returncode:
            raise apt_failed(done.stdout, f'{packages[0]} for {self.arch}')
        return sorted((self.state / 'archives').glob('*.deb'))


def apt_failed(said, what):
    """The error for what could not be had, from what apt said of it: that there
    is no such file, or what else is wrong."""
    said = [line for line in said.splitlines()
            if line.startswith(('E:', 'Err', 'W:'))]
    if not said or any(re.search('404|does not have a Release', line)
                       for line in said):
        return Gone(f'the archive no longer has {what}')
    return Unobtainable(f'{what} cannot be had: {said[0]}')


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
    raise Gone("this machine's package sources name no mirror of Debian")


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
        # tar complains of patterns that match nothing in this package.
        subprocess.run(['tar', '-x', '-C', str(where), *wanted],
                       stdin=deb.stdout, check=not wanted,
                       stderr=subprocess.DEVNULL if wanted else None)
    if deb.returncode:
        raise Unobtainable(f'{package.name} cannot be unpacked')
