# SPDX-License-Identifier: GPL-2.0-only
"""What is raced against what, and how far ahead the suite is to be."""

import collections

# A question, and the ways to have it answered.
#
# unit: what it is about so many of, at each of the sizes; the goals hold at the
#	size `at`. subject: what is started, and stands still, meanwhile. counted: says
#	how many there really are. module: what is resident, with its parameters.
# ways: {name: Way}, the suite's own first. same: which of them print the same, of
#	the smallest size, among the lines that have a word.
# parts: {what is told apart: (ways that do it, ways that do all else that these do)}.
#
# In commands {pid} is the subject's; {start}, {end} and {length} its largest mapping.
Race = collections.namedtuple(
    'Race', 'title unit sizes at subject counted module ways goals same parts',
    defaults=((), (), {}))

# A command, and what is done, and not measured, before and after it.
Way = collections.namedtuple('Way', 'command before after', defaults=('', ''))

# The way must be so many times as fast as the other, by instructions: least; or,
# from the kernel on that has 6.12's quicker pagemap, newer. By time: least_time.
# floor: the way that does only what cannot be left out.
Goal = collections.namedtuple('Goal', 'way against least newer least_time floor',
                              defaults=(None, None, None))

PEERS = 'fixtures/peers'
RMMOD = 'busybox rmmod'
INSMOD = 'fixtures/insmod'


def alone(command, module):
    """A way that loads the module itself, where another is resident."""
    name = module.split('.')[0]
    return Way(command, f'{RMMOD} {name}', f'{RMMOD} {name}; {INSMOD} {module}')


def floor(parameters):
    """A way that does only what cannot be left out."""
    return Way(f'{PEERS} open /proc/floor', f'{INSMOD} floor.ko {parameters}',
               f'{RMMOD} floor')


def with_vmas(value, command):
    """A way for which lkm5 is to list the mappings, or not to."""
    return Way(command, f'echo {value} >/sys/module/lkm5/parameters/vmas')


# --- pages -------------------------------------------------------------------

LKM4 = 'read /proc/lkm4'
PAGEMAP = 'pagemap'
ONE = 'one pread() and one printf() a page'
BULK = 'bulk pread() and lines by hand'
RUNS = 'bulk pread() and runs by hand'
SCAN = 'PAGEMAP_SCAN, which tells no frames'
WALK = 'the bare walk'
RANGE = '{pid} {start:#x} {end:#x}'
RANGE_OF = 'lkm4.ko log=0 vmas=0 pid={pid} address={start:#x} length={length:#x}'
PAGE_WAYS = {
    LKM4: Way(f'{PEERS} read /proc/lkm4'),
    PAGEMAP: Way(f'./pagemap {RANGE}'),
    ONE: Way(f'{PEERS} one {RANGE}'),
    BULK: Way(f'{PEERS} bulk {RANGE}'),
    RUNS: Way(f'{PEERS} runs {RANGE}'),
    SCAN: Way(f'{PEERS} scan {RANGE}'),
    WALK: floor('of=pages pid={pid} start={start:#x} end={end:#x}')}
PAGES = (1 << 8, 1 << 12, 1 << 15, 1 << 18)
SAME_PAGES = ((('0x',), (PAGEMAP, ONE, BULK)), (('VA',), (LKM4, RUNS)))

# --- one address -------------------------------------------------------------

CALLS = 10000
ASK = 'write address=, read /proc/lkm4'
ENTRY = 'open, pread() and close /proc/PID/pagemap'
VERSION = 'write address=, read /proc/version'

# --- mappings ----------------------------------------------------------------

LKM5 = 'cat /proc/lkm5'
MAPS = 'cat /proc/PID/maps'
PMAP = 'pmap PID'
PMAP_X = 'pmap -x PID'

# --- processes ---------------------------------------------------------------

LKM1 = 'cat /proc/lkm1'
OPEN1 = 'open and close /proc/lkm1'
DRAIN1 = 'read /proc/lkm1 and drop it'
LOAD1 = 'insmod lkm1'
SILENT1 = 'insmod lkm1 log=0'
PS = 'ps -eo pid,comm,stat'
BUSYBOX = 'busybox ps'
STAT = 'a C loop over /proc/PID/stat'
STATUS = 'a C loop over /proc/PID/status'
NOTHING = 'a program that does next to nothing'
ALL5 = 'cat /proc/lkm5 with all=1'
OPEN5 = 'open and close /proc/lkm5'
PS5 = 'ps -eo pid,vsz,rss'
STATM = 'a C loop over /proc/PID/statm'

COUNT_PROCESSES = 'ls /proc | grep -c ^[0-9]'

