# SPDX-License-Identifier: GPL-2.0-only
"""Storms on four processors (two, where there is little time for all five modules).

lkm4 in one: a process changes its memory in every way at once, and what is said
of the pages that stay where they are must be right each time. The frames of those
pages are known from /proc/PID/pagemap, and their secrets are found there in the
guest's memory, before the storm and after it.

All five in one: processes come and go, and each report must be whole, or say why
there is none; nothing may be held afterwards.
"""

import collections
import re
import shlex

from kernel import listed
from suite import FIRST, INSMOD, OBJECTS, RMMOD, GuestTest

SECRET = 16
PRESENT = 1 << 63
FRAME = (1 << 55) - 1
KPF_HUGE, KPF_THP = 17, 22

# How long it storms, and what there must be at least: translations, those of
# whole ranges by page, and walks of one address among them; and each way of
# changing. A storm goes on for longer where it takes longer; the kernel finds out
# by itself, after two to four minutes, that somebody waits for ever.
Scale = collections.namedtuple('Scale', 'seconds translations walks times')
LONG, SHORT = Scale(60, 100000, 5000, 30), Scale(10, 16000, 100, 3)
PATIENCE = 300

# Of a storm of reports: those in the log of each module, and all; ways of changing;
# and how often each is loaded of what is dead.
Reports = collections.namedtuple('Reports', 'seconds loads reports times further')
MANY, FEW = Reports(60, 1000, 10000, 100, 200), Reports(10, 8, 100, 3, 10)
# Half of that in the log, where a kernel looks at each step of it.
DEBUG = MANY._replace(loads=500)
MODULES = ['lkm1', 'lkm2', 'lkm3', 'lkm4', 'lkm5']

Page = collections.namedtuple('Page', 'kind address secret')

# Locked pages stay for everybody but compaction, unless it is told so. khugepaged
# sleeps for seconds, gets no turn when there is a crowd, and passes over files.
PREPARE = '''
    set_to() {{
        echo "echo $(sed 's/.*\\[\\(.*\\)].*/\\1/' $2) >$2" >>/run/calm
        echo $1 >$2
    }}
    set_to 0 /proc/sys/vm/compact_unevictable_allowed
    set_to 3 /sys/kernel/mm/hugepages/hugepages-{kb}kB/nr_hugepages
    modprobe zram
    echo 256M >/sys/block/zram0/disksize
    mkswap /dev/zram0 && swapon /dev/zram0 || exit
    cd /sys/kernel/mm/transparent_hugepage || exit 0
    set_to always enabled
    set_to always shmem_enabled
    set_to 10 khugepaged/scan_sleep_millisecs
    set_to 10 khugepaged/alloc_sleep_millisecs
    set_to 4096 khugepaged/pages_to_scan
    echo "renice -n 19 -p $(pgrep khugepaged)" >>/run/calm
    renice -n 0 -p $(pgrep khugepaged)'''
CALM = '''
    swapoff /dev/zram0 && rmmod zram || exit
    cd /sys/kernel/mm/transparent_hugepage
    . /run/calm
    rm /run/calm'''

# What the kernel itself counts of what the storm is to bring about.
EVENTS = {'thp_collapse_alloc', 'thp_split_pmd', 'pswpout', 'pswpin'}
WAYS = {'collapse', 'drop', 'unmap', 'move', 'protect', 'fork', 'swap', 'hugetlb',
        'file'}


