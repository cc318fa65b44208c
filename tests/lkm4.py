# SPDX-License-Identifier: GPL-2.0-only
"""lkm4 against memory itself: what a process wrote lies where lkm4 says.

The fixture `pages` holds a page of every kind, with a secret in each. What
lkm4 must say of it is in docs/pages.md. lkm4 gives the physical address, and
the host looks there in the guest's memory, from outside. The entries are read
back in the same way; the rest is compared with what /proc says of the same page.
"""

import collections
import errno
import itertools
from pathlib import Path
import re
import struct

from suite import (DMESG, INSMOD, KERN_ERR, RESERVE, RMMOD, SWAP_ON, UNSAMPLED,
                   GuestTest, module_lines)

SECRET = 16
LEVELS = ('PGD', 'P4D', 'PUD', 'PMD', 'PTE')
UNITS = {'kB': 1 << 10, 'MB': 1 << 20, 'GB': 1 << 30}

ENTRY = re.compile(r'(IN)?VALID (P[G4UMT][DE]) ADDRESS = ([0-9a-f]{16}) \| '
                   r'INDEX = (\d+) \| ENTRY = ([0-9a-f]+)'
                   r'(?: \| ([a-z0-9_ ]*?))?(?: \| (\d+ [kMG]B) page)?'
                   r'(?: \| contiguous \((\d+ [kMG]B)\))?')
MAPS = re.compile(r'The virtual address ([0-9a-f]+) maps to physical address '
                  r'([0-9a-f]+)((?: \| [^|]+)*)')
NOWHERE = re.compile(r'The virtual address ([0-9a-f]+) maps to no physical '
                     r'address: (.+)')
FACTS = re.compile(r'PAGE = (\d+ [kMG]B) \| pfn ([0-9a-f]+) \| '
                   r'refcount (\d+) \| mapcount (\d+) \| '
                   r'(\w+)(?: \| ([a-z ]+))?')
VMA = re.compile(r'VMA = ([0-9a-f]+)-([0-9a-f]+) ([r-][w-][x-][ps]) (.+)')

# What a page can be, for PAGE.
KINDS = ('anon', 'file', 'shmem', 'ksm', 'hugetlb', 'zero')
# Bits of /proc/kpageflags, by the words for them.
KPF = {'locked': 0, 'referenced': 2, 'uptodate': 3, 'dirty': 4, 'lru': 5,
       'active': 6, 'writeback': 8, 'unevictable': 18, 'reserved': 32,
       'mlocked': 33}
KPF_ANON, KPF_SWAPBACKED, KPF_HUGE, KPF_KSM, KPF_THP, KPF_ZERO = (
    12, 14, 17, 21, 22, 24)

# What docs/pages.md says of a kind of page: its size, what it is and the remarks
# behind its address, or the reason why there is none and the words for what the
# entry holds instead; and who agrees.
OTHERS = ('memory', 'pagemap', 'flags', 'count', 'maps')
TABLE = Path(__file__).resolve().parents[1] / 'docs/pages.md'
Row = collections.namedtuple(
    'Row', 'kind size page remarks reason instead agree')

Page = collections.namedtuple('Page', 'kind pid address secret')

Entry = collections.namedtuple(
    'Entry', 'valid level at index value words size joined')


def in_bytes(text):
    """The number of bytes in `2 MB`; None for nothing."""
    if not text:
        return None
    number, unit = text.split()
    return int(number) * UNITS[unit]


def table_rows():
    """The rows of docs/pages.md."""
    for line in TABLE.read_text('utf-8').splitlines():
        if not line.startswith('| `'):
            continue
        kind, _, says, agree = (cell.strip() for cell in line[1:-1].split('|'))
        kind = kind.strip('`')
        said = re.findall('`([^`]+)`', says)
        agree = set(agree.replace('all', ', '.join(OTHERS)).split(', ')) - {''}
        if not said[0].endswith(' page'):
            instead = ' '.join(said[1:]).split()
            yield Row(kind, None, None, [], said[0], instead, agree)
            continue
        size = said.pop(0).removesuffix(' page')
        page = said.pop(0) if said[0] in KINDS else None
        yield Row(kind, size, page, said, None, [], agree)


