# SPDX-License-Identifier: GPL-2.0-only
"""lkm2 shows the heaps: compared with sbrk(), stat, maps and smaps_rollup."""

import collections
import re

from suite import FIRST, INSMOD, RMMOD, GuestTest

ROW = re.compile(r'PID: (\d+) \| PROCESS: (.*) \| STATE: (\d+) \((.)\)'
                 r' \| HEAP: ([0-9A-F]+) \((\d+) kB\) \| ANON: (\d+) kB'
                 r'(?: \| RESIDENT: (\d+) kB)?')
MAX = re.compile(r'MAX HEAP USAGE BY PID = (\d+) -->'
                 r' AMOUNT USED = ([0-9A-F]+) \((\d+) kB\)')

# Who has user memory: any thread will do, the first may have ended.
USERS = 'grep -ls ^VmSize: /proc/[0-9]*/task/*/status'

Row = collections.namedtuple('Row',
                             'pid name number letter heap anon resident')
Fixture = collections.namedtuple('Fixture', 'pid start end')


def users(text):
    """The pids of processes with user memory."""
    return {int(path.split('/')[2]) for path in text.splitlines()}


class Lkm2(GuestTest):
    """What holds in any guest."""

    paging = FIRST

    def parsed(self, body):
        """The rows and the largest of a report, every line of which is one."""
        rows = []
        for line in self.some(body[:-1]):
            match = ROW.fullmatch(line)
            self.assertTrue(match, f'not a row: {line}')
            pid, name, number, letter, heap, kb, anon, resident = match.groups()
            self.assertEqual(int(kb), int(heap, 16) >> 10, line)
            rows.append(Row(int(pid), name, int(number), letter,
                            int(heap, 16), int(anon),
                            resident and int(resident)))
        largest = MAX.fullmatch(body[-1])
        self.assertTrue(largest, f'not the largest: {body[-1]}')
        pid, heap, kb = largest.groups()
        self.assertEqual(int(kb), int(heap, 16) >> 10, body[-1])
        return rows, (int(pid), int(heap, 16))

    def heap(self, size, *more):
        """A fixture with a heap; where the kernel says that it starts, and
        where sbrk() said that it ends."""
        process = self.start('memory', f'heap={size}', *more)
        end = int(process.lines[-1].split()[1], 16)
        stat = self.guest.check(f'cat /proc/{process.pid}/stat')
        fields = stat.rpartition(') ')[2].split()
        return Fixture(process.pid, int(fields[47 - 3]), end)

    def test_users(self):
        """lists the processes with user memory: no kernel thread, no zombie"""
        states = self.states()
        report = self.report('lkm2', USERS)
        rows, _ = self.parsed(report.body)
        found = {row.pid for row in rows}
        self.assertEqual(len(found), len(rows), 'the same process twice')
        before, after = users(report.before), users(report.after)
        self.compared(len(before & after))
        self.assertLessEqual(before & after, found)
        self.assertEqual([row.name for row in rows
                          if row.pid not in before | after], ['insmod'])
        self.assertEqual(set(states.values()) - found, {states['zombie']})

    def test_states(self):
        """shows name and state of those with memory, as /proc does"""
        states = self.states()
        del states['zombie']
        stats = self.guest.check(' '.join(
            ['cat', *(f'/proc/{pid}/stat' for pid in states.values())]))
        rows = {row.pid: row for row in self.parsed(self.proc('lkm2'))[0]}
        for line in self.some(stats.splitlines()):
            pid, name, letter = re.match(r'(\d+) \((.*)\) (.)', line).groups()
            row = rows[int(pid)]
            self.assertEqual((row.name, row.letter), (name, letter))
        self.assertEqual({rows[pid].letter for pid in states.values()},
                         set('RSTtDZ'))
        # The number as it has always been: a stopped one is TASK_STOPPED.
        self.assertEqual(rows[states['stopped']].number & 4, 4)

    def test_heap(self):
        """HEAP is brk - start_brk, to the byte"""
        heaps = [self.heap(size) for size in (0, 1, 12345, 1 << 20, 100 << 20)]
        rows, _ = self.parsed(self.report('lkm2').body)
        rows = {row.pid: row for row in rows}
        for heap in heaps:
            self.assertGreater(heap.end, heap.start)
            self.assertEqual(rows[heap.pid].heap, heap.end - heap.start)
            maps = self.guest.check(f'grep -F "[heap]" /proc/{heap.pid}/maps')
            start, end = (int(text, 16)
                          for text in maps.split()[0].split('-'))
            self.assertEqual(start, heap.start & -self.page)
            self.assertEqual(end, -(-heap.end & -self.page))
        self.assertTrue(any(heap.end % self.page for heap in heaps))

    def test_large(self):
        """shows a heap of more than 4 GiB in full, and as the largest"""
        self.addCleanup(self.guest.check,
                        'echo 0 >/proc/sys/vm/overcommit_memory')
        self.guest.check('echo 1 >/proc/sys/vm/overcommit_memory')
        heap = self.heap(5 << 30)
        rows, largest = self.parsed(self.report('lkm2').body)
        size = {row.pid: row.heap for row in rows}[heap.pid]
        self.assertGreater(size, 5 << 30)
        self.assertEqual(size, heap.end - heap.start)
        self.assertEqual(largest, (heap.pid, size))

    def test_largest(self):
        """names the largest heap; of equal ones that of the lowest pid"""
        # The lower pid comes later in the list of tasks.
        self.guest.check('echo 3000 >/proc/sys/kernel/ns_last_pid')
        first = self.heap(50 << 20)
        self.guest.check('echo 2000 >/proc/sys/kernel/ns_last_pid')
        second = self.heap(50 << 20)
        self.assertLess(second.pid, first.pid)
        small = self.heap(10 << 20)
        rows, largest = self.parsed(self.proc('lkm2'))
        self.assertEqual(largest, (second.pid, second.end - second.start))
        order = [row.pid for row in rows]
        self.assertLess(order.index(first.pid), order.index(second.pid))
        self.top(rows, [second.pid, first.pid, small.pid])

    def top(self, rows, expected):
        """Check top=N against the whole list, in which nothing moves but cat
        and the shell."""
        still = sorted((row for row in rows if row.pid in expected),
                       key=lambda row: (-row.heap, row.pid))
        for number in (1, 2, 3):
            some, largest = self.parsed(self.proc('lkm2', top=number))
            self.assertEqual([row.pid for row in some], expected[:number])
            self.assertEqual(some, still[:number])
            self.assertEqual(largest, (expected[0], still[0].heap))
        everyone, _ = self.parsed(self.proc('lkm2', top=4294967295))
        heaps = [(-row.heap, row.pid) for row in everyone]
        self.assertEqual(heaps, sorted(heaps))
        self.assertGreaterEqual(len(everyone), len(rows) - 1)
        everyone, _ = self.parsed(self.proc('lkm2', top=0))
        order = [row.pid for row in everyone if row.pid in expected]
        self.assertEqual(order, [row.pid for row in rows
                                 if row.pid in expected])

    def test_anon(self):
        """ANON is what smaps_rollup counts, to the page"""
        states = self.states()
        pids = [states[kind] for kind in (
            'sleeping', 'stopped', 'traced', 'vfork', 'vforked', 'leaderless',
            'threaded')]
        pids += [self.start('memory', *what).pid for what in (
            ('anon=1000', 'shared=50'), ('threads=8', 'anon=100'),
            ('heap=1000000', 'threads=3', 'shared=7'))]
        # Any living thread can tell, and a process's last one is alive.
        truth = self.guest.check('\n'.join(
            f'for t in /proc/{pid}/task/*; do :; done; '
            f'grep ^Anonymous: $t/smaps_rollup' for pid in pids))
        anon = [int(line.split()[1]) for line in truth.splitlines()]
        self.assertEqual(len(anon), len(pids))
        rows = {row.pid: row for row in self.parsed(self.proc('lkm2'))[0]}
        self.assertEqual([rows[pid].anon for pid in pids], anon)
        self.assertGreater(min(anon), 0)

    def test_resident(self):
        """RESIDENT is what smaps counts of the heap, to the page"""
        # An untouched one, one that is there whole, one that ends in the middle
        # of a page, and a small one.
        pids = [self.heap(size, f'touched={pages}').pid for size, pages in (
            (100 << 20, 0), (0, 1000), ((5 << 20) + 99, 33), (0, 0))]
        pids.append(self.start('states').pid)
        truth = self.guest.check('\n'.join(
            f"sed -n '/\\[heap\\]/,/^Rss/s/^Rss: //p' /proc/{pid}/smaps"
            for pid in pids))
        self.assertEqual(len(truth.splitlines()), len(pids))
        rows = {row.pid: row for row in
                self.parsed(self.proc('lkm2', resident=1))[0]}
        self.assertEqual([rows[pid].resident for pid in pids],
                         [int(line.split()[0]) for line in truth.splitlines()])
        self.assertGreaterEqual(rows[pids[1]].resident,
                                1000 * self.page >> 10)
        few, _ = self.parsed(self.proc('lkm2', resident=1, top=2))
        self.assertEqual([row.resident for row in few],
                         [rows[row.pid].resident for row in few])
        self.assertEqual({row.resident for row in
                          self.parsed(self.proc('lkm2', resident=0))[0]}, {None})

    def test_namespace(self):
        """shows a reader the processes of his pid namespace, by its pids"""
        output = self.guest.check(f'''
            {INSMOD} lkm2.ko log=0
            unshare --fork --pid dash -c 'cat /proc/lkm2; true'
            {RMMOD} lkm2''')
        rows, largest = self.parsed(output.splitlines())
        self.assertEqual([(row.pid, row.name) for row in rows],
                         [(1, 'dash'), (2, 'cat')])
        self.assertIn(largest, [(row.pid, row.heap) for row in rows])
