# SPDX-License-Identifier: GPL-2.0-only
"""The base of all tests: what is done in a guest, and what no test may leave.

A test file mirrors a source: tests/lkm4.py tests lkm4.c. Its classes derive
from GuestTest; each test method is run in a guest of each kind of page tables
that its class asks for. The docstring's first line, or else the method's name,
is the test's title.
"""

import collections
import errno
import os
import re
import secrets
import shlex
import unittest

from entries import ARCHITECTURES
import grammar
from guest import ALARM

TAINT_ALLOWED = 4096 | 8192     # O: out of tree, E: unsigned
# A report of KCSAN's, and a call from our code in it.
RACE = re.compile(r'^.*BUG: KCSAN: (?:.*\n)*?.*={40}\n', re.M)
OUR_FRAME = re.compile(r' \[(lkm\d|planted)\]$', re.M)
RECORD = re.compile(r'<(\d+)>\[ *[\d.]+\] (.*)')
KERN_ERR, KERN_INFO = 3, 6

# What the module loader says under a module's name, once in a guest's life.
LOADERS_WORDS = ('loading out-of-tree module taints kernel.',
                 'module verification failed: ')

# insmod has words of its own for some errors, meant for other causes.
INSMOD_SAYS = {errno.EINVAL: 'Invalid parameters',
               errno.ENOENT: 'Unknown symbol in module',
               errno.ENOEXEC: 'Invalid module format',
               errno.ESRCH: 'Module has wrong symbol version'}

# Make file descriptor 5 a pipe that nobody reads any more.
CLOSED_PIPE = ('rm -f /run/pipe; mkfifo /run/pipe; '
               'exec 4<>/run/pipe 5>/run/pipe 4<&-')

# kmod and the real dmesg take many times as long to start as these, under
# emulation; they are for tests of what people see of them.
INSMOD = 'fixtures/insmod'
RMMOD = 'busybox rmmod'
DMESG = 'busybox dmesg -r'

# A guest that was just booted is made quick. Nobody waits long for a grace
# period, as each rmmod does; and programs lie where they lay before, so that an
# emulator finds what it has translated (`held` gives fixtures random addresses).
QUICK = '''
echo 1 >/sys/kernel/rcu_expedited
echo 0 >/proc/sys/kernel/randomize_va_space
'''

# What tests change, and must put back for those that come after them.
FACTS = '''
cd /proc/sys
grep -H . kernel/randomize_va_space vm/overcommit_memory vm/nr_hugepages \
    kernel/modules_disabled kernel/dmesg_restrict kernel/printk
grep -H Cpus_allowed: /proc/1/status
cut -d ' ' -f 1-4 /proc/mounts
cat /proc/swaps /sys/kernel/mm/transparent_hugepage/enabled
'''

# Swap, of a type that is not 0.
SWAP_ON = '''
modprobe zram num_devices=2
for n in 0 1; do
    echo 64M >/sys/block/zram$n/disksize
    mkswap /dev/zram$n && swapon /dev/zram$n || exit
done
swapoff /dev/zram0
'''
SWAP_OFF = 'swapoff /dev/zram1 && rmmod zram'

# So many free pages of hugetlb of each size but 1 GB, which only the kernel's command line
# can get for sure.
HUGETLB = '''
for size in /sys/kernel/mm/hugepages/*; do
    [ $size = ${{size%-1048576kB}} ] || continue
    echo {0} >$size/nr_hugepages
    [ $(cat $size/free_hugepages) = {0} ] || exit
done
'''
RESERVE, UNRESERVE = HUGETLB.format(2), HUGETLB.format(0)

# `objects NAME [LIMIT]`: how many of something the kernel has. In a cache that was
# shrunk none lies ready; but tasks and address spaces that have ended go when the
# grace period ends, or somebody's last look at them. So there may be more than the
# limit for a while, not for ever.
OBJECTS = '''
objects() {
    for look in $(seq 20); do
        echo 1 >/sys/kernel/slab/$1/shrink
        read -r number _ </sys/kernel/slab/$1/objects
        [ $number -le ${2:-$number} ] && break
        sleep 0.5
    done
    echo $number
}
'''

