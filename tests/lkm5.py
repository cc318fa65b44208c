# SPDX-License-Identifier: GPL-2.0-only
"""lkm5 shows the size of a process: compared with maps, smaps_rollup, smaps,
status and stat, and with what ps and top say, of processes that stand
still."""

import collections
import re

from suite import FIRST, HIGH, INSMOD, RMMOD, GuestTest

NAME = re.compile(r'PID: (\d+) \| PROCESS: (.*)')
VMA = re.compile(r'VM START = ([0-9a-f]+) VM END = ([0-9a-f]+) '
                 r'\| ([r-][w-][x-][ps])(?: \| RSS = (\d+))?')
# The lines behind the mappings; the estimate may be missing, and what was not
# asked for.
SIZES = re.compile(r'PAGE SIZE  IN KB = (?P<page>\d+)\n'
                   r'Number of VMAs = (?P<vmas>\d+)\n'
                   r'Total VSZ = (?P<vsz>\d+)\n'
                   r'Total RSS = (?P<rss>\d+)\n'
                   r'(?:ESTIMATE = (?P<estimate>\d+)\n)?'
                   r'(?:COUNTED BY WALKING = (?P<walked>\d+)\n)?'
                   r'RSS ANON = (?P<anon>\d+) \| RSS FILE = (?P<file>\d+) '
                   r'\| RSS SHMEM = (?P<shmem>\d+) \| SWAP = (?P<swap>\d+) '
                   r'\| PAGE TABLES = (?P<tables>\d+)')

# With all=1.
ROW = re.compile(r'PID: (\d+) \| PROCESS: (.*) \| VSZ: (\d+) kB \| RSS: (\d+) kB'
                 r' \| SWAP: (\d+) kB')
SUMS = re.compile(r'PROCESSES: (\d+) \| VSZ: (\d+) kB \| RSS: (\d+) kB'
                  r' \| SWAP: (\d+) kB')

MAP = re.compile(r'([0-9a-f]+)-([0-9a-f]+) (.{4}) [0-9a-f]+ (\S+) \d+.*')
FIELD = re.compile(r'(\w+):\s+(\d+) kB')

RAMFS = '/run/ramfs'

# What lkm5 and then /proc say of $pid. Its last thread lives in any case.
EXAMINE = '''
echo $pid >/sys/module/lkm5/parameters/pid
cat /proc/lkm5 || exit
for task in /proc/$pid/task/*; do :; done
for file in maps smaps smaps_rollup status stat; do
    echo %%
    cat $task/$file || exit
done
echo %%%
'''

Size = collections.namedtuple('Size', 'pid name maps each kb truth')
Row = collections.namedtuple('Row', 'pid name vsz rss swap')
Truth = collections.namedtuple('Truth', 'name maps smaps rollup status stat')


def fields(text):
    """{name: kB} of a file like status."""
    return {name: int(kb) for name, kb in FIELD.findall(text)}


def mapping(match):
    """(start, end, rights) from a match of VMA or MAP."""
    return int(match[1], 16), int(match[2], 16), match[3]


