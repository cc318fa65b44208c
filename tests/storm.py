# SPDX-License-Identifier: GPL-2.0-only
"""lkm4 in a storm: a process changes its memory in every way at once, on four
processors, and what is said of the pages that stay where they are must be right
each time.

The frames of those pages are known from /proc/PID/pagemap, and their secrets
are found there in the guest's memory, before the storm and after it.
"""

import collections
import re
import shlex

from kernel import listed
from suite import FIRST, INSMOD, RMMOD, GuestTest

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
        """A minute on one kernel only, the first of the list: time is dear."""
        first = next(iter(listed()))
        return LONG if self.guest.kernel.name == first else SHORT

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