# Newer kernels sample which memory is in use, and lock a page for so long: a huge
# one with small entries is found locked at each tenth look.
UNSAMPLED = '''
sampler=/sys/module/damon_stat/parameters/enabled
[ ! -e $sampler ] || echo N >$sampler
'''

# In which of a kernel's guests a class runs: that with the first kind of page
# tables it has, each, or those whose tables reach above the first 256 TB.
FIRST, EACH, HIGH = 'first', 'each', 'high'

# The kinds of pages that not every kernel has: those that take an option of its
# build, and those that its headers (for user space) know under a name.
BUILT_WITH = {
    'TRANSPARENT_HUGEPAGE': {'thp', 'none-thp', 'huge-zero', 'thp-split',
                             'thp-shmem'},
    'MEMORY_FAILURE': {'poisoned'},
    'HAVE_ARCH_USERFAULTFD_WP': {'uffd-wp'},
    'PTE_MARKER_UFFD_WP': {'uffd-marker'}}
KNOWN_AS = {
    ('asm-generic/mman-common.h', 'MADV_GUARD_INSTALL'): {'guard'},
    ('linux/userfaultfd.h', 'UFFDIO_POISON'): {'uffd-poison'}}

Process = collections.namedtuple('Process', 'pid lines')


class Report(collections.namedtuple('Report', 'lines farewell before after')):
    """What a module printed when loaded and when removed, and what the
    command `around` said just before and just after the report was made."""

    @property
    def body(self):
        """The lines between the welcome and the closing line."""
        return self.lines[1:-1]


class Log:
    """What goes wrong in a guest between two looks at its kernel."""

    def __init__(self, guest):
        self.guest = guest
        self.begin()

    def begin(self):
        """Take a guest that was just booted as it is."""
        self.mark = None
        self.taint = TAINT_ALLOWED
        self.guest.check(QUICK)
        self.facts = self.guest.run(FACTS).output
        self.complaints()

    def as_booted(self):
        """Whether what tests change now and then is as it was at first."""
        return self.guest.run(FACTS).output == self.facts

    def complaints(self):
        """What happened since the last look that may not happen."""
        last, self.mark = self.mark, f'canary {secrets.token_hex(8)}'
        output = self.guest.check(f'''
            cd /sys/module
            set -- lkm[0-9]*
            [ -d "$1" ] || shift
            cat /proc/sys/kernel/tainted
            echo "$*"
            [ $# = 0 ] || {RMMOD} "$@"
            {DMESG}
            echo {self.mark} >/dev/kmsg''')
        taint, loaded, log = output.split('\n', 2)
        new_taint = int(taint) & ~self.taint
        self.taint |= int(taint)
        if last is None:
            return []
        # All of the log, when so much was logged that the mark is gone.
        found = [line for line in own_races(log.rpartition(last)[2]).splitlines()
                 if self._alarming(line)]
        if new_taint:
            found.append(f'the kernel became tainted: {new_taint}')
        if loaded:
            found.append(f'still loaded: {loaded}')
        return found

    @staticmethod
    def _alarming(line):
        # A module's report holds names of processes, which may be anything.
        record = RECORD.fullmatch(line)
        text = record[2] if record else line
        return ALARM.search(text) and not re.match(r'lkm\d: ', text)


def own_races(log):
    """A log without those data races that no module of ours has a part in."""
    return RACE.sub(lambda race: race[0] if OUR_FRAME.search(race[0]) else '', log)


def words(module, **parameters):
    """The arguments of insmod."""
    values = [f'{name}={value}' for name, value in parameters.items()]
    return ' '.join(map(shlex.quote, [f'{module}.ko', *values]))


def module_lines(log, module):
    """(level, text) of what a module itself wrote into the log."""
    records = filter(None, map(RECORD.fullmatch, log.splitlines()))
    return [(int(level) & 7, text[len(module) + 2:])
            for level, text in (record.groups() for record in records)
            if text.startswith(f'{module}: ')
            and not text[len(module) + 2:].startswith(LOADERS_WORDS)]