class Sizes(GuestTest):
    """How a report is compared; the tests are below."""

    def parsed(self, body):
        """A report: pid, name, mappings, the RSS of each if it was asked for,
        sizes; there is nothing else."""
        name = NAME.fullmatch(body[0])
        self.assertTrue(name, f'not the name: {body[0]}')
        maps = list(map(VMA.fullmatch, body[1:]))
        number = maps.index(None)
        sizes = SIZES.fullmatch('\n'.join(body[1 + number:]))
        self.assertTrue(sizes, f'not the sizes: {body[1 + number:]}')
        kb = {key: int(value) for key, value in sizes.groupdict().items()
              if value}
        return (int(name[1]), name[2], list(map(mapping, maps[:number])),
                [match[4] and int(match[4]) for match in maps[:number]], kb)

    def examine(self, pids):
        """What lkm5 and what /proc says of processes: a Size for each."""
        script = '\n'.join(f'pid={pid}\n{EXAMINE}' for pid in pids)
        output = self.guest.check(f'{INSMOD} lkm5.ko log=0 vmas=2 verify=1; '
                                  f'{script} {RMMOD} lkm5')
        sizes = []
        for text in output.split('%%%\n')[:-1]:
            report, *truth = text.split('%%\n')
            stat = truth[-1].rpartition(') ')[2].split()
            name = re.search(r'^Name:\t(.*)', truth[-2], re.M)[1]
            sizes.append(Size(*self.parsed(report.splitlines()), Truth(
                name, *truth[:2], *map(fields, truth[2:4]), stat)))
        self.assertEqual([size.pid for size in sizes], list(pids))
        return self.some(sizes)

    def compare(self, size, shmem):
        """Compare all of a report with what /proc says of the process."""
        truth = size.truth
        maps = [mapping(MAP.fullmatch(line))
                for line in truth.maps.splitlines()
                if '[vsyscall]' not in line]
        self.assertEqual(size.maps, self.some(maps))
        self.assertEqual(size.name, truth.name)
        each = [int(kb) for kb in re.findall(r'^Rss: +(\d+)', truth.smaps, re.M)]
        self.assertEqual(size.each, each[:len(maps)])
        got = dict(size.kb)
        estimate = got.pop('estimate', None)
        page = int(re.search(r'^KernelPageSize: +(\d+)', truth.smaps, re.M)[1])
        rollup, parts = truth.rollup, self.parts(truth.smaps, shmem)
        self.assertEqual(got, {
            'page': page, 'vmas': len(maps),
            'vsz': truth.status['VmSize'], 'rss': rollup['Rss'],
            'walked': rollup['Rss'],
            'anon': rollup['Anonymous'], 'file': parts['file'],
            'shmem': parts['shmem'], 'swap': rollup['Swap'],
            'tables': truth.status['VmPTE']})
        self.assertEqual(got['rss'], got['anon'] + got['file'] + got['shmem'])
        # Field 24 of stat is the kernel's estimate, on every kernel.
        quick = int(truth.stat[24 - 3]) * got['page']
        self.assertEqual(estimate, None if quick == got['rss'] else quick)

    @staticmethod
    def parts(smaps, shmem):
        """The kB resident of files and of shmem, told apart by the device."""
        kb = collections.Counter(file=0, shmem=0)
        for line in smaps.splitlines():
            if MAP.fullmatch(line):
                part = 'shmem' if MAP.fullmatch(line)[4] in shmem else 'file'
            elif line.startswith('Rss:'):
                kb[part] += int(line.split()[1])
            elif line.startswith('Anonymous:'):
                kb[part] -= int(line.split()[1])
        return kb

    def shmem(self):
        """Devices whose files are shared memory. The root is one of them, and
        one that is not mounted anywhere is for memory without a name."""
        mounts = self.guest.check('cat /proc/self/mountinfo')
        return {'00:01'} | {
            '%02x:%02x' % tuple(map(int, device.split(':')))
            for device, kind in re.findall(r'^\d+ \d+ (\S+) .* - (\S+)',
                                           mounts, re.M)
            if kind in ('rootfs', 'tmpfs', 'devtmpfs')}

    def cached_by_threads(self):
        """Whether threads keep what they have not yet counted to themselves, as
        they did before 6.2; since then processors do."""
        release = self.guest.check('uname -r').split('.')
        return tuple(map(int, release[:2])) < (6, 2)

    def with_file(self, pages):
        """A file whose pages are not shmem's, as all of the root's are."""
        self.guest.check(f'''
            mkdir -p {RAMFS} && mount -t ramfs ramfs {RAMFS} &&
            dd if=/dev/zero of={RAMFS}/file bs={self.page} count={pages} \\
                2>&1''')
        self.addCleanup(self.guest.check, f'umount -l {RAMFS}')
        return f'file={RAMFS}/file'


