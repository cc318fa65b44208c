# SPDX-License-Identifier: GPL-2.0-only
"""lazy_allocation: what it prints is recomputed here from the size alone, and
compared with what lkm5 wrote into the log meanwhile (tests/lkm5.py proves that
lkm5 says the truth). Whatever happens to it, it leaves neither module nor
child behind.
"""

import collections
import re
import shlex

from suite import (CLOSED_PIPE, DMESG, FIRST, INSMOD, RMMOD, GuestTest,
                   module_lines)

HEADER = ('step,pid,vsz_kb,vsz_change_kb,rss_kb,rss_change_kb,'
          'expected_rss_change_kb,pss_kb,pss_change_kb,held')
STEPS = ('start', 'malloc', 'read every page', 'write quarter 1',
         'write quarter 2', 'write quarter 3', 'write quarter 4',
         'touch a huge page', 'fork: parent', 'fork: child',
         'child wrote: parent', 'child wrote: child', 'MADV_DONTNEED', 'free')
STARTS = ('start', 'fork: child')   # of each process: there is no change yet

LINE = re.compile(r'(.{19}) +(\d+) +([+-]\d+) +(\d+) +([+-]\d+) +(\d+)  '
                  r'(.{14}) (held|FAILED|-) +(.+)')
EIGHTHS = ' ▏▎▍▌▋▊▉'

Row = collections.namedtuple('Row', 'step pid vsz vsz_change rss rss_change '
                             'expected pss pss_change held')
Run = collections.namedtuple('Run', 'status table summary chart error rows log')

# What follows `PIPE` and writes into it is read until a line that begins so: what
# is done then is done at once, and not when somebody looks again.
PIPE = 'rm -f /run/lazy; mkfifo /run/lazy'
WAIT_LINE = '''
exec 8</run/lazy
while read -r text <&8; do
    echo "$text"
    case $text in "$line"*) break ;; esac
done
case $text in "$line"*) ;; *) echo "never said: $line"; exit 99 ;; esac'''

# Neither module nor process; a dead one of no parent waits for init.
NOTHING_LEFT = ('[ ! -d /sys/module/lkm5 ] && [ ! -d /sys/module/lkm4 ] && '
                '! grep -s "(lazy_allocation) [^ZX]" /proc/[0-9]*/stat')

# Tell what it still says, and end as it does; or with 100 where something is left.
END = f'''
wait $pid
status=$?
cat <&8
({NOTHING_LEFT}) || exit 100
exit $status'''


def quarter(size):
    """kB of a quarter."""
    return size * 1024 // 4