class Walk:
    """One report of a single address, taken apart; no line may be left."""

    def __init__(self, test, lines, vmas=0):
        lines = list(lines)
        self.pid, self.name = self._match(
            test, r'PID: (\d+) \| PROCESS: (.*)', lines.pop(0))
        self.vmas = [lines.pop(0) for _ in range(vmas)]
        count = re.fullmatch(r'Number of VMAs = (\d+)', lines.pop(0))
        self.count = int(count[1])
        self.entries = []
        while 'VALID' in lines[0]:
            self.entries.append(self._entry(test, lines.pop(0)))
        self.reason = self.physical = self.facts = self.vma = None
        self._answer(test, lines.pop(0))
        if lines and lines[0].startswith('PAGE'):
            self.facts = self._match(test, FACTS, lines.pop(0))
        if lines:
            self.vma = self._match(test, VMA, lines.pop(0))
        test.assertEqual(lines, [])

    def _match(self, test, pattern, line):
        match = re.fullmatch(pattern, line)
        test.assertTrue(match, line)
        return match.groups()

    def _entry(self, test, line):
        bad, level, at, index, value, words, size, joined = self._match(
            test, ENTRY, line)
        return Entry(not bad, level, int(at, 16), int(index), int(value, 16),
                     (words or '').split(), in_bytes(size), in_bytes(joined))

    def _answer(self, test, line):
        if ' to no ' in line:
            self.address, self.reason = self._match(test, NOWHERE, line)
            self.remarks = []
        else:
            self.address, physical, remarks = self._match(test, MAPS, line)
            self.physical = int(physical, 16)
            self.remarks = remarks.split(' | ')[1:]
        self.address = int(self.address, 16)

    @property
    def size(self):
        """Bytes that the last entry maps; None where it maps nothing."""
        return self.entries[-1].size if self.entries else None


def covering(maps, address):
    """The mapping of an address in /proc/PID/maps, as lkm4 should show it."""
    for line in maps.splitlines():
        span, rights, offset, _, inode, *name = line.split(maxsplit=5)
        start, end = (int(word, 16) for word in span.split('-'))
        if not start <= address < end:
            continue
        # The only byte that maps escapes, and not as lkm4 does.
        where = name[0].replace(r'\012', r'\n') if name else '[anon]'
        if inode != '0':
            where = f'offset {int(offset, 16):x} {where}'
        return (f'{start:x}', f'{end:x}', rights, where)
    return None


