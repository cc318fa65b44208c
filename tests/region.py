# SPDX-License-Identifier: GPL-2.0-only
"""lkm4 with length=: each row to the letter, against what /proc says.

The rows are made here once more, of what the kernel tells of a process that
stands still: its mappings and how large their pages are (/proc/PID/smaps), the
frame or the place in swap of each page (/proc/PID/pagemap), which frames hold
the page of zeroes, or are part of a larger page (/proc/kpageflags). Only where
these are silent, the fixture knows: which pages are poisoned, which have a marker.
"""

import collections
import errno
import itertools
import re
import secrets

from suite import (DMESG, FIRST, INSMOD, KERN_ERR, RESERVE, RMMOD, SWAP_OFF,
                   SWAP_ON, UNRESERVE, GuestTest, module_lines, words)

ROW = re.compile(r'VA ([0-9a-f]+)-([0-9a-f]+) (?:PA ([0-9a-f]+) \| (\d+) x '
                 r'(\d+) ([kMG])B \| ([r-][w-][x-])((?: \| [^|]+)*)|\| (.+))')
SPAN = re.compile(r'([0-9a-f]+)-([0-9a-f]+) (\S{4}) ([0-9a-f]+) \S+ \d+ *(.*)')
PRESENT, SWAPPED, FRAME = 1 << 63, 1 << 62, (1 << 55) - 1
KPF_THP, KPF_ZERO = 22, 24

# In the order of the last row.
REASONS = ('no VMA here', 'not mapped', 'swapped out', 'being migrated',
           'poisoned', 'device memory', 'marker')
# What /proc/PID/pagemap shows as a place in swap, and only the fixture knows.
KNOWN = {'poisoned': 'poisoned', 'uffd-poison': 'poisoned',
         'guard': 'marker', 'uffd-marker': 'marker'}
DEVICE = ' | special (no struct page)'

# How often others have the lock meanwhile: thousands of times, mostly.
MANY = 100
# Bytes of tables without a page, enough to be busy with for a while.
TABLES = 128 << 20

PARAMETERS = '/sys/module/lkm4/parameters'

# huge: bytes that smaps counts as mapped by entries above the lowest level;
# hidden: whether pagemap shows nothing of it, whatever is there.
Mapping = collections.namedtuple(
    'Mapping', 'start end rights offset name size huge hidden')
# Addresses that one entry speaks for, or none. at: where the first one leads,
# a physical address, or a type and an offset; size: the page's.
Piece = collections.namedtuple('Piece', 'start end map reason at size remarks')


def in_words(size):
    """2097152 as `2 MB`."""
    for unit in 'kMG':
        size >>= 10
        if size < 1 << 10:
            break
    return f'{size} {unit}B'


def nothing(start, end, where=None, reason='no VMA here'):
    """A gap."""
    return Piece(start, end, where, reason, None, 0, '')


def cut(pieces, start, end):
    """What of the pieces lies in a range, of a page a part if need be."""
    for piece in pieces:
        first, last = max(start, piece.start), min(end, piece.end)
        if first < last:
            at = piece.at
            if piece.reason is None:
                at += first - piece.start
            yield piece._replace(start=first, end=last, at=at)


