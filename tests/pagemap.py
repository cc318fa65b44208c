# SPDX-License-Identifier: GPL-2.0-only
"""pagemap against the kernel's own entries, and against memory itself.

What it prints of a process that stands still is compared with the 64-bit
entries of /proc/PID/pagemap, read with dd and taken apart here, and with
/proc/PID/maps, which says what pages there are. The fixture `pages` holds a
page of every kind with a secret in each: the host must find the secret in the
guest's memory, in the frame that pagemap names.
"""

import collections
import json
import re
import shlex

from suite import CLOSED_PIPE, FIRST, UNSAMPLED, GuestTest

SECRET = 16

LINE = re.compile(r'0x([0-9a-f]+) *: (?:pfn ([0-9a-f]+)|'
                  r'swap (\d+):0x([0-9a-f]+)) +soft-dirty ([01]) '
                  r'file/shared ([01]) swapped ([01]) present ([01])')
FLAGS = re.compile(r' mapcount (\d+) flags (-|[a-z_]+(?:,[a-z_]+)*)')

# What stands in the columns of a line: a frame or a place in swap, and flags.
Entry = collections.namedtuple(
    'Entry', 'frame swap soft_dirty file_shared swapped present')
Page = collections.namedtuple('Page', 'kind pid address secret')

# The bits of /proc/kpageflags that have words, by those.
WORDS = {name: bit for bit, name in enumerate("""
    locked error referenced uptodate dirty lru active slab writeback reclaim buddy
    mmap anon swapcache swapbacked compound_head compound_tail huge unevictable
    hwpoison nopage ksm thp offline zero_page idle pgtable""".split())} | {
        'reserved': 32, 'mlocked': 33}
# Kinds of present pages with --flags, and those that are told without it, too.
KINDS = ('anon', 'anon thp', 'ksm', 'zero page', 'hugetlb', 'shmem', 'file',
         'file/shared thp', 'reserved', 'no struct page')
ABSENT = 'swapped', 'special entry', 'not present'


def decoded(raw):
    """A 64-bit entry (Documentation/admin-guide/mm/pagemap.rst)."""
    present, swapped = raw >> 63 & 1, raw >> 62 & 1
    low = raw & (1 << 55) - 1
    return Entry(None if swapped else low if present else 0,
                 (low & 31, low >> 5) if swapped else None,
                 raw >> 55 & 1, raw >> 61 & 1, swapped, present)


def entry_of(match):
    """A line's Entry."""
    frame, kind, offset = match.group(2, 3, 4)
    return Entry(None if frame is None else int(frame, 16),
                 None if kind is None else (int(kind), int(offset, 16)),
                 *map(int, match.group(5, 6, 7, 8)))


def kind_of(raw):
    """What a word of /proc/kpageflags is counted as."""
    has = {word for word, bit in WORDS.items() if raw >> bit & 1}
    for word in 'nopage', 'zero_page', 'huge', 'ksm':
        if word in has:
            return {'nopage': 'no struct page', 'huge': 'hugetlb',
                    'zero_page': 'zero page'}.get(word, word)
    thp = ' thp' if 'thp' in has else ''
    if 'anon' in has:
        return f'anon{thp}'
    if thp:
        return f'file/shared{thp}'
    return ('shmem' if 'swapbacked' in has else
            'reserved' if 'reserved' in has else 'file')


def octal(word):
    """A 64-bit word for printf(1)."""
    return ''.join(f'\\{byte:03o}' for byte in word.to_bytes(8, 'little'))


def hexadecimal(*addresses):
    """Arguments."""
    return ' '.join(f'{address:#x}' for address in addresses)