class GuestTest(unittest.TestCase):
    """A test in a guest, which the runner gives to the class."""

    paging = EACH                       # in which guests it runs
    memory = '1G'
    cpus = 1                            # more only where it matters
    slow = False                        # to be started before the others
    dear = False                        # only on the first of several kernels
    first_kernel = False                # only on the first of the list, named or not
    append = ''                         # for the kernel's command line
    console_rate = 0                    # bytes a second; 0: as fast as can be
    needs = ()                          # what the kernel is to be built with

    guest = None
    log = None
    long = False                        # whether there is time for long storms
    comparisons = 0
    figures = {}

    def run(self, result=None):
        """Run in a living guest, and look at what the test left behind."""
        self.comparisons = 0
        self.figures = {}
        if not self.guest.running:
            self.guest.boot()
            self.log.begin()
        self.addCleanup(self._aftermath)
        return super().run(result)

    def _aftermath(self):
        complaints = self.log.complaints() if self.guest.running else []
        self.did('splats', len(complaints))
        if complaints:
            self.fail('\n'.join(['the test left behind:', *complaints]))

    # --- what the guest is ---

    @property
    def page(self):
        """The size of the smallest page."""
        if not hasattr(self.guest, 'page'):
            line = self.guest.check('grep -m 1 ^KernelPageSize /proc/1/smaps')
            self.guest.page = int(line.split()[1]) << 10
        return self.guest.page

    @property
    def tables(self):
        """What the guest's page tables look like."""
        kind = ARCHITECTURES[self.guest.kernel.arch]
        return kind(self.page, self.guest.paging)

    @property
    def absent(self):
        """The kinds of pages that this guest's kernel cannot have."""
        kernel = self.guest.kernel
        absent = set().union(*(kinds for option, kinds in BUILT_WITH.items()
                               if not kernel.has(option)),
                             *(kinds for words, kinds in KNOWN_AS.items()
                               if not kernel.knows(*words)))
        if self.tables.levels < 5:
            absent.add('untouched-p4d')
        return absent if self.tables.end > 1 << 50 else absent | {'high'}

    def reserve(self):
        """Pages of hugetlb, until the test ends."""
        self.guest.check(RESERVE)
        self.addCleanup(self.guest.check, UNRESERVE)

    def swap_on(self):
        """Swap, until the test ends."""
        self.guest.check(SWAP_ON)
        self.addCleanup(self.guest.check, SWAP_OFF)

    def leaks(self):
        """What memory nothing points to any more, on a kernel that looks: a
        description of each piece. It takes two looks, and a piece has to be
        five seconds old."""
        output = self.guest.check('''
            cd /sys/kernel/debug || exit
            sleep 6
            # A kernel that looks no more says so here, and nowhere else.
            echo scan >kmemleak && echo scan >kmemleak || exit
            cat kmemleak''')
        return re.findall(r'^unreferenced object (?:.*\n)(?:  .*\n)*', output, re.M)

    # --- comparisons that compare something ---

    def compared(self, number):
        """Fail when a comparison had nothing to compare."""
        if not number:
            self.fail('nothing was compared')
        self.comparisons += number

    def some(self, rows):
        """The rows, as a list; fail when there are none."""
        rows = list(rows)
        if not rows:
            self.fail('there are no rows to compare')
        return rows

    def did(self, what, times):
        """How often a test did what people want to know the number of: it is
        added up over all tests of a kernel."""
        self.figures[what] = self.figures.get(what, 0) + times

    # --- modules ---

    def report(self, module, around=':', timeout=60, **parameters):
        """Load a module, remove it, and return what it printed."""
        mark = f'canary {secrets.token_hex(8)}'
        status, output = self.guest.run(f'''
            {around}
            echo {mark}; echo {mark} >/dev/kmsg
            {INSMOD} {words(module, **parameters)} || exit
            echo {mark} >/dev/kmsg
            {around}
            echo {mark}
            {RMMOD} {module} || exit
            {DMESG}''', timeout)
        if status:
            self.fail(f'{words(module, **parameters)}: {output}')
        before, after, log = output.split(f'{mark}\n', 2)
        self.did('reports', 1)
        if log.count(mark) != 2:
            self.fail('the report drove its own beginning out of the log')
        _, loaded, removed = log.split(mark)
        return Report(self._informed(loaded, module),
                      self._informed(removed, module), before, after)

    def _informed(self, log, module):
        """A module's lines, which must all be at KERN_INFO."""
        lines = module_lines(log, module)
        if any(level != KERN_INFO for level, _ in lines):
            self.fail(f'not all at KERN_INFO: {lines}')
        if not lines:
            self.fail(f'{module} printed nothing')
        return self.formed([text for _, text in lines], module, 'The frame')

    def formed(self, lines, *sections):
        """The lines; fail when docs/reports.md has no form for one of them."""
        strange = grammar.unknown(lines, *sections)
        if strange:
            self.fail(f'docs/reports.md has no form for: {strange[:3]}')
        return lines

    def proc(self, module, **parameters):
        """Load a module and return the lines of one read of its file."""
        parameters = {'log': 0, **parameters}
        status, output = self.guest.run(f'''
            {INSMOD} {words(module, **parameters)} || exit
            cat /proc/{module}
            status=$?
            {RMMOD} {module} && exit $status''')
        if status:
            self.fail(f'{words(module, **parameters)}: {output}')
        self.did('reports', 2)
        return self.formed(self.some(output.splitlines()), module)

    def insmod_fails(self, module, error, **parameters):
        """Fail to load a module, with an errno; the one line it logged."""
        mark = f'canary {secrets.token_hex(8)}'
        status, output = self.guest.run(f'''
            echo {mark} >/dev/kmsg
            insmod {words(module, **parameters)} && exit 100
            {DMESG} | sed -n '/{mark}/,$p'
            ! grep '^{module} ' /proc/modules''')
        if status:
            self.fail(f'insmod {words(module, **parameters)} went well')
        said = INSMOD_SAYS.get(error, os.strerror(error))
        self.assertIn(f'could not insert module {module}.ko: {said}', output)
        lines = module_lines(output, module)
        if [level for level, _ in lines] != [KERN_ERR]:
            self.fail(f'not one line at KERN_ERR: {lines}')
        return self.formed([lines[0][1]], 'Refusals')[0]

    # --- the kernel's own files ---

    def read_words(self, path, numbers):
        """{number: the 64-bit word of a file that has it}: of /proc/kpageflags,
        of /proc/PID/pagemap. Neighbours are asked for together, since a long
        command takes long to arrive."""
        numbers = sorted(set(numbers))
        if not numbers:
            return {}
        edges = [0, *(i for i in range(1, len(numbers))
                      if numbers[i] != numbers[i - 1] + 1), len(numbers)]
        spans = ' '.join(f'{numbers[start]}-{numbers[end - 1]}'
                         for start, end in zip(edges, edges[1:]))
        found = self.guest.check(f'fixtures/words {path} {spans}').split()
        return {number: int(word, 16)
                for number, word in zip(numbers, found, strict=True)}

    # --- processes that stand still ---

    def start(self, fixture, *arguments, keep=False, timeout=60):
        """Start a fixture; wait until it stops itself with SIGSTOP. It is
        killed when the test ends, unless it is to be kept for others."""
        command = shlex.join(['fixtures/held', 'start', f'fixtures/{fixture}',
                              *map(str, arguments)])
        status, output = self.guest.run(command, timeout)
        if status:
            self.fail(f'the fixture ended instead of stopping: {output}')
        pid, *lines = output.splitlines()
        if not keep:
            self.addCleanup(self._kill, pid)
        return Process(int(pid), lines)

    def states(self):
        """{kind: pid} of processes that stand still."""
        states = dict(map(str.split, self.start('states').lines))
        return {kind: int(pid) for kind, pid in states.items()}

    def _kill(self, pid):
        if self.guest.running:
            self.guest.check(f'fixtures/held end {pid}')


def _counting(name):
    assertion = getattr(unittest.TestCase, name)

    def counted(self, *args, **kwargs):
        self.comparisons += 1
        return assertion(self, *args, **kwargs)
    return counted


# A test that asserts nothing proves nothing: the runner looks at the count.
for _name in dir(unittest.TestCase):
    if _name.startswith('assert'):
        setattr(GuestTest, _name, _counting(_name))