class Lkm5(Sizes):
    """What holds in any guest."""

    paging = FIRST

    def test_states(self):
        """tells all sizes of processes in whatever state"""
        states, shmem = self.states(), self.shmem()
        del states['zombie'], states['running']
        for size in self.examine(states.values()):
            self.compare(size, shmem)

    def test_memory(self):
        """tells all sizes of processes with memory of every kind"""
        shmem, file = self.shmem(), self.with_file(30)
        processes = [self.start('memory', *what) for what in (
            ('anon=1', 'reserved=10000'), ('anon=2000', 'heap=3000000'),
            ('shared=99',), (file, 'shared=3', 'anon=7'),
            ('threads=8', file, 'shared=11'))]
        sizes = self.examine([process.pid for process in processes])
        for size in sizes:
            self.compare(size, shmem)
        kb = self.page >> 10
        self.assertGreaterEqual(sizes[2].kb['shmem'], 99 * kb)
        self.assertGreaterEqual(sizes[3].kb['file'], 29 * kb)
        self.assertGreaterEqual(sizes[1].kb['anon'], 2000 * kb)

    def test_swapped(self):
        """tells how much of a process is in swap, and counts none of it in RSS"""
        self.swap_on()
        process = self.start('memory', 'anon=40', 'swapped=500')
        size, = self.examine([process.pid])
        self.compare(size, self.shmem())
        self.assertEqual(size.kb['swap'], 500 * self.page >> 10)

    def test_sharing(self):
        """tells the same of two processes that share an address space"""
        last = int(self.guest.check('cat /proc/sys/kernel/ns_last_pid'))
        rows = [line.split() for line in
                self.start('sharing', last + 50).lines]
        pids = sorted(int(pid) for kind, pid, _ in rows if kind == 'memory')
        self.assertEqual(len(pids), 2)
        one, other = self.examine(pids)
        self.compare(one, self.shmem())
        self.assertEqual(one[2:5], other[2:5])

    def test_many(self):
        """shows each of 65,000 mappings, and how much of it is in memory"""
        size, = self.examine([self.start('memory', 'vmas=65000').pid])
        self.compare(size, self.shmem())
        self.assertGreater(size.kb['vmas'], 65000)

    def test_estimate(self):
        """tells the exact RSS beside the estimate that threads spoil"""
        process = self.start('memory', 'threads=8')
        size, = self.examine([process.pid])
        self.compare(size, self.shmem())
        self.assertIn('estimate', size.kb)
        self.assertNotEqual(size.kb['estimate'], size.kb['rss'])

    def test_ps_and_top(self):
        """VSZ is VIRT of top and vsz of ps; before 6.2 the estimate is RES"""
        pids = [self.states()['stopped'], self.start('memory').pid,
                self.start('memory', 'threads=5', 'shared=9').pid]
        joined = ','.join(map(str, pids))
        top = self.guest.check(f'top -b -n1 -p {joined}')
        ps = self.guest.check(f'ps -o pid=,vsz= -p {joined}')
        rows = map(str.split, top.splitlines())
        virt = {int(row[0]): row[4:6] for row in rows
                if row and row[0].isdigit()}
        vsz = dict(map(str.split, ps.splitlines()))
        for size in self.examine(pids):
            res = size.kb['rss']
            if self.cached_by_threads():
                res = size.kb.get('estimate', res)
            self.assertEqual(virt[size.pid], [str(size.kb['vsz']), str(res)])
            self.assertEqual(int(vsz[str(size.pid)]), size.kb['vsz'])

    def test_log(self):
        """writes to the log what /proc/lkm5 says, and knows a thread's id"""
        process = self.start('memory', 'threads=2')
        tid = int(process.lines[0].split()[1])
        size, = self.examine([process.pid])
        asked = {'vmas': 2, 'verify': 1}
        of_process = self.report('lkm5', pid=process.pid, **asked).body
        self.assertEqual(self.parsed(of_process), size[:5])
        of_thread = self.report('lkm5', pid=tid, **asked).body
        self.assertEqual(self.parsed(of_thread)[1:], size[1:5])
        self.assertEqual(self.parsed(of_thread)[0], tid)

    def test_vmas(self):
        """vmas= says how much of the mappings is shown, and changes no figure"""
        process = self.start('memory', 'anon=5')
        whole = self.parsed(self.proc('lkm5', pid=process.pid))
        self.assertGreater(len(whole[2]), 5)
        self.assertEqual(set(whole[3]), {None})
        short = self.parsed(self.proc('lkm5', pid=process.pid, vmas=0))
        self.assertEqual(short, (*whole[:2], [], [], whole[4]))
        long = self.parsed(self.proc('lkm5', pid=process.pid, vmas=2))
        self.assertEqual(long[:3] + long[4:], whole[:3] + whole[4:])
        self.assertEqual(sum(long[3]), whole[4]['rss'])

    def test_verify(self):
        """verify=1 counts huge, swapped and zero pages as the kernel does"""
        self.swap_on()
        self.guest.check('mkdir -p /run/pages')
        rows = [line.split() for line in self.start('pages', '/run/pages').lines]
        pids = {kind: int(pid) for kind, pid, *_ in rows}
        parent, child = pids['zero'], pids['cow-child']
        sizes = {size.pid: size for size in self.examine([parent, child])}
        for size in sizes.values():
            self.assertEqual(size.kb['walked'], size.kb['rss'])
            self.assertEqual(sum(size.each), size.kb['rss'])
        # Only the child's: smaps counts what an error of memory has taken away.
        smaps = [int(kb) for kb in
                 re.findall(r'^Rss: +(\d+)', sizes[child].truth.smaps, re.M)]
        # On older kernels smaps leaves out huge pages without any rights.
        for (_, _, rights), kb, rss in zip(sizes[child].maps,
                                           sizes[child].each, smaps):
            if rights[:3] != '---':
                self.assertEqual(kb, rss)

    def test_huge(self):
        """counts hugetlb pages in VSZ, and not in RSS, as the kernel does"""
        pool = '/proc/sys/vm/nr_hugepages'
        self.guest.check(f'echo 4 >{pool}; [ $(cat {pool}) = 4 ]')
        self.addCleanup(self.guest.check, f'echo 0 >{pool}')
        small, large = self.examine([self.start('memory').pid,
                                     self.start('memory', 'huge=4').pid])
        self.compare(large, self.shmem())
        kb = 4 * self.tables.span('PMD') >> 10
        self.assertEqual(large.truth.status['HugetlbPages'], kb)
        self.assertGreaterEqual(large.kb['vsz'], small.kb['vsz'] + kb)
        self.assertLess(large.kb['rss'], kb)