class Lkm4(GuestTest):
    """Pages of every kind, in one stopped process."""

    slow = True
    memory = '4G'       # less leaves no free GB in one piece
    append = 'hugepagesz=1G hugepages=1'

    def setUp(self):
        """One fixture for all tests of a guest: huge pages are slow to make."""
        if getattr(self.guest, 'pages_of_boot', None) != self.guest.boots:
            self.guest.pages_of_boot = self.guest.boots
            self.guest.check('mkdir -p /ram && mount -t ramfs ramfs /ram')
            self.guest.check(RESERVE + SWAP_ON + UNSAMPLED)
            self.guest.fixture = self.start('pages', '/ram', keep=True)
            self.guest.pages = self.parse(self.guest.fixture.lines)
            self.guest.walks = self.walk(self.guest.pages.values())
            self.guest.rows = self.read_rows()
        self.fixture = self.guest.fixture
        self.pages = self.guest.pages
        self.walks = self.guest.walks
        self.rows = self.guest.rows

    def parse(self, lines):
        """The lines of the fixture, by kind."""
        rows = [line.split() for line in self.some(lines)]
        return {kind: Page(kind, int(pid), int(address, 16),
                           None if secret == '-' else bytes.fromhex(secret))
                for kind, pid, address, secret in rows}

    def walk(self, pages):
        """The walk of each page, by kind, from one loaded module."""
        ask = '\n'.join(f'''
            echo {page.pid} >/sys/module/lkm4/parameters/pid
            echo {page.address:#x} >/sys/module/lkm4/parameters/address
            echo == {page.kind}
            cat /proc/lkm4''' for page in pages)
        output = self.guest.check(
            f'{INSMOD} lkm4.ko log=0 vmas=0\n{ask}\n{RMMOD} lkm4')
        parts = re.split(r'^== (.*)\n', output, flags=re.M)[1:]
        walks = {kind: Walk(self, text.splitlines())
                 for kind, text in zip(parts[::2], parts[1::2])}
        self.assertEqual(sorted(walks), sorted(page.kind for page in pages))
        return walks

    def read_rows(self):
        """The rows of the table for what this guest has, by kind."""
        sizes = {'4 kB': self.page, '2 MB': self.tables.span('PMD')}
        rows = {}
        for row in table_rows():
            for size, mapped in (self.tables.hugetlb if row.size == 'SIZE'
                                 else {row.size: sizes.get(row.size)}).items():
                kind = row.kind.replace('SIZE', str(size))
                self.assertNotIn(kind, rows)
                rows[kind] = row._replace(kind=kind, size=mapped)
        # How the kernel maps vvar, its own flags of the mapping say.
        vvar = self.guest.check(
            "sed -n '/\\[vvar\\]$/,/^VmFlags:/p' /proc/1/smaps").split()
        absent = self.absent | {'vvar' if 'pf' in vvar else 'vvar-pfn'}
        return {kind: rows[kind] for kind in set(rows) - absent}

    @property
    def refused(self):
        """The addresses that no process can have, by kind."""
        return {'behind-end': self.tables.end,
                'non-canonical': self.tables.non_canonical,
                'kernel': self.walks['private'].entries[0].at}

    def agreeing(self, who):
        """Pages and their walks, of those rows where somebody agrees."""
        return self.some((self.pages[kind], self.walks[kind])
                         for kind, row in self.rows.items() if who in row.agree)

    @property
    def pairs(self):
        """Pages and their walks, of those that have entries."""
        return self.some((page, self.walks[kind])
                         for kind, page in self.pages.items()
                         if self.walks[kind].entries)

    # --- translations ---

    def test_table(self):
        """each kind of page is there, and is what docs/pages.md says"""
        self.assertEqual(set(self.rows), {*self.pages, *self.refused})
        for kind, walk in self.walks.items():
            row = self.rows[kind]
            self.assertLessEqual(row.agree, set(OTHERS), kind)
            reason = re.sub(r'type \d+, offset 0x[0-9a-f]+',
                            'type T, offset O', walk.reason or '') or None
            self.assertEqual((walk.size, walk.facts and walk.facts[4],
                              walk.remarks, reason), row[1:5], kind)
            self.assertEqual(walk.address, self.pages[kind].address)
            if walk.facts:
                self.assertEqual(
                    (in_bytes(walk.facts[0]), int(walk.facts[1], 16)),
                    (walk.size, walk.physical // self.page), kind)
            self.assertEqual([entry.valid for entry in walk.entries],
                             [True] * (len(walk.entries) - 1) + [not reason]
                             if reason != 'no VMA here' else [], kind)

    def test_secret(self):
        """the secret of every page lies at its physical address"""
        secrets = {page for page in self.pages.values() if page.secret}
        others = {self.pages[kind] for kind in ('zero', 'huge-zero', 'vvar',
                                                'vvar-pfn') if kind in self.rows}
        pages = {page for page, _ in self.agreeing('memory')}
        self.assertEqual(secrets, pages - others)
        for page in secrets:
            self.assert_secret(page, self.walks[page.kind])

    def assert_secret(self, page, walk):
        """What the process wrote lies there, and the address is its own."""
        self.assertIsNotNone(walk.physical, f'{page.kind}: {walk.reason}')
        self.assertEqual(walk.address, page.address)
        self.assertEqual(self.guest.physical(walk.physical, SECRET).hex(),
                         page.secret.hex(), page.kind)

    def test_sharing(self):
        """pages are shared by fork, copied when written to, merged when alike"""
        self.assertEqual(self.walks['forked-parent'].physical,
                         self.walks['forked-child'].physical)
        self.assertNotEqual(self.walks['cow-parent'].physical,
                            self.walks['cow-child'].physical)
        # The fixture maps the one of 1 GB twice.
        self.assertEqual(self.walks['hugetlb-1073741824'].physical >> 30,
                         self.walks['none-hugetlb-1073741824'].physical >> 30)
        self.assertEqual(self.walks['ksm'].physical,
                         self.walks['ksm-twin'].physical)

    def test_huge(self):
        """huge pages are whole, and one that was split is still in a row"""
        kinds = [kind for kind in ('thp', 'none-thp', 'thp-shmem', 'thp-split',
                                   'huge-zero') if kind in self.rows]
        size = self.tables.span('PMD')
        frames = [self.walks[kind].physical // self.page for kind in kinds]
        for kind, flags in zip(kinds, self.kpage('kpageflags', frames)):
            self.assertEqual(self.walks[kind].physical % size,
                             self.pages[kind].address % size, kind)
            self.assertTrue(flags >> KPF_THP & 1, kind)
        self.assertEqual(bool(kinds), self.guest.kernel.has('TRANSPARENT_HUGEPAGE'))

    def test_zero_pages(self):
        """memory only read is the zero page, and the huge zero page"""
        for kind in {'zero', 'huge-zero'} & set(self.rows):
            base = self.walks[kind].physical & -self.page
            self.assertEqual(self.guest.physical(base, self.page),
                             bytes(self.page))

    def test_vvar(self):
        """the clock that every process can read ticks at vvar's address"""
        kind, = {'vvar', 'vvar-pfn'} & set(self.rows)
        walk = self.walks[kind]
        self.assertEqual(walk.vma[3], '[vvar]')
        before = self.guest.physical(walk.physical, self.page)
        for _ in range(1000):
            if self.guest.physical(walk.physical, self.page) != before:
                break
            self.guest.check(':')       # it need not tick while nobody runs
        else:
            self.fail('it stands still')

    def test_swapped(self):
        """a page in swap says where, as the kernel's own pagemap does"""
        page = self.pages['paged-out']
        entry, = self.pagemap([page])
        self.assertEqual(entry >> 62, 1)
        self.assertEqual(
            self.walks[page.kind].reason, f'swapped out (type {entry & 31}, '
            f'offset {entry >> 5 & (1 << 50) - 1:#x})')

    # --- the levels ---

    def test_entries(self):
        """each entry lies where the level above points, and reads as printed"""
        tables = self.tables
        for page, walk in self.pairs:
            table = None
            for entry in self.real(walk):
                level = entry.level
                self.assertEqual(entry.index, tables.index(page.address, level))
                self.assertEqual(entry.at % (tables.entries(level) * 8),
                                 entry.index * 8)
                self.same_entry(self.guest.kernel_virtual(entry.at, 8), entry)
                if table is not None:
                    self.same_entry(
                        self.guest.physical(table + entry.index * 8, 8), entry)
                table = tables.leads_to(entry.value)
            if walk.physical is not None:
                self.assertEqual(
                    walk.physical,
                    tables.leads_to(entry.value, walk.size)
                    + page.address % walk.size, page.kind)

    def real(self, walk):
        """The entries of a walk without those of folded levels."""
        names = self.tables.names
        return self.some(entry for entry in walk.entries if entry.level in names)

    def same_entry(self, memory, entry):
        """Memory holds an entry; since it was printed, the kernel may have
        found that the page has grown old."""
        value, = struct.unpack('<Q', memory)
        old = entry.value & ~self.tables.accessed
        self.assertIn(f'{value:x}', {f'{entry.value:x}', f'{old:x}'})

    def compare_joined(self):
        """What arm64 joins by its CONT bit are pages of their own, in a row."""
        tables = self.tables
        joined = {size: each for size, each in tables.hugetlb.items()
                  if size != each}
        self.assertEqual(len(joined),
                         2 if self.guest.kernel.arch == 'arm64' else 0)
        for size, each in joined.items():
            walk = self.walks[f'hugetlb-{size}']
            first = walk.entries[-1].at - self.pages[
                f'hugetlb-{size}'].address % size // each * 8
            entries = struct.unpack(
                f'<{size // each}Q',
                self.guest.kernel_virtual(first, size // each * 8))
            start = walk.physical & -size
            self.assertEqual(walk.entries[-1].joined, size)
            for number, value in enumerate(entries):
                self.assertTrue(value & tables.CONT)
                self.assertEqual(tables.leads_to(value, each),
                                 start + number * each)

    def test_folded_level(self):
        """a level that is not there repeats the one above; no other does"""
        names = self.tables.names
        for page, walk in self.pairs:
            self.assertEqual([entry.level for entry in walk.entries],
                             list(LEVELS[:len(walk.entries)]))
            for above, entry in itertools.pairwise(walk.entries):
                self.assertEqual(entry.level not in names,
                                 above[2:5] == entry[2:5],
                                 f'{page.kind}: {above} {entry}')

    def test_end_of_tables(self):
        """a walk ends where there is no table below"""
        for kind, level in (('untouched', -1), ('untouched-pmd', -2),
                            ('untouched-pud', -3), ('untouched-p4d', -4),
                            ('untouched-pgd', 0)):
            if kind not in self.absent:
                self.assertEqual(self.walks[kind].entries[-1].level,
                                 self.tables.names[level], kind)

    def test_words(self):
        """the words behind an entry are its bits, or what it is instead"""
        for page, walk in self.pairs:
            for entry in walk.entries:
                words = self.tables.words(
                    entry.value, entry.level, entry.size is not None,
                    page.kind == 'device') if entry.valid else set(
                        self.rows[page.kind].instead)
                self.assertEqual(set(entry.words), words,
                                 f'{page.kind} {entry}')
                self.assertEqual(len(entry.words), len(words), entry)
                self.assertEqual(entry.joined is not None, 'cont' in words)
            self.assertEqual('uffd_wp' in walk.entries[-1].words,
                             page.kind in ('uffd-wp', 'uffd-marker'), page.kind)
        self.compare_joined()

    # --- against /proc ---

    def kpage(self, name, frames):
        """One number for each frame, from /proc/kpagecount or kpageflags."""
        words = self.read_words(f'/proc/{name}', frames)
        return [words[frame] for frame in frames]

    def pagemap(self, pages):
        """The entry of each page in /proc/PID/pagemap."""
        numbers = collections.defaultdict(list)
        for page in pages:
            numbers[page.pid].append(page.address // self.page)
        entries = {pid: self.read_words(f'/proc/{pid}/pagemap', group)
                   for pid, group in numbers.items()}
        return [entries[page.pid][page.address // self.page] for page in pages]

    def test_pagemap(self):
        """the kernel's own pagemap shows the same frames"""
        # Those that it does not show pass for absent.
        entries = self.pagemap(self.pages.values())
        self.assertEqual(len(entries), len(self.pages))
        for (kind, walk), entry in zip(self.walks.items(), entries):
            agrees = 'pagemap' in self.rows[kind].agree
            present = agrees and walk.physical is not None
            self.assertEqual(entry >> 63, present, kind)
            if present:
                self.assertEqual(entry & (1 << 55) - 1,
                                 walk.physical // self.page, kind)

    def test_page_facts(self):
        """PAGE agrees with kpagecount and kpageflags"""
        pairs = self.agreeing('flags')
        frames = [walk.physical // self.page for _, walk in pairs]
        # Of a huge page, older kernels show most flags of the first frame.
        heads = [frame & -self.frames_of(page.kind)
                 for frame, (page, _) in zip(frames, pairs)]
        rows = zip(pairs, self.kpage('kpagecount', frames),
                   self.kpage('kpageflags', heads))
        wrong = self.wrong_flag()
        for (page, walk), count, flags in rows:
            row = self.rows[page.kind]
            _, _, refcount, mapcount, kind, words = walk.facts
            self.assertEqual(kind, self.kind(
                flags if row.page == 'ksm' else flags & ~wrong), page.kind)
            self.assertEqual(set((words or '').split()),
                             {word for word, bit in KPF.items()
                              if flags >> bit & 1}, page.kind)
            if 'count' in row.agree:
                self.assertEqual(int(mapcount), count, page.kind)
                self.assertGreaterEqual(int(refcount), count)

    def frames_of(self, kind):
        """How many frames the whole page has, of however many entries."""
        _, hugetlb, size = kind.rpartition('hugetlb-')
        if kind == 'thp-split':
            size = self.tables.span('PMD')
        elif not hugetlb:
            size = self.walks[kind].size
        return int(size) // self.page

    def test_references(self):
        """our own reference to the page is not counted"""
        # Pages of hugetlb are in no cache that holds them for a while: those
        # of no file have one reference for each mapping, and the fixture's
        # child has inherited both.
        size = self.tables.span('PMD')
        for kind in f'hugetlb-{size}', f'none-hugetlb-{size}':
            _, _, refcount, mapcount, _, _ = self.walks[kind].facts
            self.assertEqual((refcount, mapcount), ('2', '2'), kind)

    def wrong_flag(self):
        """The flag KSM, where a page has it that was never to be merged. (Some
        kernels' kpageflags have it for every anonymous page.)"""
        frame = self.walks['private'].physical // self.page
        return self.kpage('kpageflags', [frame])[0] & 1 << KPF_KSM

    @staticmethod
    def kind(flags):
        """What kpageflags says a page is, in lkm4's words."""
        for bit, word in ((KPF_ZERO, 'zero'), (KPF_HUGE, 'hugetlb'),
                          (KPF_KSM, 'ksm'), (KPF_ANON, 'anon'),
                          (KPF_SWAPBACKED, 'shmem')):
            if flags >> bit & 1:
                return word
        return 'file'

    def test_vma(self):
        """VMA is the line of /proc/PID/maps that covers the address"""
        pairs = self.agreeing('maps')
        maps = {pid: self.guest.check(f'cat /proc/{pid}/maps')
                for pid in {page.pid for page, _ in pairs}}
        self.assertEqual(len(maps), 2)
        for page, walk in pairs:
            self.assertEqual(walk.vma, covering(maps[page.pid], page.address),
                             page.kind)

    def test_tag(self):
        """passes over the tag in a pointer where processes may use one"""
        page = self.pages['private']
        tagged = hex(page.address | 0x5a << 56)
        if self.guest.kernel.arch != 'arm64':
            self.insmod_fails('lkm4', errno.EINVAL, pid=page.pid, address=tagged)
            return
        body = self.proc('lkm4', pid=page.pid, address=tagged, vmas=0)
        self.assert_secret(page, Walk(self, body))

    def test_end(self):
        """takes the last byte of user space, and refuses what is behind it"""
        end = self.tables.end
        page, walk = self.pages['last'], self.walks['last']
        self.assertEqual(page.address, end - SECRET)
        body = self.proc('lkm4', pid=page.pid, address=hex(end - 1), vmas=0)
        self.assertEqual(Walk(self, body).physical, walk.physical + SECRET - 1)
        for kind, address in [*self.refused.items(), ('kernel', (1 << 64) - 1)]:
            line = self.insmod_fails('lkm4', errno.EINVAL, pid=page.pid,
                                     address=hex(address))
            self.assertEqual(line, f'address={address:#x}: '
                             f'{self.rows[kind].reason} of pid {page.pid}; '
                             f'give an address below {end:#x}')

    # --- a range ---

    def test_ended(self):
        """a process that ends while it is read ends the report, with one line"""
        process = self.start('memory', 'vmas=5000', keep=True)
        output = self.guest.check(f'''
            echo '== the log' >/dev/kmsg
            {INSMOD} lkm4.ko log=0 vmas=0 pid={process.pid} \
                address=0 length={self.tables.end:#x} || exit
            exec 3</proc/lkm4
            dd bs=1000 count=1 <&3 2>/dev/null
            fixtures/held end {process.pid}
            while [ -e /proc/{process.pid} ]; do sleep 0.1; done
            cat <&3 2>/dev/null; echo "== $?"
            cat <&3 2>/dev/null; echo "== $?"
            exec 3<&-
            {DMESG} | sed '1,/== the log/d'
            {RMMOD} lkm4''')
        text, first, second = output.split('== ')
        rows = re.findall('^VA ([0-9a-f]+)-([0-9a-f]+) ', text, re.M)
        self.assertEqual(len(rows) + 2, len(text.splitlines()), text[-500:])
        at = 0
        for row in self.some(rows):
            self.assertEqual(int(row[0], 16), at)
            at = int(row[1], 16)
        self.assertLess(len(rows), 5000)
        self.assertEqual(first, '1\n')
        status, log = second.split('\n', 1)
        self.assertEqual(status, '1')
        self.assertEqual([text for level, text in module_lines(log, 'lkm4')
                          if level == KERN_ERR],
                         [f'pid={process.pid}: it ended, or started another '
                          f'program, before {at:#x} was looked at; the report '
                          'goes no further'])

    # --- the report as a whole ---

    def test_log(self):
        """the log has welcome, mappings, walk, closing line and farewell"""
        page = self.pages['private']
        report = self.report('lkm4', around=f'cat /proc/{page.pid}/maps',
                             pid=page.pid, address=f'{page.address:#x}')
        self.assertEqual(report.lines[0], 'Hello, Welcome to LKM')
        self.assertEqual(report.lines[-1], 'Virtual memory to physical memory '
                         'info kernel module loaded')
        self.assertEqual(report.farewell, ['Virtual memory module to physical '
                                           'memory info removed,Bye !!'])
        maps = self.some(re.findall(r'^0*([0-9a-f]+)-0*([0-9a-f]+) (\S+) .*',
                                    re.sub('.*vsyscall.*', '', report.before),
                                    re.M))
        walk = Walk(self, report.body, len(maps))
        self.assertEqual(walk.vmas, [
            f'VM START = {start} VM END = {end} | {rights}'
            for start, end, rights in maps])
        self.assertEqual(walk.count, len(maps))
        self.assertEqual((walk.pid, walk.name), (str(page.pid), 'pages'))
        self.assert_secret(page, walk)