class Lazy(GuestTest):
    """How it is run, and compared; the tests are below."""

    paging = FIRST
    slow = True

    # --- running it ---

    def lazy(self, arguments='', setting='LANG=C COLUMNS=80'):
        """Run it to its end, whatever that is."""
        status, output = self.guest.run(f'''
            rm -f /tmp/csv
            echo begin of lazy >/dev/kmsg
            grep thp_fault_alloc /proc/vmstat
            echo %%
            env {setting} ./lazy_allocation --csv /tmp/csv {arguments} \\
                2>/tmp/err
            status=$?
            echo %%; cat /tmp/err
            echo %%; [ ! -e /tmp/csv ] || cat /tmp/csv
            echo %%; grep thp_fault_alloc /proc/vmstat
            echo %%; {DMESG}
            exit $status''')
        before, printed, error, csv, after, log = output.split('%%\n', 5)
        self.given = before != after
        table, _, chart = printed.partition('\n\n')
        *table, summary = table.splitlines() or ['']
        return Run(status, table, summary, chart.splitlines(), error,
                   self.rows(csv), module_lines(
                       log.rpartition('begin of lazy')[2], 'lkm5'))

    def rows(self, csv):
        """The rows of the figures, if there are any."""
        lines = csv.splitlines()
        if not lines:
            return []
        self.assertEqual(lines[0], HEADER)
        rows = [Row(*line.split(',')) for line in lines[1:]]
        return [Row(row.step, *(int(word) if word else None
                                for word in row[1:9]), row.held)
                for row in rows]

    def fails(self, cases, status=1, user='root'):
        """Scripts end with a status and one line; nothing stays loaded."""
        shell = 'sh -c' if user == 'root' else f'su {user} -s /bin/sh -c'
        output = self.guest.check('\n'.join(f'''
            {shell} {shlex.quote(script)} >/tmp/out 2>/tmp/err
            status=$?
            ({NOTHING_LEFT}) || echo left
            cat /tmp/err
            echo %% $status''' for script, _ in cases))
        answers = re.findall(r'(.*?)%% (\d+)\n', output, re.S)
        self.assertEqual(len(answers), len(self.some(cases)))
        for (script, said), (error, got) in zip(cases, answers):
            self.assertEqual(int(got), status, f'{script}: {error}')
            lines = error.splitlines()
            if status == 2:
                self.assertEqual(lines.pop(), "Try 'lazy_allocation --help'.")
            self.assertEqual(len(lines), 1, error)
            self.assertIn(said, lines[0], script)

    # --- figures ---

    @property
    def page_kb(self):
        """A page, in kB."""
        return self.page >> 10

    @property
    def huge_kb(self):
        """The huge page that was given to the last run, in kB."""
        return self.tables.span('PMD') >> 10 if self.given else 0

    def assert_held(self, summary, failed=0):
        """The summary tells of all expectations: that of the huge page is none
        where the kernel gave none."""
        count = 12 if self.given else 11
        self.assertEqual(summary, f'{count - failed} of {count} expectations '
                         'held, to the kB.')

    def expected_changes(self, size):
        """{step: (VSZ, RSS)}: the changes of a process, in kB."""
        part = (0, quarter(size))
        page, huge = self.page_kb, self.huge_kb
        return {
            'malloc': (size * 1024 + page, page), 'read every page': (0, 0),
            **{f'write quarter {n}': part for n in (1, 2, 3, 4)},
            'touch a huge page': (2 * huge, huge), 'fork: parent': (0, 0),
            'child wrote: parent': (0, 0), 'child wrote: child': (0, 0),
            'MADV_DONTNEED': (0, -size * 1024),
            'free': (-size * 1024 - page - 2 * huge, -page - huge)}

    def compare_changes(self, rows, size):
        """Compare each change with what the size makes of it."""
        self.assertEqual(tuple(row.step for row in rows), STEPS)
        last, expected = {}, self.expected_changes(size)
        for row in rows:
            old = last.get(row.pid, row)
            last[row.pid] = row
            changes = (row.vsz_change, row.rss_change)
            self.assertEqual((*changes, row.pss_change),
                             (row.vsz - old.vsz, row.rss - old.rss,
                              row.pss - old.pss), row.step)
            self.assertEqual(changes, expected.get(row.step, (0, 0)), row.step)
            if row.step in STARTS or (row.step == 'touch a huge page'
                                      and not self.huge_kb):
                self.assertEqual((row.expected, row.held), (None, '-'))
            else:
                self.assertEqual((row.expected, row.held),
                                 (expected[row.step][1], 'held'))
        self.assertEqual(len(last), 2)

    def compare_pss(self, rows, size):
        """Pss shows what is shared after fork, and that a write copies it.

        All else that the two share is the program, which was there at the
        start: it may shift so much between them.
        """
        by_step = {row.step: row for row in rows}
        slack = by_step['start'].rss
        half = size * 1024 // 2
        for step, change in (('fork: parent', -half - self.huge_kb // 2),
                             ('child wrote: parent', half),
                             ('child wrote: child', half)):
            self.assertLess(abs(by_step[step].pss_change - change), slack, step)
        for process in 'parent', 'child':
            before, after = (by_step[f'{when}: {process}']
                             for when in ('fork', 'child wrote'))
            self.assertEqual(before.rss, after.rss)

    def compare_table(self, run):
        """The table shows the same as the file."""
        self.assertEqual(run.table[0].split()[:6], [
            'kB', 'VSZ', 'change', 'RSS', 'change', 'PSS'])
        for line, row in zip(run.table[1:], self.some(run.rows)):
            match = LINE.fullmatch(line)
            self.assertTrue(match, line)
            self.assertEqual(match[1].rstrip(), row.step)
            self.assertEqual(tuple(map(int, match.group(2, 3, 4, 5, 6))),
                             (row.vsz, row.vsz_change, row.rss, row.rss_change,
                              row.pss))
            self.assertEqual(match[8], row.held)
            expected = match[7].split()
            if row.expected is None:
                self.assertIn(expected, ([], ['-'], ['none', 'given']))
            else:
                self.assertEqual(int(expected[1]), row.expected)
        self.assertEqual(len(run.table), 1 + len(run.rows))

    def compare_places(self, run):
        """The first page has no address, that of zeroes, or one of its own; the
        child has its parent's until it writes."""
        place = {line[:19].rstrip(): LINE.fullmatch(line)[9]
                 for line in run.table[1:]}
        self.assertEqual(
            [place[step] for step in ('start', 'malloc', 'MADV_DONTNEED', 'free')],
            ['-', 'not mapped', 'not mapped', 'no VMA here'])
        self.assertRegex(place['read every page'], '^[0-9a-f]+ \\| zero page$')
        for step in STEPS[3:12]:
            self.assertRegex(place[step], '^[0-9a-f]+$', step)
        self.assertEqual(place['fork: child'], place['fork: parent'])
        self.assertNotEqual(place['child wrote: child'],
                            place['child wrote: parent'])

    def compare_log(self, run):
        """Each figure is lkm5's, loaded and unloaded for it alone; once more
        for the rehearsal."""
        texts = [text for _, text in run.log]
        reports = '\n'.join(texts).split('Hello, Welcome to LKM\n')
        self.assertEqual(reports.pop(0), '')
        seen = []
        for report in reports:
            self.assertEqual(report.count('Virtual memory module removed,Bye'), 1)
            self.assertTrue(report.rstrip().endswith('Bye !!'))
            pid, name = re.match(r'PID: (\d+) \| PROCESS: (.*)', report).groups()
            self.assertEqual(name, 'lazy_allocation')
            self.assertNotIn('VM START', report)
            seen.append((int(pid), *(
                int(re.search(rf'^Total {what} = (\d+)$', report, re.M)[1])
                for what in ('VSZ', 'RSS'))))
        self.assertEqual(seen[1:], [(row.pid, row.vsz, row.rss)
                                    for row in self.some(run.rows)])
        self.assertEqual(seen[0][0], run.rows[0].pid)

    def compare_chart(self, run, width, rss, vsz):
        """A bar for each row, as long as its figures say."""
        self.assertRegex(run.chart[0], rf'^{rss} RSS +{re.escape(vsz)} VSZ')
        most = max(row.vsz for row in run.rows)
        self.assertEqual(len(run.chart), 1 + len(self.some(run.rows)))
        bars = []
        for line, row in zip(run.chart[1:], run.rows):
            self.assertLessEqual(len(line), width)
            name = line[:max(len(row.step) for row in run.rows)]
            self.assertTrue(row.step.startswith(name.strip()), line)
            bars.append(line[len(name) + 1:])
        space = max(map(len, bars))
        self.assertGreater(space, width / 2)
        for bar, row in zip(bars, run.rows):
            inked = bar.rstrip(vsz)
            self.assertEqual(inked.rstrip(EIGHTHS).strip(rss), '')
            for length, figure in ((len(inked), row.rss), (len(bar), row.vsz)):
                self.assertLessEqual(abs(length - figure * space / most), 1)


class Exact(Lazy):
    """The figures: exact, though each processor has a part of them."""

    cpus = 2

    def test_all(self):
        """all twelve expectations hold, and the figures are right"""
        can = 'thp' not in self.absent
        for _ in range(3):      # now and then the kernel does not want to
            run = self.lazy()
            if self.given or not can:
                break
        self.assertEqual(self.given, can)
        self.assertEqual((run.status, run.error), (0, ''))
        self.assert_held(run.summary)
        self.compare_changes(run.rows, 64)
        self.compare_pss(run.rows, 64)
        self.compare_table(run)
        self.compare_places(run)
        self.compare_log(run)
        self.compare_chart(run, 80, '#', '.')

    def test_size(self):
        """--size is rounded up to four pages, and the figures follow it"""
        for size, kb in (('8388600', 8 << 10),
                         ('2097153', (2 << 10) + 4 * self.page_kb)):
            run = self.lazy(f'--size {size} --step 4')
            self.assertEqual((run.status, run.error), (0, ''), size)
            malloc, read, write = run.rows[1:]
            self.assertEqual((malloc.vsz_change, malloc.rss_change),
                             (kb + self.page_kb, self.page_kb))
            self.assertEqual((read.vsz_change, read.rss_change), (0, 0))
            self.assertEqual(write.rss_change, kb // 4)
            self.assertEqual({row.held for row in run.rows}, {'-', 'held'})

    def test_no_huge_page(self):
        """where huge pages are off the step is neither held nor failed"""
        switch = '/sys/kernel/mm/transparent_hugepage/enabled'
        if 'thp' not in self.absent:
            old = re.search(r'\[(\w+)\]', self.guest.check(f'cat {switch}'))[1]
            self.guest.check(f'echo never >{switch}')
            self.addCleanup(self.guest.check, f'echo {old} >{switch}')
        run = self.lazy('--size 4M')
        self.assertFalse(self.given)
        self.assert_held(run.summary)
        self.assertEqual((run.status, run.error), (0, ''))
        self.assertEqual(run.rows[7].rss_change, 0)
        self.compare_table(run)
        self.assertIn('none given', run.table[8])
        # Where the kernel was built without them it does not tell their size.
        size = '/sys/kernel/mm/transparent_hugepage/hpage_pmd_size'
        table = self.guest.check(f"""unshare -m sh -c '
            [ ! -e {size} ] || mount --bind /dev/null {size} || exit
            ./lazy_allocation --size 1M --step 8'""")
        self.assertIn('none given', table.splitlines()[8])
        self.assertEqual([row.held for row in run.rows].count('-'), 3)

    def test_not_lazy(self):
        """an expectation that fails is told, and ends it with 1"""
        # It makes the C library write into all that malloc gives.
        run = self.lazy('--size 4M', 'LANG=C COLUMNS=80 MALLOC_PERTURB_=165')
        self.assertEqual(run.status, 1)
        changes = {row.step: row.rss_change for row in run.rows}
        self.assertEqual(changes['malloc'], 4096 + self.page_kb)
        self.assertEqual({row.step for row in run.rows if row.held == 'FAILED'},
                         {'malloc', *(f'write quarter {n}' for n in '1234')})
        self.assert_held(run.summary, failed=5)
        self.compare_table(run)
        self.assertIn(f"'malloc' is off: RSS ANON +{4096 + self.page_kb}, FILE +0, "
                      'SHMEM +0, SWAP +0 kB', run.error)
        self.assertEqual(len(run.error.splitlines()), 5)


class Program(Lazy):
    """What else it does."""

    def test_forged(self):
        """a program that writes lkm5's words into the log is not believed"""
        pid = self.guest.check('''
            while usleep 3000; do
                echo '<6>lkm5: Total RSS = 4242'
                echo '<6>lkm5: PID: 1 | PROCESS: x'
            done >/dev/kmsg 2>&1 &
            echo $!''')
        try:
            run = self.lazy('--size 4M')
        finally:
            self.guest.check(f'kill -KILL {pid}')
        self.assertEqual((run.status, run.error), (0, ''))
        self.compare_changes(run.rows, 4)

    def test_step(self):
        """--step ends it after so many steps"""
        for number, rows in ((1, 1), (9, 10)):
            run = self.lazy(f'--size 1M --step {number}')
            self.assertEqual((run.status, run.error), (0, ''))
            self.assertEqual(tuple(row.step for row in run.rows), STEPS[:rows])
            self.assertEqual(len(run.chart), 1 + rows)
            self.compare_log(run)

    # --- the chart ---

    def test_chart(self):
        """the chart fits COLUMNS, and is of blocks only in UTF-8"""
        for columns, setting, rss, vsz in (
                (200, 'LANG=de_DE.UTF-8', '█', '░'),
                (120, 'LANG=C LC_ALL=C.utf8', '█', '░'),
                (70, 'LANG=C.UTF-8 LC_CTYPE=C LC_ALL=', '#', '.'),
                (50, '', '#', '.')):
            run = self.lazy('--size 1M --step 2', f'{setting} COLUMNS={columns}')
            self.assertEqual(run.status, 0)
            self.compare_chart(run, columns, rss, vsz)
            if rss == '#':
                self.assertTrue('\n'.join(run.chart).isascii())
        run = self.lazy('--size 1M', 'LANG=C COLUMNS=30')
        self.assertEqual(len(run.chart), 15)
        self.assertLessEqual(max(map(len, run.chart)), 30)
        self.assertGreater(max(line.count('#') for line in run.chart), 5)

    def test_terminal(self):
        """on a terminal, its own width counts"""
        for columns in 60, 133:
            output = self.guest.check(
                f'LANG=C.UTF-8 COLUMNS=200 fixtures/terminal {columns} '
                './lazy_allocation --size 1M --step 4')
            chart = output.replace('\r', '').partition('\n\n')[2].splitlines()
            self.assertEqual(len(chart), 5)
            self.assertEqual(max(map(len, chart)), columns)

    # --- arguments and errors ---

    def test_arguments(self):
        """wrong arguments end it with 2, and say what would be right"""
        sizes = ('', 'x', '0', '-1', '0x100000', '1MM', '1T', '512K', '1 M',
                 '99999999999999999999', '9999999999G')
        steps = '', '0', '13', '-1', '2x', '4294967297'
        cases = [
            *((f"--size '{size}'", f"--size '{size}': a number of bytes")
              for size in sizes),
            *((f"--step '{step}'", f"--step '{step}': a number from 1 to 12")
              for step in steps),
            ('--size', 'requires an argument'),
            ('--nonsense', 'unrecognized option'),
            ('x', "argument 'x': only options are taken")]
        self.fails([(f'exec ./lazy_allocation {arguments}', said)
                    for arguments, said in cases], status=2)

    def test_help(self):
        """says how to call it, and its version"""
        text = self.guest.check('./lazy_allocation --help\n'
                                './lazy_allocation --version')
        self.assertRegex(text, r'^Usage: sudo lazy_allocation \[--size')
        for option in '--size', '--csv', '--module', '--step':
            self.assertIn(f'\n  {option}', text)
        self.assertRegex(text, r'\nlazy_allocation \d+\.\d+\n$')

    def test_too_large(self):
        """refuses a size for which there is no memory"""
        self.fails([('exec ./lazy_allocation --size 1G',
                     'are available: choose less')])

    def test_limits(self):
        """ends with 1 and a reason when it comes to a limit"""
        lazy = './lazy_allocation --size'
        self.fails([
            (f'ulimit -v 50000; exec {lazy} 64M',
             'cannot allocate --size bytes: Cannot allocate memory'),
            (f'ulimit -n 7; exec {lazy} 1M',
             'cannot make a pair of sockets: Too many open files'),
            (f'ulimit -l 0; exec setpriv --bounding-set -ipc_lock {lazy} 1M',
             'cannot lock this program into memory: ')])
        if self.guest.kernel.has('TRANSPARENT_HUGEPAGE'):
            self.fails([(f'ulimit -v 22000; exec {lazy} 16M', 'cannot map the room '
                         'for a huge page: Cannot allocate memory')])

    def test_no_fork(self):
        """ends with 1 and a reason when there may be no more processes"""
        limit = '/proc/sys/kernel/threads-max'
        # Until it is put back the shell can do only what it does itself.
        status, output = self.guest.run(f'''
            old=$(cat {limit})
            sh -c 'echo 1 >{limit}; exec ./lazy_allocation --size 1M' \\
                >/tmp/out 2>/tmp/err
            status=$?
            echo $old >{limit}
            cat /tmp/err
            ({NOTHING_LEFT}) || echo left
            exit $status''')
        self.assertEqual((status, output), (
            1, './lazy_allocation: cannot fork: Resource temporarily unavailable\n'))

    def test_child_ends(self):
        """ends with 1 and a reason when its child is killed"""
        status, output = self.guest.run(f'''
            {PIPE}
            ./lazy_allocation >/run/lazy 2>&1 &
            pid=$!; line='fork: parent'
            {WAIT_LINE}
            # It stands still before it has written all that it is told to.
            read -r child </proc/$pid/task/$pid/children
            kill -STOP $child
            line='fork: child'
            {WAIT_LINE}
            kill -KILL $child
            {END}''')
        self.assertEqual(status, 1, output)
        self.assertIn('\n./lazy_allocation: the child process ended before its time\n',
                      output)

    def test_not_root(self):
        """refuses to run for who is not root"""
        self.fails([('exec ./lazy_allocation', 'only root can load lkm5: sudo ')],
                   user='user')

    def test_loaded(self):
        """says so when a module is loaded already, and leaves it alone"""
        for module in 'lkm4', 'lkm5':
            self.guest.check(f'{INSMOD} {module}.ko pid=1 log=0')
            status, output = self.guest.run('./lazy_allocation >/tmp/out 2>&1; '
                                            's=$?; cat /tmp/out; exit $s')
            self.guest.check(f'{RMMOD} {module}')
            self.assertEqual(status, 1)
            self.assertEqual(len(output.splitlines()), 1)
            self.assertIn(f'{module} is loaded already: sudo rmmod {module}',
                          output)

    def test_module(self):
        """takes the module beside it, an installed one, or --module's"""
        self.guest.check('''
            mkdir -p /tmp/alone /tmp/other; cp lazy_allocation /tmp/alone
            cp lkm5.ko /tmp/other; gzip -c lkm5.ko >/tmp/lkm5.ko.gz''')
        alone = 'cd /; exec /tmp/alone/lazy_allocation --size 1M --step 2'
        self.fails([(alone, 'no lkm5.ko in /tmp/alone/ or below /lib/modules/')])
        for places in ('start -', 'malloc -'), ('start -', 'malloc not mapped'):
            table = self.guest.check(f'({alone} --module /tmp/other/lkm5.ko)')
            self.assertEqual(
                [(row[1].rstrip() + ' ' + row[9])
                 for row in map(LINE.fullmatch, table.splitlines()) if row],
                list(places))
            self.guest.check('cp lkm4.ko /tmp/other')
        for folder, name in (('updates', 'lkm5.ko'), ('updates/dkms', 'lkm5.ko')):
            self.guest.check(f'''
                installed=/lib/modules/$(uname -r)/{folder}
                mkdir -p $installed; cp lkm5.ko $installed/{name}
                ({alone}) || exit
                rm $installed/{name}''')
        self.compressed(alone)

    def compressed(self, command):
        """A compressed module is unpacked, whatever the kernel can."""
        installed = '/lib/modules/$(uname -r)/updates/lkm5.ko'
        self.guest.check(f'cp /tmp/lkm5.ko.gz {installed}.gz')
        self.guest.check(f'({command}); status=$?; rm {installed}.gz; exit $status')
        # There is no zstd in the guest.
        self.guest.check(f'cp /tmp/lkm5.ko.gz {installed}.zst')
        self.fails([(command, 'zstd cannot unpack /lib/modules/')])
        self.guest.check(f'rm {installed}.zst')

    def test_no_module(self):
        """refuses what is not lkm5, and leaves nothing of it loaded"""
        self.guest.check('''
            mkdir -p /tmp/half /tmp/empty
            head -c 5000 lkm5.ko >/tmp/half/lkm5.ko
            : >/tmp/empty/lkm5.ko''')
        self.fails([(f'exec ./lazy_allocation --module {path}', said)
                    for path, said in (
                        ('/no/lkm5.ko', 'cannot open the module /no/lkm5.ko'),
                        ('/etc/passwd', 'is not the module lkm5'),
                        ('/tmp', 'is not the module lkm5'),
                        ('lkm1.ko', 'lkm1.ko is not the module lkm5'),
                        ('/tmp/empty/lkm5.ko', 'cannot load /tmp/empty/lkm5.ko'),
                        ('/tmp/half/lkm5.ko', 'cannot load /tmp/half/lkm5.ko'))])
        self.guest.check('! grep "^lkm" /proc/modules')
        self.guest.check('mkdir -p /tmp/wrong; cp lkm1.ko /tmp/wrong/lkm5.ko')
        status, output = self.guest.run(f'''
            ./lazy_allocation --module /tmp/wrong/lkm5.ko 2>&1 >/dev/null
            status=$?
            {RMMOD} lkm1 && exit $status''')
        self.assertEqual((status, output), (
            1, './lazy_allocation: lkm5 was loaded, and cannot be unloaded; see '
            'lsmod: No such file or directory\n'))

    def test_output(self):
        """ends with 1 when what it prints cannot be written"""
        lazy = './lazy_allocation --size 1M --step 1'
        self.fails([
            (f'{lazy} >/dev/full', 'cannot write the output'),
            ('./lazy_allocation --help >/dev/full', 'cannot write the output'),
            (f'{CLOSED_PIPE}; {lazy} >&5',
             'cannot write the output: Broken pipe'),
            (f'{lazy} --csv /dev/full',
             'cannot write /dev/full: No space left on device'),
            (f'{lazy} --csv /nowhere/x',
             'cannot write /nowhere/x: No such file or directory')])

    # --- signals ---

    def interrupted(self, signal, line):
        """The status and output when a signal comes after a line."""
        status, output = self.guest.run(f'''
            {PIPE}
            ./lazy_allocation --size 8M >/run/lazy 2>&1 &
            pid=$!; line='{line}'
            {WAIT_LINE}
            kill -{signal} $pid
            {END}''')
        return status, output

    def test_signals(self):
        """a signal ends it at once, and no module and no child stay"""
        for signal, number, line in (
                ('HUP', 1, 'write quarter 2'), ('TERM', 15, 'fork: child'),
                ('HUP', 1, 'child wrote: parent')):
            status, output = self.interrupted(signal, line)
            self.assertEqual(status, 128 + number, output)
            self.assertIn('interrupted; no module stays loaded', output)
            self.assertNotIn('expectations', output)

    def test_signals_any_time(self):
        """a signal at any moment leaves no module and no child"""
        answers = self.guest.check(f'''
            for n in 1 2 3 4 5 6; do
                ./lazy_allocation --size 2M >/run/lazy 2>&1 &
                usleep $((n * 33000))
                kill -TERM $!
                wait $!
                echo $?
                ({NOTHING_LEFT}) || echo left
            done 2>/dev/null''').split()
        self.assertEqual(len(answers), 6)
        # 0: it had ended before, as the shell had not yet learnt.
        self.assertLessEqual(set(answers), {'143', '0'})
        self.assertIn('143', answers)

    def test_ctrl_c(self):
        """ctrl-C on the terminal ends it, too, and its child"""
        status, output = self.guest.run(f'''
            {PIPE}
            mkfifo /run/keys
            fixtures/terminal 80 ./lazy_allocation --size 8M \\
                </run/keys >/run/lazy &
            pid=$!; line='fork: child'
            exec 9>/run/keys
            rm /run/keys
            {WAIT_LINE}
            printf '\\003' >&9
            {END}''')
        self.assertEqual(status, 130, output)
        self.assertIn('interrupted; no module stays loaded', output)

    def test_ignored(self):
        """a signal that is ignored where it was started does not end it"""
        status, output = self.guest.run(f'''
            {PIPE}
            (trap '' HUP; exec ./lazy_allocation --size 8M >/run/lazy 2>&1) &
            pid=$!; line='write quarter 1'
            {WAIT_LINE}
            kill -HUP $pid
            wait $pid
            status=$?; cat <&8; exit $status''')
        self.assertEqual(status, 0, output)
        summary = re.search('^.* expectations held.*$', output, re.M)
        self.assertTrue(summary, output)
        self.given = 'none given' not in output
        self.assert_held(summary[0])

    def test_killed(self):
        """its child does not outlive it, whatever ends it"""
        self.guest.check(f'''
            {PIPE}
            ./lazy_allocation --size 8M >/run/lazy 2>&1 &
            pid=$!; line='fork: child'
            {WAIT_LINE}
            kill -KILL $pid
            wait $pid
            # It may have been killed with the module in.
            ! grep -q '^lkm5 ' /proc/modules || {RMMOD} lkm5
            for _ in $(seq 50); do
                ({NOTHING_LEFT}) && exit
                usleep 50000
            done
            exit 1''')
        self.compared(1)