class Everyone(Sizes):
    """all=1: all processes."""

    paging = FIRST

    def everyone(self, body):
        """The rows, by pid; they stand in order, and add up."""
        rows = []
        for line in self.some(body[:-1]):
            match = ROW.fullmatch(line)
            self.assertTrue(match, f'not a row: {line}')
            pid, name, *sizes = match.groups()
            rows.append(Row(int(pid), name, *map(int, sizes)))
        sums = SUMS.fullmatch(body[-1])
        self.assertTrue(sums, f'not the sums: {body[-1]}')
        self.assertEqual(tuple(map(int, sums.groups())),
                         (len(rows), *map(sum, list(zip(*rows))[2:])))
        sizes = [row.rss for row in rows]
        self.assertEqual(sizes, sorted(sizes, reverse=True))
        by_pid = {row.pid: row for row in rows}
        self.assertEqual(len(by_pid), len(rows), 'the same process twice')
        return by_pid

    def test_everyone(self):
        """all=1 lists the processes that ps -e lists, with their names"""
        self.states()
        ps = 'ps -e -o pid=,ucomm='
        report = self.report('lkm5', ps, all=1)
        rows = self.everyone(report.body)
        before, after = ({int(pid): name for pid, name in
                          (line.split(None, 1) for line in text.splitlines())}
                         for text in (report.before, report.after))
        self.compared(len(before.keys() & after.keys()))
        self.assertLessEqual(before.keys() & after.keys(), rows.keys())
        self.assertEqual([rows[pid].name for pid in
                          rows.keys() - (before.keys() | after.keys())], ['insmod'])
        # Of a kernel's thread ps also says what it works on.
        for pid in before.keys() & after.keys():
            if rows[pid].vsz and before[pid] == after[pid]:
                self.assertEqual(rows[pid].name, before[pid].rstrip())
        # Those of the same size stand as in the list.
        listed = [int(line.split()[1]) for line in self.proc('lkm1')[:-1]]
        both = [pid for pid in rows if pid in listed]
        self.compared(len(both))
        self.assertEqual(both, sorted(both, key=lambda pid: (-rows[pid].rss,
                                                             listed.index(pid))))

    def test_exact(self):
        """all=1 tells the sizes that smaps_rollup counts, in whatever state"""
        self.swap_on()
        states = self.states()
        zombie, _ = states.pop('zombie'), states.pop('running')
        pids = [*states.values(),
                *(self.start('memory', *what).pid for what in (
                    ('anon=2000', 'heap=3000000'), ('threads=8', 'shared=11'),
                    ('allocators=4',), ('anon=40', 'swapped=500')))]
        rows = self.everyone(self.proc('lkm5', all=1))
        for size in self.examine(pids):
            rollup = size.truth.rollup
            self.assertEqual(rows[size.pid], (
                size.pid, size.truth.name, size.truth.status['VmSize'],
                rollup['Rss'], rollup['Swap']))
        self.assertEqual(rows[pids[-1]].swap, 500 * self.page >> 10)
        # A zombie, and kthreadd.
        self.assertEqual([rows[pid][2:] for pid in (zombie, 2)], 2 * [(0, 0, 0)])

    def test_sharing(self):
        """all=1 tells the same of all that share an address space"""
        last = int(self.guest.check('cat /proc/sys/kernel/ns_last_pid'))
        fixture = [line.split() for line in self.start('sharing', last + 50).lines]
        pids = sorted(int(pid) for kind, pid, _ in fixture if kind == 'memory')
        rows = self.everyone(self.proc('lkm5', all=1))
        one, _ = self.examine(pids)
        for pid in pids:
            self.assertEqual(rows[pid][2:4],
                             (one.truth.status['VmSize'], one.truth.rollup['Rss']))

    def test_namespace(self):
        """all=1 shows a reader the processes of his pid namespace, by its pids"""
        output = self.guest.check(f'''
            {INSMOD} lkm5.ko log=0 all=1
            unshare --fork --pid dash -c 'cat /proc/lkm5; true'
            {RMMOD} lkm5''')
        rows = self.everyone(output.splitlines())
        self.assertEqual({pid: row.name for pid, row in rows.items()},
                         {1: 'dash', 2: 'cat'})


