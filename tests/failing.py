# SPDX-License-Identifier: GPL-2.0-only
"""All five modules when memory fails: each allocation that a load or a read makes
does so once (fixtures/failing.c), be it the module loader's, /proc's or ours.

What comes of it is ENOMEM, one line in the log at most, and no report; or a whole
one, since the kernel often has another way to get memory. The processes that are
reported on stand still, so what is whole is known.
"""

import collections
import errno
import re

from suite import (ALARM, FIRST, INSMOD, KERN_ERR, RMMOD, GuestTest, module_lines,
                   words)

# All memory can fail, but for kmemleak's own: it would look no more. (Before 6.2
# that cannot be said later than here.) A task that says so of itself (make-it-fail)
# gets none at all.
CACHES = 'slub_debug=A;-,kmemleak_*'
PREPARE = '''
    [ $(cat /sys/kernel/slab/kmalloc-64/failslab) = 1 ] &&
    [ $(cat /sys/kernel/slab/kmemleak_object/failslab) = 0 ] || exit
    cd /sys/kernel/debug
    for each in failslab fail_page_alloc; do
        echo 0 >$each/verbose
        echo N >$each/ignore-gfp-wait
        echo Y >$each/task-filter
        echo -1 >$each/times
        echo 100 >$each/probability
    done
    echo Y >failslab/cache-filter
    echo N >fail_page_alloc/ignore-gfp-highmem
    echo 0 >fail_page_alloc/min-order'''

# What the kernel says when its loader gets no memory for a file or for code.
LOADERS_TRACE = re.compile(r'<4>\[0\] failing: vmalloc error: (?:.*\n)*?'
                           r'<4>\[0\]  </TASK>\n')
NO_MEMORY = 'no memory for the report; free some and try again'
NO_FILE = '/proc/lkm cannot be made: no memory, or the name is taken'

# What every report in the log begins with, and a line of one on all processes.
WELCOME = 'Hello, Welcome to LKM'
ROW = re.compile(r'PID: (\d+) \| (?:TID: \d+ \| )?PROCESS: [^|]+ \| '
                 r'(?:STATE: .*(?:THREADS: \d+.*|RESIDENT: .+)|IN USE = .*(?:intact|unknown)|'
                 r'VSZ: \d+ kB \| RSS: \d+ kB \| SWAP: \d+ kB)')

# errors, rows: lines at KERN_ERR, and at KERN_INFO or read.
Attempt = collections.namedtuple('Attempt', 'what n hit call error errors rows')


class Failing(GuestTest):
    """A guest whose memory can be made to fail."""

    paging = FIRST
    append = f'kmemleak=on slab_nomerge {CACHES}'
    needs = ('FAILSLAB', 'FAIL_PAGE_ALLOC', 'DEBUG_KMEMLEAK')
    slow = True

    pid = None

    def setUp(self):
        self.guest.check(PREPARE)
        self.addCleanup(self.no_leaks)

    @classmethod
    def tearDownClass(cls):
        """The guest is of no use to others."""
        if cls.guest.running:
            cls.guest.give_up()

    def no_leaks(self):
        """What was reported on is gone, so it is missed if anybody held it."""
        if self.guest.running:
            self.assertEqual(self.leaks(), [])

    # --- what happened ---

    def attempts(self, module, script):
        """What the fixture tells of its attempts."""
        output = self.guest.check(f'{script} || exit\ndmesg -C')
        found = []
        for text in re.split('^(?=attempt |again )', output, flags=re.M)[1:]:
            head, *lines = text.splitlines(keepends=True)
            what, n, hit, call, error = head.split()
            read = [line[2:-1] for line in lines if line.startswith('| ')]
            log = ''.join(line for line in lines if not line.startswith('| '))
            said = self.said(module, log)
            found.append(Attempt(
                what, int(n), int(hit), call, int(error),
                [text for level, text in said if level == KERN_ERR],
                [text for level, text in said if level != KERN_ERR] + read))
        return found

    def said(self, module, log):
        """The lines of a module. Of others none may complain but the loader."""
        rest = LOADERS_TRACE.sub('', log)
        self.assertNotIn(f'[{module}]', log)
        self.assertEqual([line for line in rest.splitlines() if ALARM.search(line)
                          and f'] {module}: ' not in line], [])
        return module_lines(rest, module)

    # --- what should have happened ---

    def fail_each(self, module, script, whole):
        """Have each allocation fail; whole(rows, what they are when none fails).
        Returns the different lines that we have said so with."""
        *attempts, last = self.attempts(module, script)
        self.assertEqual(last, ('attempt', last.n, 0, 'none', 0, [], last.rows))
        failed = [each.n for each in attempts if each.what == 'attempt' and each.hit]
        self.assertEqual({*failed}, {*range(1, last.n)})
        for each in [*attempts, last]:
            self.judge(each)
            if each.call in ('none', 'read'):
                whole(each.rows, last.rows)
        errors = [text for each in attempts for text in each.errors]
        self.did('allocations failed', len(failed))
        self.did('allocations failed: no report, and we say so', len(errors))
        return {text.replace(module, 'lkm') for text in errors}

    def judge(self, attempt):
        """Whether an attempt may have ended so, whatever was read."""
        self.assertIn(attempt.error, (0, errno.ENOMEM))
        if attempt.what == 'again':
            self.assertEqual(attempt.error, 0, attempt)
        if attempt.call in ('none', 'read'):
            self.assertEqual(attempt.errors, [], attempt)
            return
        self.assertEqual(attempt.rows, [])
        self.assertLessEqual(len(attempt.errors), 1, attempt)

    def same(self, rows, wanted):
        """A report on what stands still."""
        self.assertGreater(len(rows), 1)
        self.assertEqual(rows, wanted)

    def alike(self, rows, wanted):
        """One on all processes, some of which do not."""
        if rows[0] == WELCOME:
            self.assertEqual((rows[0], rows[-2:]), (wanted[0], wanted[-2:]))
            rows, wanted = rows[1:-2], wanted[1:-2]
        *rows, last = rows
        if last.startswith('PROCESSES'):
            # Of threads, where they are shown.
            numbers = re.findall(r'(?:PROCESSES|THREADS): (\d+)', last)
            self.assertEqual(int(numbers[-1]), len(rows))
        elif last.startswith('MAX HEAP'):
            heaps = {re.search(r'HEAP: (\w+ \(\d+ kB\))', row)[1] for row in rows}
            self.assertIn(last.rpartition('= ')[2], heaps)
        else:
            # Who reads runs, so nothing is known of him, and he is the last.
            self.assertRegex(last, 'PROCESS: failing .* unknown')
        self.assertEqual([row for row in rows if not ROW.fullmatch(row)], [])
        steady = f'PID: {self.pid} |'
        self.assertEqual([row for row in rows if row.startswith(steady)],
                         self.some(row for row in wanted if row.startswith(steady)))