class Entries(GuestTest):
    """Asks pagemap and the kernel about the same process."""

    def parsed(self, output):
        """{address: Entry} of lines that ascend."""
        entries = {}
        for line in self.some(output.splitlines()):
            match = LINE.fullmatch(line)
            self.assertTrue(match, f'not a line of pagemap: {line!r}')
            entries[int(match[1], 16)] = entry_of(match)
        self.assertTrue(list(entries) == sorted(entries), 'not in order')
        self.assertEqual(len(entries), output.count('\n'))
        return entries

    def pagemap(self, pid, *addresses):
        """{address: Entry} of one run, which must go well."""
        return self.parsed(self.guest.check(
            f'./pagemap {pid} {hexadecimal(*addresses)}'))

    def truth(self, pid, spans):
        """{address: Entry} of page-aligned [start, end), as the kernel has it."""
        reads = '\n'.join(
            f'dd if=/proc/{pid}/pagemap bs=1M iflag=skip_bytes,count_bytes '
            f'skip={start // self.page * 8} count={(end - start) // self.page * 8}'
            for start, end in spans)
        words = self.guest.check(f'({reads}) 2>/dev/null | od -An -v -tx8')
        pages = [page for span in spans for page in range(*span, self.page)]
        entries = [decoded(int(word, 16)) for word in words.split()]
        self.assertEqual(len(entries), len(pages))
        return dict(zip(pages, entries))

    def mappings(self, pid):
        """[(start, end)] of the mappings that are the process's own."""
        lines = self.guest.check(f'cat /proc/{pid}/maps').splitlines()
        if self.guest.kernel.arch == 'amd64':
            self.assertTrue(lines.pop().endswith('[vsyscall]'))
        return [tuple(int(word, 16) for word in line.split()[0].split('-'))
                for line in self.some(lines)]

    def pages(self):
        """The fixture, stopped, with its pages."""
        self.guest.check('mkdir -p /ram && mount -t ramfs ramfs /ram' + UNSAMPLED)
        self.addCleanup(self.guest.check, 'umount /ram')
        self.reserve()
        self.fixture = self.start('pages', '/ram')
        rows = [line.split() for line in self.some(self.fixture.lines)]
        return {kind: Page(kind, int(pid), int(address, 16),
                           None if secret == '-' else bytes.fromhex(secret))
                for kind, pid, address, secret in rows}

    def whole_truth(self, pid):
        """{address: Entry} of all mappings of a process."""
        maps = self.mappings(pid)
        spans = [list(maps[0])]
        for start, end in maps[1:]:         # a dd for each would be slow
            if start == spans[-1][1]:
                spans[-1][1] = end
            else:
                spans.append([start, end])
        return self.truth(pid, spans)

    def compare_all(self, pid):
        """Compare all lines of a process with the kernel's entries."""
        entries = self.pagemap(pid)
        self.same(entries, self.whole_truth(pid))
        return entries

    def same(self, entries, truth):
        """Compare entries; a diff of thousands of them would take minutes."""
        wrong = [f'{page:#x}: {entries.get(page)}, should be {truth.get(page)}'
                 for page in sorted(set(entries) | set(truth))
                 if entries.get(page) != truth.get(page)]
        self.assertFalse(wrong, '\n'.join(wrong[:5]))

    def assert_secret(self, page, entries):
        """What the process wrote lies in the frame that pagemap names."""
        start = page.address & -self.page
        frame = entries[start].frame
        self.assertTrue(frame, page)
        self.assertEqual(
            self.guest.physical(frame * self.page + page.address - start,
                                SECRET).hex(), page.secret.hex(), page.kind)


