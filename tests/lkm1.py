# SPDX-License-Identifier: GPL-2.0-only
"""lkm1 lists every process: compared with ps -e and with /proc/PID/stat.

Processes come and go while a report is made, so it is bracketed: what ps saw
both before and after must be in it, what ps saw neither time must not.
"""

import collections
import itertools
import re

from suite import FIRST, INSMOD, RMMOD, GuestTest

ROW = re.compile(r'PID: (\d+) \| PROCESS: (.*) \| STATE: (\d+) \((.)\)'
                 r' \| PPID: (\d+) \| THREADS: (\d+)( \| KERNEL)?')
THREAD = re.compile(ROW.pattern + r' \| TID: (\d+)')
TOTALS = re.compile(r'PROCESSES: (\d+) \| THREADS: (\d+)' +
                    ''.join(rf' \| ({state}) (\d+)' for state in 'RSDTtXZPI'))

PS = 'ps -e -o pid=,ppid=,nlwp=,comm='
PS_THREADS = 'ps -eL -o pid=,lwp=,ppid=,nlwp=,comm='
STAT = 'cat /proc/[0-9]*/stat 2>/dev/null'
THREAD_STAT = 'cat /proc/[0-9]*/task/*/stat 2>/dev/null'

PF_WQ_WORKER = 0x20
PF_KTHREAD = 0x200000

# enum task states of linux/sched.h; TASK_IDLE is two bits.
TASK_IDLE = 0x402
LETTERS = 'RSDTtXZP'

Row = collections.namedtuple('Row', 'pid tid name number letter ppid threads '
                                    'kernel')
Stat = collections.namedtuple('Stat', 'name letter ppid threads flags')


def letter_of(number):
    """The letter that ps has for a state's number."""
    if number & TASK_IDLE == TASK_IDLE:
        return 'I'
    return LETTERS[(number & 0x7f).bit_length()]


def stats(text):
    """{pid: Stat} from lines of /proc/PID/stat."""
    found = {}
    for line in text.splitlines():
        pid, rest = line.split(' (', 1)
        name, _, rest = rest.rpartition(') ')
        fields = rest.split()
        found[int(pid)] = Stat(name, fields[0], int(fields[1]),
                               int(fields[17]), int(fields[6]))
    return found


def listed(text, keys=1):
    """{pid: (ppid, nlwp, comm)} from ps; {(pid, tid): ...} from ps -L."""
    rows = (line.split(None, keys + 2) for line in text.splitlines())
    return {tuple(map(int, row[:keys])): (int(row[keys]), int(row[keys + 1]),
                                          row[keys + 2].rstrip())
            for row in rows}


def same_name(name, said, worker):
    """Whether a name is what ps says: it shows more than a kernel thread's 15
    bytes, and what a worker of a workqueue works on."""
    if name == said or (len(name) == 15 and said.startswith(name)):
        return True
    return worker and re.fullmatch(re.escape(name) + '[-+].*', said)


