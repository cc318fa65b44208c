# SPDX-License-Identifier: GPL-2.0-only
"""Reports of much: nothing of them is lost, and nobody has to wait for them.

30,000 processes, 65,000 mappings, 1 TB of addresses; a console on a serial line.
Whole reports are taken from the log as well, which has room for them here.
"""

import collections
import re
import time

from lkm1 import ROW as PROCESS
from lkm1 import PF_KTHREAD, TOTALS, stats
from lkm2 import MAX
from lkm2 import ROW as HEAP
from lkm3 import EACH
from lkm5 import ROW as SIZE
from lkm5 import SUMS
from region import FRAME, PRESENT, in_words
from suite import FIRST, INSMOD, RMMOD, GuestTest, words

PROCESSES, MAPPINGS, PAGES = 30000, 65000, 2000

# What may be gone of a guest's memory without anybody's having kept it.
NOISE_KB = 5000
AVAILABLE = 'grep MemAvailable: /proc/meminfo'

# 115200 baud, and lines enough for half a minute: to RCU a processor has stalled
# after 21 seconds. Nobody should have to wait for it a tenth of that, unless an
# emulator has.
LINE_RATE = 11520
LINES = 5000
MOST_SECONDS = 10
# Notes when it has had a turn; and each program that ends wants a grace period.
WITNESS = '''
(while read -r up _ </proc/uptime; do
    echo $up; usleep 50000
done) >/run/turns & echo $!'''

# What the fixture calls its processes.
OURS = re.compile(r'PROCESS: (?:many|hundred\d+) ')

# Reports of all processes, by module: what asks for them, and their rows.
REPORTS = {'lkm1': ({}, PROCESS), 'lkm2': ({}, HEAP), 'lkm3': ({'all': 1}, EACH),
           'lkm5': ({'all': 1}, SIZE)}


class Large(GuestTest):
    """What is done with reports of whatever is large."""

    paging = FIRST
    memory = '4G'
    slow = True
    dear = True
    append = 'log_buf_len=16M'

    def same(self, lines, truth):
        """Compare lines; a diff of thousands of them would take minutes."""
        self.compared(len(truth))
        for number, (line, true) in enumerate(zip(lines, truth)):
            if line != true:
                self.fail(f'line {number}: {line}\n    should be {true}')
        self.assertEqual(len(lines), len(truth))

    def logged(self, module, **parameters):
        """The lines of a report in the log, but for the last, which has to tell
        how many they are."""
        *lines, note = self.report(module, **parameters).body
        self.assertEqual(note, f'LINES = {len(lines)}, more than the kernel log '
                         f'keeps: read /proc/{module}')
        return lines

    def read_twice(self, module, change, **parameters):
        """The lines that two readers get, who have read some when all changes; what
        one of them has read he reads again, in pieces and backwards."""
        output = self.guest.check(f'''
            trap '{RMMOD} {module}; rm -f /run/one /run/two' EXIT
            {INSMOD} {words(module, log=0, **parameters)} || exit
            exec 4</proc/{module} 5</proc/{module}
            dd bs=9973 count=9 <&4 >/run/one 2>/dev/null
            dd bs=4099 count=5 <&5 >/run/two 2>/dev/null
            {change}
            cat <&4 >>/run/one & cat <&5 >>/run/two; wait
            fixtures/reread - 61 20 <&4 || exit
            cat <&4 | cmp - /run/one || exit
            cat /run/one; echo %; cat /run/two''', timeout=120)
        said, text = output.split('\n', 1)
        one, two = text.split('%\n')
        self.assertEqual(said, f"the same {len(one)} bytes")
        return self.some(one.splitlines()), two.splitlines()


def free(output, times):
    """How many kB were free at so many times, and the lines behind that."""
    lines = output.splitlines()
    return [int(line.split()[1]) for line in lines[:times]], lines[times:]