class Facts(GuestTest):
    """What /proc says of a process, and processes to ask it of."""

    def mappings(self, pid):
        """The mappings that are the process's own."""
        text = self.guest.check(f'cat /proc/{pid}/smaps')
        found = []
        for part in re.split(r'^(?=[0-9a-f]+-)', text, flags=re.M)[1:]:
            head, *lines = part.splitlines()
            start, end, rights, offset, name = SPAN.fullmatch(head).groups()
            facts = dict(line.split(':', 1) for line in lines)
            size, *huge = (
                int(facts[name].split()[0]) << 10 for name in (
                    'KernelPageSize', 'AnonHugePages', 'ShmemPmdMapped',
                    'FilePmdMapped'))
            if int(start, 16) < self.tables.end:        # not [vsyscall]
                found.append(Mapping(
                    int(start, 16), int(end, 16), rights, int(offset, 16), name,
                    size, sum(huge), 'pf' in facts['VmFlags'].split()))
        return self.some(found)

    def entries(self, pid, pages):
        """{page: entry of pagemap} of a few."""
        found = self.read_words(f'/proc/{pid}/pagemap',
                                [page // self.page for page in pages])
        return {number * self.page: word for number, word in found.items()}

    def all_entries(self, pid, maps):
        """{page: entry of pagemap} of all of some mappings."""
        spans = []
        for each in maps:               # a dd for each would be slow
            if spans and spans[-1][1] == each.start:
                spans[-1][1] = each.end
            else:
                spans.append([each.start, each.end])
        reads = '\n'.join(
            f'dd if=/proc/{pid}/pagemap bs=1M iflag=skip_bytes,count_bytes '
            f'skip={start // self.page * 8} count={(end - start) // self.page * 8}'
            for start, end in spans)
        found = self.guest.check(
            f'({reads}) 2>/dev/null | od -An -v -tx8').split()
        pages = [page for span in spans for page in range(*span, self.page)]
        self.assertEqual(len(found), len(pages))
        return {page: int(word, 16) for page, word in zip(pages, found)}

    def parse(self, lines):
        """{kind: (pid, address)} of a fixture's lines."""
        rows = [line.split() for line in self.some(lines)]
        return {kind: (int(pid), int(address, 16))
                for kind, pid, address, *_ in rows}

    def sparse(self):
        """A process that takes long to be looked at, with a mapping that has
        thousands of tables of PTEs and no page: (pid, start, end)."""
        pid = self.start('memory', f'tables={TABLES // self.page}').pid
        each = max(self.mappings(pid), key=lambda each: each.end - each.start)
        return pid, each.start, each.end

    def interrupted(self, **parameters):
        """Kill insmod in the middle of the report; what the module said."""
        mark = secrets.token_hex(8)
        output = self.guest.check(f'''
            echo {mark} >/dev/kmsg
            {INSMOD} {words('lkm4', **parameters)} & loader=$!
            until [ -e /proc/lkm4 ]; do :; done
            kill -KILL $loader
            wait $loader 2>/dev/null
            echo $?
            {DMESG} | sed '1,/{mark}$/d'
            ! {{ grep '^lkm4 ' /proc/modules || ls /proc/lkm4; }}''')
        self.assertEqual(output.splitlines()[0], '137')
        lines = module_lines(output, 'lkm4')
        self.assertEqual(lines.pop(), (KERN_ERR, 'interrupted before the report '
                                       'was whole; try again'))
        return [text for _, text in lines]



class PageKinds(Facts):
    """Pages of every kind, in one stopped process for all tests of a class."""

    slow = True
    memory = '4G'               # as that of tests/lkm4.py, for the page of 1 GB
    append = 'hugepagesz=1G hugepages=1'

    fixture = boots = None

    def setUp(self):
        """The fixture: huge pages are slow to make."""
        kind = type(self)
        if kind.boots != self.guest.boots:
            self.guest.check(f'{SWAP_ON}{RESERVE}mkdir -p /ram && '
                             'mount -t ramfs ramfs /ram')
            kind.fixture = self.start('pages', '/ram', keep=True)
            kind.boots = self.guest.boots
        self.pages = self.parse(self.fixture.lines)

    @classmethod
    def tearDownClass(cls):
        """Nothing of it is left for those that come after."""
        if cls.fixture and cls.guest.running and cls.boots == cls.guest.boots:
            cls.guest.check(f'fixtures/held end {cls.fixture.pid} && '
                            f'umount /ram && {SWAP_OFF}{UNRESERVE}')


class Region(Facts):
    """What is asked of lkm4, and what it should say."""

    # --- what is there ---

    def flagged(self, entries):
        """The frames that hold the page of zeroes, or a part of the huge one;
        and those that are part of any page larger than the smallest."""
        frames = {entry & FRAME for entry in entries.values() if entry & PRESENT}
        flags = self.read_words('/proc/kpageflags', frames)
        return ({frame for frame in frames if flags[frame] >> bit & 1}
                for bit in (KPF_ZERO, KPF_THP))

    def truth(self, pid, known=()):
        """All of a process's addresses, in pieces; known: [(page, reason)]."""
        maps = self.mappings(pid)
        entries = self.all_entries(pid, [
            each for each in maps if not self.is_hugetlb(each)])
        zeroes, parts = self.flagged(entries)
        joined, known = self.joined(maps, entries, parts), dict(known)
        pieces, end = [], 0
        for each in maps:
            pieces.append(nothing(end, each.start))
            if self.is_hugetlb(each):
                pieces += self.of_hugetlb(pid, each)
            elif each.hidden:
                pieces.append(self.of_hidden(each))
            else:
                pieces += self.of_pages(each, entries, zeroes, joined, known)
            end = each.end
        pieces.append(nothing(end, self.tables.end))
        return [piece for piece in pieces if piece.start < piece.end]

    def is_hugetlb(self, each):
        """Whether a mapping is of hugetlb."""
        return each.size > self.page

    def of_hugetlb(self, pid, each):
        """The pieces of a mapping of hugetlb: of each entry's page, the first
        and last frame are looked at."""
        size = self.tables.hugetlb[each.size]
        joined = f' | contiguous ({in_words(each.size)})' * (size != each.size)
        starts = range(each.start, each.end, size)
        entries = self.entries(pid, sorted(
            {page for start in starts
             for page in (start, start + size - self.page)}))
        for start in starts:
            first, last = (entries[page] & (PRESENT | FRAME) for page in
                           (start, start + size - self.page))
            if not first:
                self.assertFalse(last)
                yield nothing(start, start + size, each, 'not mapped')
                continue
            self.assertEqual(last - first, size // self.page - 1)
            yield self.mapped(each, start, size, first, '')._replace(
                remarks=self.forbidden(each) + joined)

    @staticmethod
    def of_hidden(each):
        """The piece of a mapping that pagemap shows nothing of: /dev/mem, whose
        offset is the physical address, or what only lkm4 knows (?)."""
        if each.name == '/dev/mem':
            return Piece(each.start, each.end, each, None, each.offset,
                         each.end - each.start, DEVICE)
        return nothing(each.start, each.end, each, '?')

    def of_pages(self, each, entries, zeroes, joined, known):
        """The pieces of any other mapping."""
        huge = self.huge(each, entries, zeroes)
        page = each.start
        while page < each.end:
            size = self.tables.span('PMD') if page in huge else self.page
            entry, end = entries[page], page + size
            if page in known:
                self.assertFalse(entry & PRESENT)
                yield nothing(page, end, each, known[page])
            elif entry & PRESENT:
                zero = f" | {'huge ' * (page in huge)}zero page"
                yield self.mapped(
                    each, page, size, entry, zero * (entry & FRAME in zeroes) +
                    joined.get(page, '') * (page not in huge))
            elif entry & SWAPPED:
                place = entry & FRAME
                yield Piece(page, end, each, 'swapped out',
                            (place & 31, place >> 5), 0, '')
            else:
                yield nothing(page, end, each, 'not mapped')
            page = end

    def mapped(self, each, start, size, entry, remarks):
        """A piece with a page behind it."""
        return Piece(start, start + size, each, None, (entry & FRAME) * self.page,
                     size, self.forbidden(each) + remarks)

    @staticmethod
    def forbidden(each):
        """What is said of pages that nobody may look at."""
        return ' | not accessible (PROT_NONE)' * each.rights.startswith('---')

    def blocks(self, each, entries, size):
        """Starts of those parts of a mapping that lie in memory as one page of
        a size could."""
        for start in range(-(-each.start // size) * size, each.end - size + 1,
                           size):
            frames = [entries[page] & FRAME for page in
                      range(start, start + size, self.page)
                      if entries[page] & PRESENT]
            if (len(frames) == size // self.page and not frames[0] % len(frames)
                    and frames == list(range(frames[0], frames[-1] + 1))):
                yield start

    def joined(self, maps, entries, parts):
        """{page: what is said of it} where newer arm64 kernels join entries of
        parts of one larger page, which is wherever they lie so."""
        if not self.guest.kernel.has('ARM64_CONTPTE'):
            return {}
        size = min(self.tables.hugetlb)
        return {page: f' | contiguous ({in_words(size)})' for each in maps
                if not (self.is_hugetlb(each) or each.hidden)
                for start in self.blocks(each, entries, size)
                for page in range(start, start + size, self.page)
                if entries[start] & FRAME in parts}

    def huge(self, each, entries, zeroes):
        """Where huge pages are: as many as smaps counts. Which does not count
        the zero page, nor on some kernels those that nobody may look at."""
        span = self.tables.span('PMD')
        found = list(self.blocks(each, entries, span))
        zero = {start for start in found if entries[start] & FRAME in zeroes}
        others = set(found) - zero
        if each.rights.startswith('---') and not each.huge:
            return zero | others
        others = others if each.huge else set()
        self.assertEqual(len(others) * span, each.huge, each)
        return zero | others

    # --- what lkm4 should say of it ---

    def goes_on(self, run, piece):
        """Whether a piece belongs to the run before it."""
        if ((piece.map, piece.reason, piece.size, piece.remarks)
                != (run.map, run.reason, run.size, run.remarks)):
            return False
        distance = piece.start - run.start
        if piece.reason is None:
            return piece.at == run.at + distance
        if piece.reason == 'swapped out':
            return piece.at == (run.at[0], run.at[1] + distance // self.page)
        return True

    def rows(self, pieces):
        """The rows for some pieces."""
        runs = []               # [first piece, end, number]
        for piece in pieces:
            if runs and self.goes_on(runs[-1][0], piece):
                runs[-1][1:] = piece.end, runs[-1][2] + 1
            else:
                runs.append([piece, piece.end, 1])
        return [self.row(*run) for run in runs]

    @staticmethod
    def row(run, end, number):
        """A row."""
        span = f'VA {run.start:x}-{end:x}'
        if run.reason is None:
            return (f'{span} PA {run.at:x} | {number} x {in_words(run.size)} | '
                    f'{run.map.rights[:3]}{run.remarks}')
        if run.reason == 'swapped out':
            return (f'{span} | swapped out (type {run.at[0]}, '
                    f'offset {run.at[1]:#x})')
        return f'{span} | {run.reason}'

    @staticmethod
    def totals(pieces, again=0):
        """The last row."""
        number, mapped, absent = (collections.Counter() for _ in range(3))
        for piece in pieces:
            length = piece.end - piece.start
            if piece.reason is None:
                number[piece.size] += 1
                mapped[piece.size] += length
            else:
                absent[piece.reason] += length
        return ''.join(
            ['TOTAL',
             *(f' | {in_words(size)} x {number[size]} = {mapped[size] >> 10} kB'
               for size in sorted(mapped)),
             *(f' | {reason} {absent[reason] >> 10} kB'
               for reason in REASONS if reason in absent),
             f' | LOOKED AGAIN = {again}' * bool(again)])

    # --- asking, and comparing ---

    def ask(self, pid, ranges):
        """The rows of each range (address, length), from one loaded module."""
        ask = '\n'.join(f'''
            echo {address} >{PARAMETERS}/address
            echo {length} >{PARAMETERS}/length
            echo %; cat /proc/lkm4 || exit''' for address, length in ranges)
        output = self.guest.check(f'''
            trap '{RMMOD} lkm4' EXIT
            {INSMOD} {words('lkm4', log=0, vmas=0, pid=pid)} || exit
            {ask}''')
        answers = [text.splitlines() for text in output.split('%\n')[1:]]
        self.assertEqual(len(answers), len(ranges))
        for name, count, *_ in answers:
            self.assertRegex(name, rf'^PID: {pid} \| PROCESS: ')
            self.assertRegex(count, r'^Number of VMAs = \d+$')
        return [lines[2:] for lines in answers]

    def compare(self, pid, truth, ranges):
        """Compare the rows of ranges with the pieces of a process."""
        ranges = self.some(ranges)
        for asked, lines in zip(ranges, self.ask(pid, ranges)):
            self.compare_rows(truth, asked, lines)

    def compare_rows(self, truth, asked, lines):
        """Compare the rows of a range with the pieces of a process."""
        address, length = asked
        start = address & -self.page
        end = -(-(address + length) // self.page) * self.page
        pieces = list(cut(self.disclosed(truth, lines), start, end))
        self.same(lines, [*self.rows(pieces), self.totals(pieces)])

    def same(self, lines, wanted):
        """Compare rows; a diff of thousands of them would take minutes."""
        wrong = [f'{line}\n    should be {other}' for line, other in
                 itertools.zip_longest(lines, wanted) if line != other]
        self.assertFalse(wrong, '\n'.join(wrong[:5]))

    def disclosed(self, truth, lines):
        """The truth with what only lkm4 knows, which is taken from its rows:
        they must be of small pages of no memory, and of nothing."""
        rows = [self.parsed(line) for line in lines[:-1]]
        for piece in truth:
            if piece.reason != '?':
                yield piece
                continue
            inside = [row for row in rows
                      if piece.start <= row.start and row.end <= piece.end]
            for row in inside:
                self.assertTrue(
                    row.reason == 'not mapped' or (row.size, row.remarks) ==
                    (self.page, DEVICE), row)
                step = self.page if row.reason is None else row.end - row.start
                for start in range(row.start, row.end, step):
                    yield row._replace(
                        start=start, end=start + step, map=piece.map,
                        at=row.at and row.at + start - row.start)

    def parsed(self, line):
        """A row, taken apart."""
        match = ROW.fullmatch(line)
        self.assertTrue(match, f'not a row: {line!r}')
        start, end, at, _, size, unit, _, remarks, reason = match.groups()
        return Piece(int(start, 16), int(end, 16), None, reason,
                     at and int(at, 16),
                     size and int(size) << 10 * (' kMG'.index(unit)), remarks)


class EveryKind(PageKinds, Region):
    """A whole address space with pages of every kind."""

    def known(self):
        """The pages of which pagemap does not tell."""
        return [(self.pages[kind][1] & -self.page, reason)
                for kind, reason in KNOWN.items() if kind in self.pages]

    @property
    def sizes(self):
        """The sizes that pages have."""
        return {self.page, *self.tables.hugetlb.values()}

    def test_whole(self):
        """shows each page of a process, of every kind, and each gap"""
        pid = self.fixture.pid
        truth = self.truth(pid, self.known())
        seen = {piece.reason for piece in truth}
        self.assertGreaterEqual(
            seen, {None, 'no VMA here', 'not mapped', 'swapped out'}
            | {KNOWN[kind] for kind in set(KNOWN) - self.absent})
        self.assertEqual({piece.size for piece in truth
                          if piece.reason is None}, self.sizes)
        self.compare(pid, truth, [(0, self.tables.end)])

    def test_child(self):
        """shows what a child has from its parent, and what not"""
        pid = self.pages['cow-child'][0]
        self.compare(pid, self.truth(pid), [(0, self.tables.end)])

    def test_edges(self):
        """shows a range that begins and ends in the middle of a page or a run"""
        pid = self.fixture.pid
        truth = self.truth(pid, self.known())
        ranges = [(address, 3 * self.page + 1)
                  for kind, (owner, address) in self.pages.items()
                  if owner == pid and kind not in ('last', 'null')]
        ranges += [(each.start - self.page, 2 * self.page + 1)
                   for each in self.mappings(pid)[1:12]]
        self.compare(pid, truth, ranges)


class Rows(Region):
    """Small pages and swap; and the end of what a process can have."""

    paging = FIRST

    def test_runs(self):
        """shows runs of small pages, of a few mappings and kinds, line by line"""
        self.reserve()
        pid = self.start('memory', 'heap=100000', 'anon=200', 'shared=1500',
                         'reserved=5000', 'hole=70', 'huge=2', 'vmas=20',
                         'split=4', 'beside=9', 'file=/lkm/fixtures/pages').pid
        truth = self.truth(pid)
        if 'thp' not in self.absent:        # something is to be joined
            self.assertIn(f'| {self.page // 8} x {in_words(self.page)} | rw-',
                          '\n'.join(self.rows(truth)))
        # And from the middle of one huge page into that of the next.
        huge = next(each for each in self.mappings(pid) if self.is_hugetlb(each))
        self.compare(pid, truth, [
            (0, self.tables.end), (huge.start + 3 * self.page, huge.size)])

    def test_swapped(self):
        """joins swapped pages whose places follow one another"""
        self.swap_on()
        pid = self.start('memory', 'swapped=300', 'swapped=50').pid
        truth = self.truth(pid)
        swapped = [piece for piece in truth if piece.reason == 'swapped out']
        self.assertGreater(len(swapped), 200)
        self.assertLess(len(self.rows(swapped)), len(swapped))
        self.assertEqual({piece.at[0] for piece in swapped}, {1})
        self.compare(pid, truth, [(0, self.tables.end)])

    def test_end(self):
        """goes up to the last byte of user space, and not to the one behind"""
        end = self.tables.end
        pid = self.start('memory', 'anon=3').pid
        truth = self.truth(pid)
        self.compare(pid, truth, [
            (0, end), (end - 1, 1), (end - self.page - 1, self.page + 1),
            (12345, end - 12345)])
        for address, length in ((0, end + 1), (end - 1, 2), (12345, end),
                                (end - self.page, (1 << 64) - 1),
                                (0, (1 << 64) - 1), (1, (1 << 64) - 1)):
            line = self.insmod_fails('lkm4', errno.EINVAL, pid=pid,
                                     address=hex(address), length=hex(length))
            self.assertEqual(
                line, f'length={length:#x}: runs past the user space of pid '
                f'{pid}; give {end - address:#x} at most')
        line = self.insmod_fails('lkm4', errno.EINVAL, pid=pid,
                                 address=hex(end), length=1)
        self.assertEqual(line, f'address={end:#x}: not in the user space of pid '
                         f'{pid}; give an address below {end:#x}')


class Report(Region):
    """What does not depend on page tables: numbers, readers, the log."""

    paging = FIRST

    def touched(self):
        """A process, and the start and end of a mapping of it with pages."""
        pid = self.start('memory', 'shared=40').pid
        each = next(each for each in self.mappings(pid)
                    if each.rights == 'rw-s')
        return pid, each.start, each.end

    def test_numbers(self):
        """takes START and length in decimal and hexadecimal, whole pages or not"""
        pid, start, end = self.touched()
        truth = self.truth(pid)
        length = end - start
        ranges = [(start, length), (start + 1, length - 1), (start, length - 1),
                  (start + self.page - 1, length - 2 * self.page + 2),
                  (start, 1), (start + self.page - 1, 1), (end - 1, 1),
                  (start + self.page - 1, 2), (start - 5, 10), (end - 5, 10)]
        self.compare(pid, truth, ranges)
        texts = [(f'{start:#x}', f'{length:#x}'), (start, length),
                 (f'0X{start:X}', f'0X{length:X}'), (start, f'{length:#x}')]
        first, *others = self.ask(pid, texts)
        self.compare_rows(truth, (start, length), first)
        for lines in others:
            self.assertEqual(lines, first)

    def test_log(self):
        """has welcome, mappings, rows, closing line and farewell in the log"""
        pid, start, end = self.touched()
        start, length = start - self.page, end - start + 2 * self.page
        report = self.report('lkm4', pid=pid, vmas=1, address=hex(start),
                             length=length)
        self.assertEqual(report.lines[0], 'Hello, Welcome to LKM')
        self.assertEqual(report.lines[-1], 'Virtual memory to physical memory '
                         'info kernel module loaded')
        self.assertEqual(report.farewell, ['Virtual memory module to physical '
                                           'memory info removed,Bye !!'])
        maps = self.mappings(pid)
        head = [
            f'PID: {pid} | PROCESS: memory',
            *(f'VM START = {each.start:x} VM END = {each.end:x} | {each.rights}'
              for each in maps),
            f'Number of VMAs = {len(maps)}']
        self.same(report.body[:len(head)], head)
        self.compare_rows(self.truth(pid), (start, length),
                          report.body[len(head):])

    def test_pieces(self):
        """reads the same in whatever pieces, forwards and backwards"""
        process = self.start('changing', 'unmap', 400)
        output = self.guest.check(f'''
            trap '{RMMOD} lkm4' EXIT
            {INSMOD} {words('lkm4', log=0, pid=process.pid,
                            address=f'0x{process.lines[0]}',
                            length=400 * self.page)} || exit
            cat /proc/lkm4 >/run/whole
            dd if=/proc/lkm4 bs=7 2>/dev/null | cmp - /run/whole
            echo $?
            dd if=/proc/lkm4 bs=1 skip=9000 count=3000 2>/dev/null >/run/part
            tail -c +9001 /run/whole | head -c 3000 | cmp - /run/part
            echo $?
            fixtures/reread /proc/lkm4
            grep -c ^VA /run/whole; tail -n 1 /run/whole
            wc -c </run/whole''')
        *compared, reread, rows, last, size = output.splitlines()
        self.assertEqual((compared, rows), (['0', '0'], '400'))
        self.assertEqual(
            last, f'TOTAL | {in_words(self.page)} x 200 = '
            f'{200 * self.page >> 10} kB | not mapped {200 * self.page >> 10} kB')
        self.assertEqual(reread, f'the same {size} bytes')

    def test_pid_namespace(self):
        """takes the pid that a process has for the reader"""
        output = self.guest.check(f'''
            trap '{RMMOD} lkm4' EXIT
            {INSMOD} lkm4.ko log=0 vmas=0 address=0 length={self.tables.end:#x}
            echo 2 >{PARAMETERS}/pid
            # Not sh: busybox would run its own, and that its own ps.
            unshare --fork --pid --mount-proc dash -c '
                fixtures/memory anon=5 >/dev/null &
                until grep -q "^State:.T" /proc/2/status; do usleep 2000; done
                cat /proc/2/maps; echo %; cat /proc/lkm4; kill -KILL 2; true'
            ''')
        maps, report = output.split('%\n')
        name, _, *rows, _ = report.splitlines()
        self.assertEqual(name, 'PID: 2 | PROCESS: memory')
        rows = [self.parsed(row) for row in self.some(rows)]
        bounds = {int(word, 16) for line in maps.splitlines()
                  for word in line.split()[0].split('-')}
        self.assertEqual(
            {row.start for row in rows if row.reason == 'no VMA here'} - {0},
            {end for end in bounds if end < self.tables.end and
             f'\n{end:08x}-' not in f'\n{maps}'})


class Moving(Region):
    """Processes that do not stand still, and readers that go away."""

    paging = FIRST
    cpus = 2

    def begin(self, how):
        """A process that will change: (process, start, middle, end)."""
        number = 4 * (self.page // 8)           # four tables
        process = self.start('changing', how, number)
        start = int(process.lines[0], 16)
        size = number * self.page
        return process, start, start + size // 2, start + size

    def script(self, process, start, end, change):
        """Reads some, changes the process, reads the rest."""
        mark = secrets.token_hex(8)
        return f'''
            trap '{RMMOD} lkm4' EXIT
            {INSMOD} {words('lkm4', log=0, vmas=0, pid=process.pid,
                            address=hex(start), length=end - start)} || exit
            exec 4</proc/lkm4
            dd bs=1k count=1 <&4 2>/dev/null >/run/rows
            {change}
            echo {mark} >/dev/kmsg
            {{ cat <&4; status=$?; cat <&4; }} >>/run/rows 2>&1
            cat /run/rows
            exec 4<&-
            echo %; {DMESG} | sed '1,/{mark}$/d'
            exit $status'''

    def changed(self, how):
        """Compare rows that were read before and after a change."""
        process, start, middle, end = self.begin(how)
        before = self.truth(process.pid)
        output = self.guest.check(self.script(process, start, end, f'''
            kill -CONT {process.pid}
            while grep -q ^{start:x}-{end:x} /proc/{process.pid}/maps; do
                usleep 2000
            done'''))
        pieces = [*cut(before, start, middle),
                  *cut(self.truth(process.pid), middle, end)]
        rows, log = output.split('%\n')
        self.assertEqual(module_lines(log, 'lkm4'), [])
        self.same(rows.splitlines()[2:],
                  [*self.rows(pieces), self.totals(pieces, again=1)])

    def test_unmapped(self):
        """shows of a process that changes what is there when it is looked at"""
        self.changed('unmap')

    def test_protected(self):
        """shows the rights that a mapping has when it is looked at"""
        self.changed('protect')

    def ended(self, how, change):
        """The rows of a process that is no more are those that were seen, and
        one line says so."""
        process, start, _, end = self.begin(how)
        truth = self.truth(process.pid)
        status, output = self.guest.run(
            self.script(process, start, end, change.format(process.pid)))
        rows, log = output.split('%\n')
        self.assertEqual(status, 1, output[-3000:])
        _, _, *rows, error, again = rows.splitlines()
        for line in error, again:
            self.assertEqual(line, 'cat: read error: No such process')
        # It had looked at a table of PTEs.
        seen = (start // self.tables.span('PMD') + 1) * self.tables.span('PMD')
        self.same(rows, self.rows(cut(truth, start, seen)))
        self.assertEqual(
            self.formed([text for _, text in module_lines(log, 'lkm4')], 'Refusals'),
            [f'pid={process.pid}: it ended, or started another program, before '
             f'{seen:#x} was looked at; the report goes no further'])

    def test_killed(self):
        """ends where a process has ended, with an error and a line"""
        self.ended('unmap', 'fixtures/held end {}')

    def test_exec(self):
        """ends where a process has started another program"""
        self.ended('exec', '''
            kill -CONT {0}
            while tr '\\0' ' ' </proc/{0}/cmdline | grep -q exec; do
                usleep 2000
            done''')

    def reader(self, pid, start, end):
        """The shell's commands that load lkm4, and then can start a reader."""
        return f'''
            trap '{RMMOD} lkm4' EXIT
            {INSMOD} {words('lkm4', log=0, vmas=0, pid=pid, address=hex(start),
                            length=end - start)} || exit
            start_reader() {{
                cat /proc/lkm4 >/run/part & reader=$!
                # One that has ended already has no program any more.
                until [ -e /proc/$reader/fd/3 ] || [ ! -e /proc/$reader/exe ]; do
                    :
                done
            }}'''

    def test_reader_killed(self):
        """lets a reader go who is killed, in the middle of a row"""
        pid, start, end = self.sparse()
        output = self.guest.check(self.reader(pid, start, end) + '''
            read -r begin _ </proc/uptime
            cat /proc/lkm4
            read -r end _ </proc/uptime
            for try in 1 2 3; do
                start_reader
                read -r then _ </proc/uptime
                kill -KILL $reader
                wait $reader 2>/dev/null
                echo $?
                read -r now _ </proc/uptime
                wc -c </run/part
                times="$times $then $now"
            done
            echo $begin $end $times''')
        _, _, row, total, *ends, times = output.splitlines()
        self.assertEqual(row, f'VA {start:x}-{end:x} | not mapped')
        self.assertEqual(total, f'TOTAL | not mapped {end - start >> 10} kB')
        self.assertEqual(ends, ['137', '0'] * 3)
        times = list(map(float, times.split()))
        whole, *parts = (end - begin for begin, end in
                         zip(times[::2], times[1::2]))
        self.assertLess(min(parts), whole / 2, 'seconds')

    def test_lock(self):
        """lets others have the mmap lock, many times in the middle of a row"""
        pid, start, end = self.sparse()
        # A 5 changes nothing that matters, but takes the lock for writing. The
        # reader has a row to make still as long as nothing of it is there.
        output = self.guest.check(self.reader(pid, start, end) + f'''
            exec 5>/proc/{pid}/clear_refs
            for try in $(seq 5); do
                start_reader
                had=0
                while echo 5 >&5 && [ ! -s /run/part ]; do
                    had=$((had + 1))
                done
                wait $reader
                [ $had -ge {MANY} ] && break
            done
            echo $had''')
        self.assertGreaterEqual(int(output), MANY)

    def test_insmod_killed(self):
        """loads nothing when insmod is killed in the middle of the report"""
        pid, start, end = self.sparse()
        lines = self.interrupted(pid=pid, address=hex(start), length=end - start)
        self.assertEqual(lines[0], 'Hello, Welcome to LKM')
        self.assertFalse([line for line in lines if 'TOTAL' in line])