class Storm(GuestTest):
    """Four processors, and a process that has them all."""

    paging = FIRST
    cpus = 4
    slow = True

    @property
    def scale(self):
        """A minute on one kernel, the first of the list, unless it was asked for:
        time is dear."""
        first = next(iter(listed()))
        return LONG if self.long or self.guest.kernel.name == first else SHORT

    def test_storm(self):
        """pages that stay translate right while all around them changes"""
        free = self.prepare()
        process = self.start('storm', self.scale.times)
        (_, *area), *rows = map(str.split, process.lines)
        pages = [Page(kind, int(address, 16), bytes.fromhex(secret))
                 for kind, address, secret in rows]
        frames = self.frames(process.pid, pages)
        self.assert_kinds(pages, frames)
        self.assert_secrets(pages, frames)
        events = self.events()
        asked = self.translate(process.pid, area, pages, frames)
        done = self.counts(self.guest.check(f'cat /proc/{process.pid}/fd/1'))
        grown = self.events() - events
        self.assert_stayed(process.pid, pages, frames)
        self.assert_stormed(done, grown)
        self.assert_asked(asked)
        self.did('translations in the storm',
                 asked['stable'] + asked['stormy'] + asked['decided'])
        self.guest.check(f'fixtures/held end {process.pid}')
        # All of it was given back: nobody still holds the address space.
        self.assertEqual(self.free_hugetlb(), free)

    def prepare(self):
        """Have swap, an eager kernel, and pages of hugetlb; how many of these."""
        self.guest.check(PREPARE.format(kb=self.tables.span('PMD') >> 10))
        self.addCleanup(self.guest.check, CALM)
        free = self.free_hugetlb()
        self.assertEqual(free, 3)
        return free

    @property
    def impossible(self):
        """What the guest's kernel cannot do."""
        if not self.guest.kernel.has('TRANSPARENT_HUGEPAGE'):
            return {'collapse', 'thp_collapse_alloc', 'thp_split_pmd', 'huge'}
        collapses = self.guest.kernel.knows('asm-generic/mman-common.h',
                                            'MADV_COLLAPSE')
        return set() if collapses else {'collapse'}

    def free_hugetlb(self):
        """How many pages of hugetlb nobody has."""
        kb = self.tables.span('PMD') >> 10
        return int(self.guest.check('cat /sys/kernel/mm/hugepages/'
                                    f'hugepages-{kb}kB/free_hugepages'))

    @staticmethod
    def counts(text):
        """The numbers of the lines `NAME NUMBER`, by name."""
        return collections.Counter({
            name: int(count) for name, count
            in re.findall(r'^(\w+) (\d+)$', text, re.M)})

    def events(self):
        """What the kernel has counted up to now."""
        counts = self.counts(self.guest.check('cat /proc/vmstat'))
        return collections.Counter({name: counts[name] for name in EVENTS})

    # --- pages that stay ---

    def frames(self, pid, pages):
        """The frame of each page, as the kernel's own pagemap has it."""
        numbers = [page.address // self.page for page in pages]
        entries = self.read_words(f'/proc/{pid}/pagemap', numbers)
        self.assertTrue(all(entry & PRESENT for entry in entries.values()))
        return [entries[number] & FRAME for number in numbers]

    def physical(self, page, frame):
        """The physical address of a page's secret."""
        return frame * self.page + page.address % self.page

    def assert_kinds(self, pages, frames):
        """They are what they are meant to be."""
        kinds = collections.Counter(page.kind for page in pages)
        self.assertEqual(kinds, {'anon': 24, 'shmem': 24, 'thp': 1, 'hugetlb': 1,
                                 'file': 1})
        huge = {'thp', 'file'} if 'huge' not in self.impossible else set()
        flags = self.read_words('/proc/kpageflags', frames)
        for page, frame in zip(pages, frames):
            self.assertEqual(flags[frame] >> KPF_HUGE & 1, page.kind == 'hugetlb',
                             page)
            self.assertEqual(flags[frame] >> KPF_THP & 1, page.kind in huge, page)

    def assert_secrets(self, pages, frames):
        """What the process wrote lies there."""
        for page, frame in zip(pages, frames):
            self.assertEqual(
                self.guest.physical(self.physical(page, frame), SECRET),
                page.secret, page.kind)

    def assert_stayed(self, pid, pages, frames):
        """They are still there. (That of the file may not be mapped just now.)"""
        firm = [(page, frame) for page, frame in zip(pages, frames)
                if page.kind != 'file']
        self.assertEqual(self.frames(pid, [page for page, _ in firm]),
                         [frame for _, frame in firm])
        self.assert_secrets(pages, frames)

    # --- the storm ---

    def translate(self, pid, area, pages, frames):
        """Translate for as long as it storms; how often what was asked."""
        stay = [f"{page.address:x}{'?' if page.kind == 'file' else '='}"
                f'{self.physical(page, frame):x}'
                for page, frame in zip(pages, frames)]
        command = shlex.join(map(str, [
            'fixtures/translate', pid, self.scale.seconds, self.scale.walks,
            *area, *stay]))
        status, output = self.guest.run(f'''
            {INSMOD} lkm4.ko log=0 vmas=0 || exit
            nice -n -5 {command}
            status=$?
            {RMMOD} lkm4 && exit $status''', timeout=PATIENCE)
        if status:
            self.fail(output)
        return self.counts(output)

    def assert_stormed(self, done, grown):
        """All that can be done was done, and the kernel has counted it."""
        self.assertEqual(set(done), WAYS)
        for name in WAYS - self.impossible:
            self.assertGreaterEqual(done[name], self.scale.times, name)
        for name in EVENTS - self.impossible:
            self.assertGreater(grown[name], 0, name)

    def assert_asked(self, asked):
        """There were as many translations as there had to be, of each kind."""
        walks = asked['stable'] + asked['stormy']
        self.assertGreaterEqual(asked['seconds'], self.scale.seconds)
        self.assertGreaterEqual(walks, self.scale.walks)
        self.assertGreaterEqual(walks + asked['decided'], self.scale.translations)
        for name in {'lookups', 'ranges', 'small', 'huge'} - self.impossible:
            self.assertGreater(asked[name], 0, name)


# Swap, pages that become one when they are alike, huge ones, and two cgroups.
CROWD = '''
    mkdir -p /run/cgroup && mount -t cgroup2 none /run/cgroup || exit
    mkdir /run/cgroup/one /run/cgroup/other
    modprobe zram
    echo 256M >/sys/block/zram0/disksize
    mkswap /dev/zram0 && swapon /dev/zram0 || exit
    cd /sys/kernel/mm/ksm
    echo 5 >sleep_millisecs; echo 2000 >pages_to_scan; echo 1 >run'''
ALONE = '''
    cd /sys/kernel/mm/ksm
    echo 2 >run; echo 0 >run; echo 20 >sleep_millisecs; echo 100 >pages_to_scan
    rmdir /run/cgroup/one /run/cgroup/other; umount /run/cgroup
    swapoff /dev/zram0 && rmmod zram'''


class Crowd(GuestTest):
    """All five modules, among processes that come and go."""

    paging = FIRST
    # A lock is waited for by four, and held by one that does not run, where there
    # are not as many: that takes time, which a short storm is not given.
    cpus = 4 if GuestTest.long else 2
    slow = True
    dear = True
    # The log must keep what is looked at; objects of one kind are counted. To keep
    # watch on all memory doubles the time.
    append = f"log_buf_len=16M slab_nomerge kmemleak={'on' if GuestTest.long else 'off'}"

    WAYS = {'fork', 'exec', 'vfork', 'thread', 'leader', 'name', 'map', 'split',
            'swap', 'ksm', 'trace', 'cgroup'}
    OBJECTS = 'task_struct', 'mm_struct', 'pid'

    @property
    def scale(self):
        """As long as was asked for."""
        if not self.long:
            return FEW
        return DEBUG if self.guest.kernel.is_built else MANY

    def test_crowd(self):
        """of processes that come and go each report is whole, and none is held"""
        self.guest.check(CROWD)
        self.addCleanup(self.guest.check, ALONE)
        crowd = self.start('crowd', self.scale.times, '/run/cgroup/one/cgroup.procs',
                           '/run/cgroup/other/cgroup.procs')
        made = self.hammer(crowd)
        self.assert_changed(crowd)
        self.guest.check(f'fixtures/held end {crowd.pid}')
        for module in MODULES:
            self.assertGreaterEqual(made[module][0], self.scale.loads)
            self.did(f'{module}: insmods in the storm', made[module][0])
        reports = sum(loads + reads for loads, reads, *_ in made.values())
        self.assertGreaterEqual(reports, self.scale.reports)
        self.did('reports in the storm', reports)
        self.assert_nothing_held(crowd.pid)

    def hammer(self, crowd):
        """Have reports made while all changes; {module: how many}."""
        # What the module loader says for the first module would not fit. A load waits
        # for much, and the crowd for nothing: it would have hardly any turns.
        status, output = self.guest.run(f'''
            {INSMOD} lkm3.ko log=0 && {RMMOD} lkm3 || exit
            kill -CONT {crowd.pid}
            nice -n -15 fixtures/hammer {self.scale.seconds} {self.scale.loads} \
                {self.scale.reports} {crowd.pid} {crowd.lines[0]} || exit
            kill -TERM {crowd.pid}''', timeout=PATIENCE)
        if status:
            self.fail(output[-4000:])
        return {name: list(map(int, counts)) for name, *counts
                in map(str.split, output.splitlines())}

    def assert_changed(self, crowd):
        """There was a storm: each way of changing was come to so many times."""
        text = self.guest.check(f'''
            until grep -q ^cgroup /proc/{crowd.pid}/fd/1; do sleep 0.1; done
            cat /proc/{crowd.pid}/fd/1''', timeout=PATIENCE)
        done = dict(line.split() for line in text.splitlines()[1:])
        self.assertEqual(set(done), self.WAYS)
        for name, count in done.items():
            self.assertGreaterEqual(int(count), self.scale.times, name)

    def assert_nothing_held(self, dead):
        """Further loads add nothing to what the kernel has, of the dead least of
        all."""
        names = ' '.join(self.OBJECTS)
        output = self.guest.check(f'''
            {OBJECTS}
            for object in {names}; do eval $object=$(objects $object); done
            for round in $(seq {self.scale.further}); do
                {INSMOD} lkm1.ko && {INSMOD} lkm2.ko && {RMMOD} lkm1 lkm2 || exit
                {INSMOD} lkm3.ko pid={dead} && exit 1
                {INSMOD} lkm4.ko pid={dead} address=0x1000 && exit 1
                {INSMOD} lkm5.ko pid={dead} && exit 1
            done 2>/dev/null
            for object in {names}; do
                eval before=\\$$object
                echo $object $(($(objects $object $((before + 9))) - before))
            done''', timeout=PATIENCE)
        for name, grown in map(str.split, output.splitlines()):
            self.assertLess(int(grown), 10, name)
        if self.long and self.guest.kernel.has('DEBUG_KMEMLEAK'):
            self.assertEqual(self.leaks(), [])