class Frames(Entries):
    """What holds in any guest: a process whose pages are of every kind."""

    # file/shared, swapped, present
    FLAGS = {'private': (0, 0, 1), 'shared': (1, 0, 1), 'memfd': (1, 0, 1),
             'file-shared': (1, 0, 1), 'file-cow': (0, 0, 1),
             'file-cached': (1, 0, 1), 'thp': (0, 0, 1), 'heap': (0, 0, 1),
             'none-small': (0, 0, 1), 'none-thp': (0, 0, 1),
             'untouched': (0, 0, 0), 'dropped': (0, 0, 0),
             'paged-out': (0, 1, 0)}

    @property
    def flags(self):
        """Those of each kind; this guest has no page of 1 GB."""
        flags = self.FLAGS | {
            f'{none}hugetlb-{size}': (0, 0, 1) for none in ('', 'none-')
            for size in self.tables.hugetlb if size < 1 << 30}
        return {kind: flags[kind] for kind in set(flags) - self.absent}

    def test_secrets(self):
        """names the frame in which a secret lies, of every kind of page"""
        self.swap_on()
        pages = self.pages()
        entries = self.compare_all(self.fixture.pid)
        child = self.compare_all(pages['cow-child'].pid)
        # The kernel shows no frame of a device.
        hidden = [page for page in pages.values()
                  if page.secret and page.kind != 'device']
        self.assertGreaterEqual(
            {page.kind for page in hidden},
            {kind for kind, flags in self.flags.items() if flags[2]} |
            ({'high'} if self.tables.end > 1 << 50 else set()))
        for page in hidden:
            self.assert_secret(
                page, entries if page.pid == self.fixture.pid else child)
        for kind, flags in self.flags.items():
            self.assertEqual(entries[pages[kind].address & -self.page][3:], flags,
                             kind)
        kind, offset = entries[pages['paged-out'].address & -self.page].swap
        self.assertEqual(kind, 1)
        self.assertTrue(offset)