class Mappings(Large):
    """A process with as many mappings as one may have."""

    def mappings(self, pid):
        """The lines that lkm4 and lkm5 should have for its mappings."""
        maps = [line.split()[:2] for line in
                self.guest.check(f'cat /proc/{pid}/maps').splitlines()]
        maps = [(*(int(bound, 16) for bound in bounds.split('-')), rights)
                for bounds, rights in maps]
        return [f'VM START = {start:x} VM END = {end:x} | {rights}'
                for start, end, rights in maps if start < self.tables.end]

    def test_log(self):
        """lkm4 and lkm5 show each of 65,000 mappings, in the log as well"""
        pid = self.start('memory', f'vmas={MAPPINGS}').pid
        mappings = self.mappings(pid)
        self.assertGreater(len(mappings), MAPPINGS)
        for module, asked in {'lkm4': {'address': 0, 'length': self.tables.end},
                              'lkm5': {}}.items():
            lines = self.proc(module, pid=pid, **asked)
            self.same(lines[1:len(mappings) + 1], mappings)
            self.assertIn(f'Number of VMAs = {len(mappings)}', lines)
            if module == 'lkm4':
                self.assert_all_there(lines[len(mappings) + 2:], mappings)
            self.same(self.logged(module, pid=pid, **asked), lines)

    def assert_all_there(self, rows, mappings):
        """Rows of a whole address space have no gap between them, end where the
        mappings do, and add up."""
        *rows, totals = rows
        bounds = [re.match('VA ([0-9a-f]+)-([0-9a-f]+) ', row).groups()
                  for row in self.some(rows)]
        starts, ends = zip(*bounds)
        self.same([*starts, f'{self.tables.end:x}'], ['0', *ends])
        edges = {bound for line in mappings
                 for bound in re.findall('= ([0-9a-f]+)', line)}
        self.assertEqual(edges - {*starts, *ends}, set())
        self.assertEqual(sum(map(int, re.findall(r'(\d+) kB(?= \||$)', totals))),
                         self.tables.end >> 10)

    def test_ended(self):
        """lkm4 and lkm5 go on with 65,000 mappings of a process that has ended"""
        for module, asked in ('lkm4', {'address': 0}), ('lkm5', {}):
            pid = self.start('memory', f'vmas={MAPPINGS}').pid
            truth = self.proc(module, pid=pid, **asked)
            one, two = self.read_twice(module, f'fixtures/held end {pid}',
                                       pid=pid, **asked)
            self.assertGreater(len(one), MAPPINGS)
            self.same(one, truth)
            self.same(two, truth)