class Loads(Failing):
    """insmod."""

    def load(self, whole, module, **parameters):
        """Have each allocation of a load fail."""
        with self.subTest(module):
            return self.fail_each(module, 'fixtures/failing once 1 load '
                                  f'{words(module, **parameters)}', whole)

    def test_load(self):
        """loads wholly or not at all, whichever allocation fails, and then loads"""
        self.pid = pid = self.start('memory', 'threads=2', 'anon=20').pid
        said = [self.load(self.alike, 'lkm1', threads=1),
                self.load(self.alike, 'lkm2', resident=1),
                self.load(self.alike, 'lkm3', all=1),
                self.load(self.same, 'lkm4', pid=pid, address=0, length='0x600000'),
                self.load(self.same, 'lkm5', pid=pid, vmas=2, verify=1),
                self.load(self.alike, 'lkm5', all=1)]
        self.assertEqual(set().union(*filter(None, said)), {NO_MEMORY, NO_FILE})


class Reads(Failing):
    """/proc/lkmN."""

    def read(self, whole, module, **parameters):
        """Have each allocation of a read fail: alone, while little by little is
        read, and with all that come after it, while all is read at once."""
        for how in ('once', 100), ('on', 100000):
            with self.subTest((module, parameters, *how)):
                said = self.fail_each(module, f"""
                    {INSMOD} {words(module, log=0, **parameters)} || exit
                    fixtures/failing {how[0]} 3 read /proc/{module} {how[1]} &&
                    {RMMOD} {module}""", whole)
                self.assertEqual(said, {NO_MEMORY})

    def test_read(self):
        """gives a whole report or ENOMEM, whichever allocation fails"""
        # So that the lists take more than kmalloc() likes to give in one piece.
        self.pid = self.start('memory', 'threads=600').pid
        self.read(self.alike, 'lkm1', threads=1)
        self.read(self.alike, 'lkm2', resident=1)
        self.read(self.alike, 'lkm3', all=1)
        pid, address = self.mapped()
        self.read(self.same, 'lkm3', pid=pid)
        self.read(self.same, 'lkm3', pid=pid, trace=1)
        self.read(self.same, 'lkm4', pid=pid, address=address)
        self.read(self.same, 'lkm4', pid=pid, address=0, length='0x7fff00000000')
        self.read(self.same, 'lkm4', phys=self.physical(pid, address))
        self.read(self.same, 'lkm5', pid=pid, vmas=2, verify=1)
        self.read(self.alike, 'lkm5', all=1)

    def mapped(self):
        """A process, and an address where it maps a file whose name takes more
        than seq_file has room for at first."""
        path = '/run/' + 5 * ('\1' * 240 + '/')
        self.guest.check(f"mkdir -p '{path}' && echo >'{path}file'")
        self.addCleanup(self.guest.check, 'rm -r /run/\1*')
        pid = self.start('memory', 'vmas=300', f'file={path}file').pid
        start = self.guest.check(f"sed -n 's,-.* /run/.*,,p' /proc/{pid}/maps")
        return pid, f'0x{start.strip()}'

    def physical(self, pid, address):
        """The physical address of a virtual one."""
        lines = self.proc('lkm4', pid=pid, address=address, vmas=0)
        return '0x' + next(re.search('physical address (.+)', line)[1] for line in
                           lines if ' maps to physical address ' in line)