class Ways(Entries):
    """Other ways to show the same: fewer pages, more of each, or numbers."""

    paging = FIRST

    def test_present(self):
        """--present shows the pages that are present, and no other"""
        self.swap_on()
        self.pages()
        pid = self.fixture.pid
        truth = self.whole_truth(pid)
        present = {page: entry for page, entry in truth.items() if entry.present}
        self.assertLess(len(present), len(truth))
        self.same(self.parsed(self.guest.check(f'./pagemap --present {pid}')),
                  present)
        hole = next(page for page in truth if page not in present)
        self.assertEqual(self.guest.check(
            f'./pagemap -p {pid} {hole:#x} {hole + self.page:#x}'), '')

    def summary(self, arguments):
        """{kind: pages} of a summary whose kB and total are right."""
        head, *rows, total = self.guest.check(
            f'./pagemap --summary {arguments}').splitlines()
        self.assertEqual(head.split(), ['KIND', 'PAGES', 'kB'])
        self.assertEqual(len({len(row) for row in (head, *rows, total)}), 1)
        counts = {}
        for row in (*rows, total):
            kind, pages, size = row.rsplit(maxsplit=2)
            self.assertEqual(int(size), int(pages) * self.page >> 10, row)
            counts[kind] = int(pages)
        self.assertEqual(counts.pop('total'), sum(counts.values()))
        return counts

    @staticmethod
    def kind(entry):
        """What an entry is counted as."""
        if entry.present:
            return 'file/shared' if entry.file_shared else 'anon'
        if entry.swapped:
            return 'swapped' if entry.swap[0] < 2 else 'special entry'
        return 'not present'

    def test_summary(self):
        """--summary counts the pages of each kind, and their kB"""
        self.swap_on()
        self.pages()
        pid = self.fixture.pid
        truth = self.whole_truth(pid)
        counts = collections.Counter(map(self.kind, truth.values()))
        self.assertGreaterEqual(set(counts), {'anon', 'file/shared', 'swapped',
                                              'not present'})
        self.assertEqual('special entry' in counts, bool(
            {'poisoned', 'guard', 'uffd-marker', 'uffd-poison'} - self.absent))
        self.assertEqual(self.summary(pid), {'special entry': 0, **counts})
        self.assertEqual(self.summary(f'--present {pid}'), {
            kind: counts[kind] if kind in ('anon', 'file/shared') else 0
            for kind in {'special entry', *counts}})

    def kpagecount(self, frames):
        """{frame: how often it is mapped}."""
        return self.read_words('/proc/kpagecount', frames)

    def kpageflags(self, frames):
        """{frame: word}, without the flag KSM where it means nothing: some kernels
        set it on each anonymous page, also on one that cannot be merged."""
        pid = self.fixture.pid
        stack = self.guest.check(f"grep -F '[stack]' /proc/{pid}/maps")
        end = int(stack.split()[0].partition('-')[2], 16)
        unmerged, = self.truth(pid, [(end - self.page, end)]).values()
        self.assertTrue(unmerged.present)
        words = self.read_words('/proc/kpageflags', [*frames, unmerged.frame])
        lies = words[unmerged.frame] & 1 << WORDS['ksm']
        return {frame: words[frame] & ~lies for frame in frames}

    def flags(self, arguments):
        """{address: (Entry, mapcount, words)}; the last two None for none."""
        shown = {}
        for line in self.guest.check(f'./pagemap --flags {arguments}').splitlines():
            match = LINE.match(line)
            self.assertTrue(match, line)
            rest = FLAGS.fullmatch(line, match.end())
            self.assertTrue(rest or len(line) == match.end(), line)
            shown[int(match[1], 16)] = (
                entry_of(match), int(rest[1]) if rest else None,
                (rest[2].split(',') if rest[2] != '-' else []) if rest else None)
        return shown

    def check_flags(self, pid):
        """--flags of a process that stands still; how many frames it has."""
        truth = self.whole_truth(pid)
        frames = sorted({entry.frame for entry in truth.values() if entry.present})
        flags, counts = self.kpageflags(frames), self.kpagecount(frames)
        shown = self.flags(pid)
        flags_later, counts_later = (self.kpageflags(frames),
                                     self.kpagecount(frames))
        self.same({page: each[0] for page, each in shown.items()}, truth)
        wrong = []
        for page, (entry, mapcount, words) in shown.items():
            if not entry.present:
                self.assertEqual((mapcount, words), (None, None), hex(page))
                continue
            # Some change on their own: referenced, lru, active.
            must = flags[entry.frame] & flags_later[entry.frame]
            may = flags[entry.frame] | flags_later[entry.frame]
            wrong += [(hex(page), word, words) for word, bit in WORDS.items()
                      if not must >> bit & 1 <= (word in words) <= may >> bit & 1]
            if mapcount not in (counts[entry.frame], counts_later[entry.frame]):
                wrong.append((hex(page), mapcount, counts[entry.frame]))
        self.assertEqual(wrong[:5], [])
        return len(frames)

    def test_flags(self):
        """--flags shows mapcount and flags as the kernel has them"""
        self.swap_on()
        self.pages()
        self.assertGreater(self.check_flags(self.fixture.pid),
                           1000 * 4096 // self.page)
        self.check_flags(self.start('memory', 'zero=9').pid)

    # What kpageflags may say, apart from single bits.
    TOGETHER = [0, (1 << 63) - 1, *(
        sum(1 << WORDS[word] for word in words.split()) for words in (
            'anon thp', 'swapbacked thp', 'anon ksm thp', 'swapbacked reserved',
            'zero_page thp', 'huge anon', 'uptodate lru mmap anon swapbacked'))]

    def test_words(self):
        """--flags has a word for each flag, a kind for each page"""
        raw = [*(1 << bit for bit in range(64)), *self.TOGETHER]
        pid = self.start('memory', f'anon={len(raw) + 1}').pid
        start, end = next(span for span in self.mappings(pid) if
                          span[1] - span[0] == (len(raw) + 1) * self.page)
        truth = self.truth(pid, [(start, end)])
        # The last frame has no word: the file is too short.
        frames = sorted(entry.frame for entry in truth.values())
        raw = dict(zip(frames, raw))
        self.fake_flags(raw)
        shown = self.flags(f'{pid} {start:#x} {end:#x}')
        for entry, mapcount, words in shown.values():
            if entry.frame not in raw:
                self.assertEqual((entry.frame, words), (frames[-1], None))
                continue
            self.assertEqual(mapcount, 1)
            self.assertEqual(words, [word for word, bit in WORDS.items()
                                     if raw[entry.frame] >> bit & 1])
        pages = self.json(f'--flags {pid} {start:#x} {end:#x}')
        self.assertEqual([page.get('flags') for page in pages],
                         [words for _, _, words in shown.values()])
        counts = collections.Counter(map(kind_of, raw.values()))
        counts['no struct page'] += 1
        self.assertEqual(set(counts), set(KINDS))
        self.assertEqual(self.summary(f'--flags {pid} {start:#x} {end:#x}'),
                         counts | dict.fromkeys(ABSENT, 0))

    def fake_flags(self, words):
        """Have other words in /proc/kpageflags, {frame: word}, until the test
        ends; the file ends behind the last of them."""
        text = '\n'.join(
            f"printf '{octal(word)}' | dd of=/run/flags bs=8 seek={frame} "
            'conv=notrunc 2>/dev/null' for frame, word in words.items())
        self.addCleanup(self.guest.check,
                        'umount /proc/kpageflags; rm /run/flags')
        self.guest.check(f'{text}\nmount --bind /run/flags /proc/kpageflags')

    def test_kinds(self):
        """--summary --flags counts the pages of each kind"""
        self.swap_on()
        self.pages()
        pid = self.fixture.pid
        truth = self.whole_truth(pid)
        present = [entry.frame for entry in truth.values() if entry.present]
        flags = self.kpageflags(sorted(set(present)))
        counts = collections.Counter(kind_of(flags[frame]) for frame in present)
        self.assertGreaterEqual(set(counts), {
            'anon', 'hugetlb', 'shmem', 'file', 'zero page',
            *({'anon thp'} if 'thp' not in self.absent else ())})
        counts.update(self.kind(entry) for entry in truth.values()
                      if not entry.present)
        self.assertEqual(self.summary(f'--flags {pid}'),
                         dict.fromkeys([*KINDS, *ABSENT], 0) | counts)

    JSON_TYPES = {'address': str, 'pfn': str, 'swap_type': int,
                  'swap_offset': str, 'soft_dirty': bool, 'file_shared': bool,
                  'swapped': bool, 'present': bool, 'mapcount': int,
                  'flags': list}

    def json(self, arguments):
        """The objects that --json prints, a line for each, typed well."""
        objects = [json.loads(line) for line in self.some(self.guest.check(
            f'./pagemap --json {arguments}').splitlines())]
        wrong = [each for each in objects if
                 {(key, type(value)) for key, value in each.items()}
                 - set(self.JSON_TYPES.items())]
        self.assertEqual(wrong[:5], [])
        return objects

    @staticmethod
    def entry_of_json(page):
        """The Entry that an object shows."""
        frame = swap = None
        if page['swapped']:
            swap = page['swap_type'], int(page['swap_offset'], 16)
        else:
            frame = int(page['pfn'], 16) if page['present'] else 0
        return Entry(frame, swap, page['soft_dirty'], page['file_shared'],
                     page['swapped'], page['present'])

    def test_json_format(self):
        """--json prints an object of the form that is documented"""
        self.swap_on()
        pages = self.pages()
        for kind in 'private', 'paged-out':
            start = pages[kind].address & -self.page
            span = start, start + self.page
            truth, = self.truth(self.fixture.pid, [span]).values()
            place = (f'"pfn":"{truth.frame:#x}"' if truth.present else
                     f'"swap_type":1,"swap_offset":"{truth.swap[1]:#x}"')
            swapped, present = (str(bool(bit)).lower() for bit in truth[4:])
            self.assertEqual(
                self.guest.check(
                    f'./pagemap -j {self.fixture.pid} {hexadecimal(*span)}'),
                f'{{"address":"{start:#x}",{place},"soft_dirty":'
                f'{str(bool(truth.soft_dirty)).lower()},"file_shared":false,'
                f'"swapped":{swapped},"present":{present}}}\n')

    def test_json(self):
        """--json prints an object for each page, with the same in it"""
        self.swap_on()
        self.pages()
        pid = self.fixture.pid
        truth = self.whole_truth(pid)
        shown = {int(page['address'], 16): page for page in self.json(pid)}
        self.same({address: self.entry_of_json(page)
                   for address, page in shown.items()}, truth)
        for page in shown.values():
            places = {'pfn'} if page['present'] else (
                {'swap_type', 'swap_offset'} if page['swapped'] else set())
            self.assertEqual(set(page), places | {
                'address', 'soft_dirty', 'file_shared', 'swapped', 'present'})
        # The same with flags, in text.
        flags = self.flags(f'-p {pid}')
        self.assertEqual(
            [(address, count) for address, (_, count, _) in flags.items()],
            [(int(page['address'], 16), page['mapcount'])
             for page in self.json(f'-pf {pid}')])
        address, (entry, _, words) = next(
            (address, each) for address, each in flags.items() if each[2])
        page, = self.json(f'-f {pid} {address:#x} {address + self.page:#x}')
        self.assertEqual(self.entry_of_json(page), entry)
        self.assertEqual(page['flags'], words)

    def test_json_summary(self):
        """--json --summary prints an object for each kind"""
        pid = self.start('memory', 'anon=7', 'shared=5', 'reserved=9').pid
        for options in '', '--flags':
            rows = [json.loads(line) for line in self.guest.check(
                f'./pagemap --json --summary {options} {pid}').splitlines()]
            counts = self.summary(f'{options} {pid}')
            self.assertEqual([(row['kind'], row['pages'], row['kb'])
                              for row in rows],
                             [(kind, count, count * self.page >> 10)
                              for kind, count in counts.items()])
            self.assertEqual({len(row) for row in rows}, {3})


class Rest(Entries):
    """What need not be asked twice: which pages are shown, and errors."""

    paging = FIRST

    def test_format(self):
        """prints a line of the contract to the letter"""
        page = self.pages()['private']
        start = page.address & -self.page
        truth, = self.truth(page.pid, [(start, start + self.page)]).values()
        self.assertEqual(
            self.guest.check(f'./pagemap {page.pid} {start:#x} {start + 1:#x}'),
            f'0x{start:<14x}: pfn {truth.frame:<10x} soft-dirty '
            f'{truth.soft_dirty} file/shared 0 swapped 0 present 1\n')
        self.assertEqual(
            self.guest.check(f'./pagemap {page.pid} 0 0x1000'),
            '0x0             : pfn 0          soft-dirty 0 file/shared 0 '
            'swapped 0 present 0\n')

    def test_range(self):
        """shows the pages of [START, END), mapped or not"""
        pid = self.start('memory', 'hole=100').pid
        maps = self.mappings(pid)
        low, high = next((one[1], two[0]) for one, two in zip(maps, maps[1:])
                         if two[0] - one[1] == 100 * self.page)
        start, end = low - self.page, high + self.page
        truth = self.truth(pid, [(start, end)])
        for first, last in ((start, end), (start + 1, end - self.page + 1),
                            (start + self.page - 1, end - 1)):
            self.same(self.pagemap(pid, first, last), truth)
        self.same(self.parsed(self.guest.check(
            f'./pagemap {pid} {start} {end:#X}')), truth)
        one = self.pagemap(pid, low, low + self.page)
        self.assertEqual(one, {low: Entry(0, None, one[low].soft_dirty, 0, 0, 0)})

    def test_start(self):
        """goes from START to the end of the mapping that it lies in"""
        pid = self.start('memory', 'reserved=2000').pid
        maps = self.mappings(pid)
        for start, end in maps:
            if end - start > 2 * self.page:
                self.assertTrue(set(self.pagemap(pid, start + self.page + 5)) ==
                                set(range(start + self.page, end, self.page)),
                                f'not all of {start:#x}-{end:#x}')
        start, end = maps[0]
        for address in start, start + 1, end - 1:
            self.same(self.pagemap(pid, address),
                      self.truth(pid, [(address & -self.page, end)]))

    def test_many(self):
        """shows 150,000 pages of one mapping, each once"""
        # More than it reads of pagemap in two goes.
        pid = self.start('memory', 'reserved=150000').pid
        start, end = max(self.mappings(pid), key=lambda span: span[1] - span[0])
        shown = self.guest.check(f'./pagemap {pid} {start:#x} | cut -d: -f1')
        self.assertTrue(shown == ''.join(f'0x{page:<14x}\n' for page in
                                         range(start, end, self.page)),
                        f'not each page: {shown[:64]}...{shown[-64:]}')

    # --- what goes wrong ---

    def fails(self, script, status, *said, user='root'):
        """A script ends with a status, an error and nothing on stdout."""
        got, output = self.guest.run(
            f'su {user} -s /bin/sh -c {shlex.quote(script)} 2>/tmp/err\n'
            'status=$?; echo %%; cat /tmp/err; exit $status')
        self.assertEqual((got, output.partition('%%\n')[0]), (status, ''),
                         f'{script}: {output}')
        for text in said:
            self.assertIn(text, output.partition('%%\n')[2], script)

    USAGE = {
        '': 'a PID is missing', '1 2 3 4': 'too many arguments',
        'x': "'x' is no process id", '0': "'0' is no process id",
        "''": "'' is no process id", '-1': 'invalid option',
        '1x': "'1x' is no process id", "' 1'": "' 1' is no process id",
        '+1': "'+1' is no process id", '4294967297': 'no process id',
        '99999999999999999999': 'no process id',
        '1 7f0000000000': 'is it hexadecimal? then write 0x7f0000000000',
        '1 7fff': 'write 0x7fff', '1 00400000': 'write 0x00400000',
        '1 0x': "START '0x' is no address", '1 xyz': 'is no address',
        "1 ''": 'is no address', '1 0x0x10': 'is no address',
        '1 0x10g': 'is no address', '1 " 10"': 'is no address',
        '1 +10': 'is no address', '1 0x-1': 'is no address',
        '1 0x10000000000000000': 'does not fit in 64 bits',
        '1 0 99999999999999999999': 'does not fit in 64 bits',
        '1 0 zzz': "END 'zzz' is no address",
        '1 0x2000 0x1000': 'START 0x2000 is not below END 0x1000',
        '1 0x2000 0x2000': 'is not below', '--nonsense': 'unrecognized option',
        '1 --nonsense': 'unrecognized option'}

    def test_usage(self):
        """ends with 2, a reason and nothing printed when called wrongly"""
        script = '\n'.join(f'''
            out=$(./pagemap {arguments} 2>/tmp/err); status=$?
            echo "$status,$out,$(cat /tmp/err)"; echo %%'''
                           for arguments in self.USAGE)
        answers = self.guest.check(script).split('\n%%\n')[:-1]
        self.assertEqual(len(answers), len(self.USAGE))
        for (arguments, said), answer in zip(self.USAGE.items(), answers):
            status, output, error = answer.split(',', 2)
            self.assertEqual((status, output), ('2', ''), arguments)
            self.assertIn(said, error)
            self.assertEqual(error.splitlines()[1:], ["Try 'pagemap --help'."])

    def test_no_process(self):
        """ends with 1 when there is no such process, or it has no memory"""
        self.fails('exec ./pagemap 4000000', 1, 'no process has the id 4000000')
        for pid in 2, self.states()['zombie']:
            for address in '', '0', '0 0x1000':
                self.fails(f'exec ./pagemap {pid} {address}', 1,
                           f'process {pid} has no user memory')

    def test_no_memory(self):
        """ends with 1 and a reason when a list of mappings is too long for it"""
        pid = self.start('memory', 'vmas=60000').pid
        # How much it takes without that list depends on the C library.
        said = self.guest.check(f'''
            for kb in $(seq 12000 -400 4000); do
                (ulimit -v $kb; exec ./pagemap {pid} 0x1000) 2>&1 |
                    grep 'cannot read' && exit
            done
            exit 1''')
        self.assertEqual(said, f'./pagemap: cannot read /proc/{pid}/maps: '
                         'Cannot allocate memory\n')

    def test_no_mapping(self):
        """ends with 1 when nothing is mapped at START, or nothing can be"""
        self.fails('exec ./pagemap $$ 0x1000', 1,
                   '0x1000 (START 0x1000) lies in no mapping')
        self.fails('exec ./pagemap $$ 0xffffffffff600000', 1,
                   'lies in no mapping')
        self.fails('exec ./pagemap $$ 0xffff888000000000 0xffff888000001000', 1,
                   '0xffff888000000000 is beyond the user space')
        self.fails('exec ./pagemap $$ 0xffffffffffffffff', 1,
                   'lies in no mapping')

    def test_hidden(self):
        """ends with 3 and prints nothing when frame numbers are hidden"""
        for arguments in ('$$', '1', '$$ 0 0x1000', '1 0x400000',
                          '--summary 1', '--json --flags $$'):
            self.fails(f'exec ./pagemap {arguments}', 3,
                       'the kernel hides frame numbers', user='user')
        self.fails('exec ./pagemap 4000000', 1, 'no process', user='user')
        # Root in a user namespace has all capabilities, and yet sees none.
        self.fails("exec unshare -r sh -c './pagemap $$'", 3,
                   'the kernel hides frame numbers')

    def test_output(self):
        """ends with 1 and a reason when the output cannot be written"""
        # Both what is written on the way, and what is left at the end.
        for arguments in ('$$', '$$ 0 0x1000', '--json $$', '--summary $$',
                          '--flags --present $$'):
            self.fails(f'./pagemap {arguments} >/dev/full', 1,
                       'cannot write the output: No space left on device')
        pid = self.start('memory', 'reserved=9000').pid
        self.fails(f'./pagemap {pid} >/dev/full', 1,
                   'cannot write the output: No space left on device')
        self.fails('./pagemap --help >/dev/full', 1, 'cannot write the output')
        self.fails('./pagemap $$ >&-', 1, 'cannot write the output')
        self.fails(f'{CLOSED_PIPE}; ./pagemap $$ >&5', 1,
                   'cannot write the output: Broken pipe')

    def test_ends(self):
        """ends with 1 and says so when the process ends half-way"""
        pid = self.start('memory', 'reserved=200000').pid
        # It has written some of that, and cannot write the rest for now.
        status, output = self.guest.run(f'''
            {{ ./pagemap {pid}; echo $? >/tmp/status; }} 2>/tmp/err | {{
                head -n 1000 >/dev/null
                kill -KILL {pid}
                while [ -s /proc/{pid}/maps ] || read -r _ </proc/{pid}/maps; do
                    usleep 2000
                done 2>/dev/null
                wc -l
            }}
            cat /tmp/status /tmp/err''')
        lines, got, *error = output.splitlines()
        self.assertEqual((status, got), (0, '1'), output)
        self.assertGreater(int(lines), 10000)
        self.assertLess(int(lines), 200000)
        self.assertRegex('\n'.join(error), rf'^\./pagemap: process {pid} ended, '
                         'or started another program, before 0x[0-9a-f]+ was '
                         'read$')

    def test_help(self):
        """says how to call it, and its version"""
        text = self.guest.check('./pagemap --help; ./pagemap --version')
        self.assertRegex(text, r'^Usage: pagemap \[OPTION\]\.\.\. PID \[START \[END\]\]\n')
        self.assertRegex(text, r'\npagemap \d+\.\d+\n$')