class Sparse(Large):
    """1 TB of addresses, and few pages."""

    def begin(self):
        """A process: its pid, and the bounds of the memory."""
        process = self.start('memory', f'sparse={PAGES}')
        start, end = (int(word, 16) for word in process.lines[0].split()[1:])
        self.assertGreaterEqual(end - start, min(1 << 40, self.tables.end >> 2))
        return process.pid, start, end

    def touched(self, start, end):
        """The pages that the fixture has touched."""
        each = (end - start) // PAGES
        return [*(start + each * i & -self.page for i in range(PAGES - 1)),
                end - self.page]

    def rows(self, pid, start, end, pages):
        """The rows of these pages, and of what lies between, and the totals."""
        found = self.read_words(f'/proc/{pid}/pagemap',
                                [page // self.page for page in pages])
        size = in_words(self.page)
        rows, last = [], start
        for page in sorted(pages):
            entry = found[page // self.page]
            self.assertTrue(entry & PRESENT, hex(page))
            if page > last:
                rows.append(f'VA {last:x}-{page:x} | not mapped')
            last = page + self.page
            rows.append(f'VA {page:x}-{last:x} PA {(entry & FRAME) * self.page:x}'
                        f' | 1 x {size} | rw-')
        if last < end:
            rows.append(f'VA {last:x}-{end:x} | not mapped')
        kb = len(pages) * self.page >> 10
        return [*rows, f'TOTAL | {size} x {len(pages)} = {kb} kB | '
                f'not mapped {(end - start >> 10) - kb} kB']

    def test_range(self):
        """lkm4 shows each page of 1 TB, what lies between, and adds up to 1 TB"""
        pid, start, end = self.begin()
        asked = {'pid': pid, 'vmas': 0, 'address': start, 'length': end - start}
        smaps = self.guest.check(f"sed -n '/^{start:x}-/,/^Rss/p' /proc/{pid}/smaps")
        self.assertEqual(int(smaps.split()[-2]), PAGES * self.page >> 10)
        rows = self.rows(pid, start, end, self.touched(start, end))
        lines = self.proc('lkm4', **asked)
        self.same(lines[2:], rows)
        self.same(self.logged('lkm4', **asked), lines)

    def test_streamed(self):
        """lkm4 looks at a page of 1 TB when a reader comes to it, and keeps none"""
        pid, start, end = self.begin()
        late = end - (end - start) // PAGES // 2 & -self.page
        insmod = words('lkm4', log=0, pid=pid, vmas=0, address=start,
                       length=end - start)
        output = self.guest.check(f'''
            trap '{RMMOD} lkm4; rm -f /run/rows' EXIT
            {INSMOD} {insmod} || exit
            head -n 1 /proc/lkm4 >/run/rows
            {AVAILABLE}
            exec 4</proc/lkm4
            dd bs=1000 count=1 <&4 >/run/rows 2>/dev/null
            printf 1 | dd of=/proc/{pid}/mem bs=1 seek={late} conv=notrunc \
                2>/dev/null || exit
            {AVAILABLE}
            dd bs=1000 count=$(({PAGES} / 20)) <&4 >>/run/rows 2>/dev/null
            {AVAILABLE}
            cat <&4 >>/run/rows
            {AVAILABLE}
            cat /run/rows''')
        available, (_, _, *rows) = free(output, 4)
        self.assertLess(available[0] - min(available), NOISE_KB, available)
        self.same(rows, self.rows(pid, start, end,
                                  [*self.touched(start, end), late]))


class Many(Large):
    """Processes that wait, 30,000 of them in one guest."""

    processes = boots = None

    @property
    def number(self):
        """How many. They are to fit the guest, and a minute, where everything takes
        longer, or pages are larger, as well."""
        return PROCESSES * 4096 // (self.page * self.guest.kernel.patience)

    def setUp(self):
        """They are slow to make, so all tests have the same. They become fewer."""
        kind = type(self)
        if kind.boots != self.guest.boots:
            self.guest.check('echo 65536 >/proc/sys/kernel/pid_max && '
                             'echo 65536 >/proc/sys/kernel/threads-max')
            kind.processes = self.start('many', self.number, keep=True, timeout=240)
            kind.boots = self.guest.boots
        self.named = [int(line.split()[0]) for line in self.processes.lines]

    @classmethod
    def tearDownClass(cls):
        """To end all of them takes longer than to boot another guest."""
        if cls.guest.running:
            cls.guest.give_up()

    # --- what /proc says ---

    def beside(self, module):
        """A report, what /proc says next, and another report: the lines of them, and
        {pid: Stat}."""
        asked, _ = REPORTS[module]
        output = self.guest.check(f'''
            trap '{RMMOD} {module}' EXIT
            {INSMOD} {words(module, log=0, **asked)} || exit
            cat /proc/{module} && echo % || exit
            cat /proc/[0-9]*/stat 2>/dev/null
            echo % && cat /proc/{module}''', timeout=200)
        before, truth, after = output.split('%\n')
        return before.splitlines(), stats(truth), after.splitlines()

    def rows(self, module, lines):
        """{pid: match} of the rows in a report."""
        _, pattern = REPORTS[module]
        rows = [pattern.fullmatch(line) for line in lines]
        self.assertNotIn(None, rows)
        by_pid = {int(row[1]): row for row in rows}
        self.assertEqual(len(by_pid), len(rows), 'the same process twice')
        return by_pid

    def children(self, truth):
        """Those of the fixture, of what /proc says: {pid: Stat}."""
        mine = {pid: stat for pid, stat in truth.items()
                if stat.ppid == self.processes.pid}
        self.assertEqual(len(mine), self.number)
        return mine

    def there(self, truth, first, again):
        """What both reports have, /proc has, and what /proc has, at least one of the
        reports has."""
        self.compared(len(truth))
        self.assertEqual((first.keys() & again.keys()) - truth.keys(), set())
        self.assertEqual(truth.keys() - (first.keys() | again.keys()), set())

    # --- the tests ---

    def test_processes(self):
        """lkm1 shows each of 30,000 processes once, as /proc does, and counts them"""
        (*lines, last), truth, again = self.beside('lkm1')
        rows = self.rows('lkm1', lines)
        self.there(truth, rows, self.rows('lkm1', again[:-1]))
        for pid, stat in self.children(truth).items():
            _, name, _, letter, ppid, threads, kernel = rows[pid].groups()
            self.assertEqual((name, letter, int(ppid), int(threads), kernel),
                             (*stat[:4], None))
        totals = TOTALS.fullmatch(last).groups()
        self.assertEqual(int(totals[0]), len(rows))
        seen = collections.Counter(row[4] for row in rows.values())
        self.assertEqual({letter: int(n) for letter, n in
                          zip(totals[2::2], totals[3::2]) if int(n)}, seen)

    def test_heaps(self):
        """lkm2 shows each of 30,000 processes with memory once, and the largest heap"""
        (*lines, last), truth, again = self.beside('lkm2')
        rows = self.rows('lkm2', lines)
        self.there({pid: stat for pid, stat in truth.items()
                    if not stat.flags & PF_KTHREAD and stat.letter not in 'ZX'},
                   rows, self.rows('lkm2', again[:-1]))
        alive = {pid: stat for pid, stat in self.children(truth).items()
                 if stat.letter == 'S'}
        self.assertGreater(len(alive), self.number * 9 // 10)
        for pid, stat in alive.items():
            self.assertEqual(rows[pid].group(2, 4), stat[:2])
        largest = max(rows.values(), key=lambda row: int(row[5], 16))
        self.assertEqual(MAX.fullmatch(last).group(1, 2), largest.group(1, 5))

    def test_sizes(self):
        """lkm5 with all=1 shows each of 30,000 processes once, in order, and adds up"""
        (*lines, last), truth, again = self.beside('lkm5')
        rows = self.rows('lkm5', lines)
        self.there(truth, rows, self.rows('lkm5', again[:-1]))
        sizes = [tuple(map(int, row.group(3, 4, 5))) for row in rows.values()]
        self.assertEqual(tuple(map(int, SUMS.fullmatch(last).groups())),
                         (len(rows), *map(sum, zip(*sizes))))
        order = [size[1] for size in sizes]
        self.assertTrue(order == sorted(order, reverse=True), 'out of order')
        own = self.guest.check(f'cat /proc/{self.processes.pid}/status')
        vsz = int(re.search(r'VmSize:\s+(\d+) kB', own)[1])
        more = {self.named[-1]: 1 << 10}
        for pid, stat in self.children(truth).items():
            self.assertEqual((rows[pid][2], int(rows[pid][3])), (
                stat.name, 0 if stat.letter == 'Z' else vsz + more.get(pid, 0)))

    def ours(self, lines):
        """Those rows of a report that are the fixture's; others come and go."""
        rows = [line for line in lines if OURS.search(line)]
        self.assertGreater(len(rows), self.number * 9 // 10)
        return sorted(rows)

    def test_log(self):
        """lkm1, lkm2, lkm3 and lkm5 show 30,000 processes in the log as well"""
        for module, (asked, _) in REPORTS.items():
            with self.subTest(module):
                self.same(self.ours(self.logged(module, **asked)),
                          self.ours(self.proc(module, **asked)))

    def test_memory(self):
        """lkm1, lkm2, lkm3 and lkm5 give all memory of a report back"""
        for module, (asked, _) in REPORTS.items():
            output = self.guest.check(f'''
                trap '{RMMOD} {module}' EXIT
                {INSMOD} {words(module, log=0, **asked)} || exit
                read_some() {{
                    for i in $(seq $1); do
                        head -n 1 /proc/{module} >/dev/null || exit
                    done
                }}
                read_some 1; {AVAILABLE}
                read_some 30; {AVAILABLE}''')
            (before, after), _ = free(output, 2)
            self.assertLess(before - after, NOISE_KB, module)

    def test_snapshot(self):
        """lkm1, lkm2 and lkm5 go on with processes that have ended since the open"""
        each = len(self.named) // 3
        for module, gone in {'lkm1': ' (Z) ', 'lkm2': '', 'lkm5': ' VSZ: 0 '}.items():
            with self.subTest(module):
                self.ended(module, gone, [self.named.pop() for _ in range(each)])

    def ended(self, module, gone, pids):
        """Two readers have the rows of processes that end while they read. A third,
        who comes then, has none, or rows that say so."""
        asked, _ = REPORTS[module]
        truth = self.ours(self.proc(module, **asked))
        seen = f"grep -q '^PID: {pids[-1]} .*{gone}' /proc/{module}"
        reports = self.read_twice(module, f'''
            kill -KILL {' '.join(map(str, pids))}
            {'until' if gone else 'while'} {seen}; do sleep 0.1; done''', **asked)
        for lines in reports:
            self.same(self.ours(lines), truth)


class Console(GuestTest):
    """A console that is as slow as a serial line."""

    paging = FIRST
    slow = True
    dear = True
    console_rate = LINE_RATE
    append = 'log_buf_len=1M'
    needs = ('X86',)            # others' ports stop the emulator itself

    def quiet(self):
        """What is on the console, once nothing more comes; and when the last came."""
        size = at = None
        while size != (now := self.guest.console.stat().st_size):
            size, at = now, time.monotonic()
            time.sleep(2)
        return self.guest.console.read_bytes(), at

    def test_slow(self):
        """lkm5 loads with 5,000 lines for a console of 115200 baud; others go on"""
        level = self.guest.check('cat /proc/sys/kernel/printk').split()[0]
        self.addCleanup(self.guest.check, f'echo {level} >/proc/sys/kernel/printk')
        pid = self.start('memory', f'vmas={LINES}').pid
        before, start = len(self.quiet()[0]), time.monotonic()
        self.guest.check('echo 7 >/proc/sys/kernel/printk')
        witness = int(self.guest.check(WITNESS))
        report = self.report('lkm5', pid=pid, timeout=400)
        text, end = self.quiet()
        turns = self.guest.check(f'kill {witness}; cat /run/turns')
        lines = text[before:].decode(errors='replace').splitlines()
        # The line really was that slow, and what the log has came through it.
        self.assertGreaterEqual(end - start + 1, len(text[before:]) / LINE_RATE)
        self.assertGreater(end - start, 25)
        self.assertGreater(len(report.lines), LINES)
        came = sum(' lkm5: ' in line for line in lines)
        self.assertGreaterEqual(came, 0.95 * len(report.lines))
        self.assertIn('LINES', report.lines[-2])
        self.assert_turns(list(map(float, turns.split())))

    def assert_turns(self, turns):
        """Who else wants the processor has had it, all the time. (The port's driver
        keeps the watchdog of soft lockups quiet.) Where a thread of the kernel's own
        writes to the console, which newer kernels have, that takes what it takes."""
        waits = [after - before for before, after in zip(turns, turns[1:])]
        self.some(waits)
        consoles = self.guest.check('cat /proc/consoles')
        if not re.search(r'\([^)]*N', consoles):
            self.assertLess(max(waits), MOST_SECONDS)