class Lkm1(GuestTest):
    """What holds in any guest."""

    paging = FIRST

    def parsed(self, body, pattern=ROW):
        """The rows and totals of a report, every line of which is one."""
        rows = []
        for line in self.some(body[:-1]):
            match = pattern.fullmatch(line)
            self.assertTrue(match, f'not a row: {line}')
            (pid, name, number, letter, ppid, threads,
             kernel) = match.groups()[:7]
            tid = match[8] if pattern is THREAD else pid
            rows.append(Row(int(pid), int(tid), name, int(number), letter,
                            int(ppid), int(threads), bool(kernel)))
        totals = TOTALS.fullmatch(body[-1])
        self.assertTrue(totals, f'not the totals: {body[-1]}')
        return rows, totals.groups()

    def bracket(self, rows, before, after):
        """Check which rows there are. Only insmod was there in between."""
        self.compared(len(before.keys() & after.keys()))
        self.assertLessEqual(before.keys() & after.keys(), rows.keys())
        extra = rows.keys() - (before.keys() | after.keys())
        self.assertEqual([rows[key].name for key in extra], ['insmod'])
        return [(rows[key], said) for key, said in before.items()
                if said == after.get(key)]

    def test_ps(self):
        """lists the processes that ps -e lists, with parent and threads"""
        start = self.start('states')
        report = self.report('lkm1', f'{PS}; echo; {STAT}')
        rows = {(row.pid,): row for row in self.parsed(report.body)[0]}
        before, stat = report.before.split('\n\n')
        stat = stats(stat)
        pairs = self.bracket(rows, listed(before),
                             listed(report.after.split('\n\n')[0]))
        for row, (ppid, threads, name) in self.some(pairs):
            flags = stat[row.pid].flags if row.pid in stat else 0
            self.assertEqual((row.ppid, row.threads), (ppid, threads), row)
            self.assertTrue(same_name(row.name, name.split(' <defunct>')[0],
                                      flags & PF_WQ_WORKER), (row, name))
            if row.pid in stat:
                self.assertEqual(row.kernel, bool(flags & PF_KTHREAD), row)
        self.assertIn((start.pid,), rows)
        self.assertEqual({row.kernel for row in rows.values()}, {True, False})

    def test_threads(self):
        """lists with threads=1 the threads that ps -eL lists, by process"""
        states = self.states()
        report = self.report('lkm1', f'{PS_THREADS}; echo; {THREAD_STAT}',
                             threads=1)
        listing, totals = self.parsed(report.body, THREAD)
        rows = {(row.pid, row.tid): row for row in listing}
        self.assertEqual(len(rows), len(listing), 'the same thread twice')
        pairs = self.bracket(rows,
                             listed(report.before.split('\n\n')[0], 2),
                             listed(report.after.split('\n\n')[0], 2))
        for row, (ppid, threads, _) in self.some(pairs):
            self.assertEqual((row.ppid, row.threads), (ppid, threads), row)
        groups = [(pid, [row.tid for row in group]) for pid, group in
                  itertools.groupby(listing, lambda row: row.pid)]
        self.assertEqual(len(groups), len(dict(groups)), 'not together')
        self.assertEqual([pid for pid, _ in groups],
                         [tids[0] for _, tids in groups])
        self.add_up(totals, listing, len(listing))
        self.of_threads(dict(groups), listing, states, stats(
            report.before.split('\n\n')[1]))

    def of_threads(self, tids, listing, states, stat):
        """Of what stands still, each thread's state is what /proc says."""
        letters = {row.tid: row.letter for row in listing}
        for kind, number in {'leaderless': 2, 'threaded': 3}.items():
            mine = tids[states[kind]]
            self.assertEqual(len(mine), number, kind)
            for tid in mine:
                self.assertEqual(letters[tid], stat[tid].letter, kind)
        self.assertEqual([letters[tid] for tid in
                          tids[states['leaderless']]], ['Z', 'T'])

    def test_states(self):
        """gives each process's state as number and letter, as /proc does"""
        kinds = self.states()
        report = self.report('lkm1', STAT)
        rows = {row.pid: row for row in self.parsed(report.body)[0]}
        for row in rows.values():
            self.assertEqual(row.letter, letter_of(row.number), row)
        before, after = stats(report.before), stats(report.after)
        # Rescuers of workqueues never have anything to do.
        idle = [pid for pid, stat in before.items()
                if stat.flags & PF_WQ_WORKER and stat == after.get(pid)
                and not re.match(r'kworker/[^R]', stat.name)]
        seen = set()
        for pid in self.some(idle) + list(kinds.values()):
            self.assertEqual(before[pid], after[pid])
            self.assertEqual(rows[pid].letter, before[pid].letter, rows[pid])
            seen.add(rows[pid].letter)
        self.assertEqual(seen, set('RSDTtZI'))
        self.assertEqual(rows[kinds['threaded']].threads, 3)
        self.assertEqual(rows[kinds['vforked']].ppid, kinds['vfork'])

    def add_up(self, totals, rows, threads):
        """Check the totals line against the rows."""
        processes, total, *states = totals
        self.assertEqual(int(processes), len({row.pid for row in rows}))
        self.assertEqual(int(total), threads)
        counts = dict(zip(states[::2], map(int, states[1::2])))
        self.assertEqual(sum(counts.values()), len(rows))
        seen = collections.Counter(row.letter for row in rows)
        self.assertEqual({key: n for key, n in counts.items() if n}, seen)

    def test_totals(self):
        """adds up: the processes, their threads, those in each state"""
        self.start('states')
        rows, totals = self.parsed(self.proc('lkm1'))
        self.add_up(totals, rows, sum(row.threads for row in rows))
        self.assertGreater(sum(row.threads for row in rows), len(rows))

    def test_many(self):
        """lists all of hundreds of threads of one process"""
        process = self.start('memory', 'threads=600')
        rows, _ = self.parsed(self.proc('lkm1', threads=1), THREAD)
        tids = [row.tid for row in rows if row.pid == process.pid]
        printed = {int(line.split()[1]) for line in process.lines
                   if line.startswith('thread ')}
        self.assertEqual(len(tids), 601)
        self.assertEqual(set(tids), printed | {process.pid})

    def test_order(self):
        """keeps the order of the task list, which is not that of the pids"""
        self.guest.check('echo 3000 >/proc/sys/kernel/ns_last_pid')
        first = self.start('names')
        self.guest.check('echo 2000 >/proc/sys/kernel/ns_last_pid')
        second = self.start('names')
        self.assertLess(second.pid, first.pid)
        rows, _ = self.parsed(self.proc('lkm1'))
        pids = [row.pid for row in rows]
        self.assertEqual(pids[:2], [1, 2])
        self.assertLess(pids.index(first.pid), pids.index(second.pid))

    def test_pid_namespace(self):
        """shows a reader the processes of his pid namespace, by its pids"""
        output = self.guest.check(f'''
            {INSMOD} lkm1.ko log=0
            # Not sh: busybox would run its own, and that its own ps.
            unshare --fork --pid --mount-proc dash -c '
                fixtures/names >/dev/null &
                until read -r stat </proc/2/stat; do :; done
                {PS}; echo; cat /proc/lkm1; kill -KILL 2; true'
            {RMMOD} lkm1''')
        before, text = output.split('\n\n')
        rows, totals = self.parsed(text.splitlines())
        truth = {pid: ppid for (pid,), (ppid, _, name)
                 in listed(before).items() if name != 'ps'}
        self.assertEqual(truth, {1: 0, 2: 1})
        self.assertEqual({row.pid: row.ppid for row in rows
                          if row.name != 'cat'}, truth)
        self.assertEqual([row.ppid for row in rows if row.name == 'cat'], [1])
        self.assertEqual(totals[:2], ('3', '3'))