RACES = {
    'rows': Race(
        'translate memory that lies in rows', 'page', PAGES, PAGES[-1],
        'fixtures/memory anon={n}', '', RANGE_OF, PAGE_WAYS,
        (Goal(LKM4, RUNS, 3, least_time=10, floor=WALK),
         Goal(LKM4, ONE, 500, newer=70),
         Goal(PAGEMAP, ONE, 100, newer=20)), SAME_PAGES),
    'scattered': Race(
        'translate memory of which each page is a run of its own', 'page',
        PAGES, PAGES[-1], 'fixtures/memory scattered={n}', '', RANGE_OF, PAGE_WAYS,
        (Goal(LKM4, RUNS, 1, floor=WALK),), SAME_PAGES),
    'address': Race(
        'translate one address, again and again', 'call', (CALLS,), CALLS,
        'fixtures/memory anon=256', '', 'lkm4.ko log=0 vmas=0 pid={pid}',
        {ASK: Way(f'{PEERS} ask {{start:#x}} {{n}} /proc/lkm4'),
         ENTRY: Way(f'{PEERS} entry {{pid}} {{start:#x}} {{n}}'),
         VERSION: Way(f'{PEERS} ask {{start:#x}} {{n}} /proc/version')},
        (Goal(ASK, ENTRY, 2, floor=VERSION),)),
    'once': Race(
        'translate one address, once', 'call', (1,), 1,
        'fixtures/memory anon=256', '', '',
        {'insmod lkm4, rmmod lkm4': Way(
            f"/usr/bin/dash -c '{INSMOD} lkm4.ko vmas=0 pid={{pid}} address={{start:#x}}; "
            f"{RMMOD} lkm4'"),
         ENTRY: Way(f'{PEERS} entry {{pid}} {{start:#x}} 1'),
         NOTHING: Way(f'{PEERS} open /dev/null')}, ()),
    'vmas': Race(
        'the size of a process', 'VMA', (10, 65, 650, 6500, 65000), 65000,
        'fixtures/memory vmas={n}', 'wc -l </proc/{pid}/maps', 'lkm5.ko log=0 pid={pid}',
        {LKM5: with_vmas(1, '/usr/bin/busybox cat /proc/lkm5'),
         'cat /proc/lkm5 with vmas=0': with_vmas(0, '/usr/bin/busybox cat /proc/lkm5'),
         MAPS: Way('/usr/bin/busybox cat /proc/{pid}/maps'),
         'cat /proc/PID/smaps_rollup': Way('/usr/bin/busybox cat /proc/{pid}/smaps_rollup'),
         'ps -o vsz,rss PID': Way('/usr/bin/ps -o vsz,rss {pid}'),
         PMAP: Way('/usr/bin/pmap {pid}'),
         PMAP_X: Way('/usr/bin/pmap -x {pid}')},
        (Goal(LKM5, MAPS, 1.3), Goal(LKM5, PMAP, 8), Goal(LKM5, PMAP_X, 50))),
    'list': Race(
        'list processes', 'process', (100, 1000, 10000, 30000), 10000,
        'fixtures/many {n}', COUNT_PROCESSES, 'lkm1.ko log=0',
        {LKM1: Way('/usr/bin/busybox cat /proc/lkm1'),
         OPEN1: Way(f'{PEERS} open /proc/lkm1'),
         DRAIN1: Way(f'{PEERS} drain /proc/lkm1'),
         LOAD1: alone('/usr/bin/insmod lkm1.ko', 'lkm1.ko log=0'),
         SILENT1: alone('/usr/bin/insmod lkm1.ko log=0', 'lkm1.ko log=0'),
         PS: Way('/usr/bin/ps -eo pid,comm,stat'),
         BUSYBOX: Way('/usr/bin/busybox ps'),
         STAT: Way(f'{PEERS} each stat'),
         STATUS: Way(f'{PEERS} each status'),
         NOTHING: Way(f'{PEERS} open /dev/null'),
         WALK: floor('of=tasks')},
        (Goal(LKM1, PS, 100, floor=WALK), Goal(LKM1, BUSYBOX, 20, floor=WALK),
         Goal(LKM1, STAT, 25, floor=WALK),
         Goal(LOAD1, STAT, 2.5, floor=SILENT1), Goal(LOAD1, PS, 15, floor=SILENT1)),
        parts={'walk under RCU, at most': ((OPEN1,), (NOTHING,)),
               'format, and copy to the reader': ((DRAIN1,), (OPEN1,)),
               'print to the log, with what it formats': ((LOAD1, NOTHING),
                                                          (SILENT1, OPEN1))}),
    'sizes': Race(
        'the sizes of all processes', 'process', (100, 1000, 10000), 10000,
        'fixtures/many {n}', COUNT_PROCESSES, 'lkm5.ko log=0 all=1',
        {ALL5: Way('/usr/bin/busybox cat /proc/lkm5'),
         OPEN5: Way(f'{PEERS} open /proc/lkm5'),
         PS5: Way('/usr/bin/ps -eo pid,vsz,rss'),
         STATM: Way(f'{PEERS} each statm'),
         WALK: floor('of=sizes')},
        (Goal(ALL5, PS5, 50, floor=WALK), Goal(ALL5, STATM, 10, floor=WALK))),
}