class Four(Sizes):
    """What some processors keep to themselves."""

    paging = FIRST
    cpus = 4

    def test_allocators(self):
        """tells exactly what malloc() gave to threads on four processors"""
        pids = [self.start('memory', f'allocators={number}').pid
                for number in (1, 4, 16)]
        for number, size in zip((1, 4, 16), self.examine(pids)):
            self.compare(size, self.shmem())
            # A block is 16 kB, and half of the 256 were never freed.
            self.assertGreaterEqual(size.kb['anon'], number * (2 << 10))
            drift = abs(size.kb.get('estimate', size.kb['rss']) - size.kb['rss'])
            self.assertLessEqual(drift, self.bound(number + 1))

    def bound(self, threads):
        """How many kB the estimate may be off, in three counters: a thread
        keeps up to TASK_RSS_EVENTS_THRESH events to itself, a processor less
        than percpu_counter_batch."""
        cpus = len(self.guest.check('grep ^processor /proc/cpuinfo').splitlines())
        each = (64 * threads if self.cached_by_threads() else
                max(32, 2 * cpus) * cpus)
        return 3 * each * self.page >> 10


class High(Sizes):
    """What only some kinds of page tables have."""

    paging = HIGH

    def test_high(self):
        """shows mappings above the first 256 TB"""
        process = self.start('memory', 'high=10')
        size, = self.examine([process.pid])
        self.compare(size, self.shmem())
        self.assertTrue([vma for vma in size.maps if vma[0] >= 1 << 48])
