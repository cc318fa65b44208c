# SPDX-License-Identifier: GPL-2.0-only
"""lkm4 with phys=: who maps a frame, against the pagemap of every process.

The fixture `frames` goes through /proc/PID/pagemap of all processes, before and
after lkm4 is asked. What it found both times lkm4 must have found; what lkm4
found it must have found once, but for the reader, who maps something, too.
"""

import collections
import re

from region import (FRAME, KPF_ZERO, PARAMETERS, PRESENT, Facts, PageKinds,
                    in_words)
from suite import FIRST, INSMOD, RMMOD, words

ROW = re.compile(r'PHYSICAL ADDRESS ([0-9a-f]+) \| PID: (\d+) \| PROCESS: (.*) '
                 r'\| VA ([0-9a-f]+) \| ([r-][w-][x-]) \| (\d+ [kMG]B) page')
LAST = re.compile(r'MAPPINGS = (\d+)( \| not memory)?')
MAPS_TO = re.compile(r'^The virtual address ([0-9a-f]+) maps to physical address '
                     r'([0-9a-f]+)', re.M)

# A mapping of a page; va is the page's.
Owner = collections.namedtuple('Owner', 'pid va rights name')


class Owners(Facts):
    """What is asked of lkm4, and of /proc."""

    def physical(self, pid, address):
        """Where a page lies that is present."""
        entry, = self.entries(pid, [address & -self.page]).values()
        self.assertTrue(entry & PRESENT, f'{pid} {address:#x}')
        return (entry & FRAME) * self.page + address % self.page

    def text_of(self, pid):
        """Where a page of a process's program lies."""
        each = next(each for each in self.mappings(pid) if each.rights == 'r-xp')
        entries = self.all_entries(pid, [each])
        return next(entry & FRAME for entry in entries.values()
                    if entry & PRESENT) * self.page

    def ask_all(self, addresses):
        """{physical address: (owners before, after, lines of lkm4)}."""
        addresses = self.some(addresses)
        frames = f"fixtures/frames {' '.join(map(hex, addresses))}"
        ask = '\n'.join(f'''
            echo {address:#x} >{PARAMETERS}/phys
            echo %; cat /proc/lkm4 || exit''' for address in addresses)
        output = self.guest.check(f'''
            trap '{RMMOD} lkm4' EXIT
            {INSMOD} {words('lkm4', log=0)} || exit
            {frames} || exit
            {ask}
            echo %; {frames}''')
        before, *answers, after = output.split('%\n')
        self.assertEqual(len(answers), len(addresses))
        before, after = self.found(before), self.found(after)
        return {address: (before[address & -self.page],
                          after[address & -self.page], answer.splitlines())
                for address, answer in zip(addresses, answers)}

    def found(self, text):
        """{frame: owners} of what `frames` prints."""
        owners = collections.defaultdict(set)
        for line in text.splitlines():
            frame, pid, va, rights, name = line.split(' ', 4)
            owners[int(frame, 16)].add(Owner(int(pid), int(va, 16), rights, name))
        return owners

    def parsed(self, address, lines, memory=True):
        """{owner: size of the page} of an answer, for the pages' first bytes."""
        *rows, last = self.some(lines)
        owners = {}
        for line in rows:
            match = ROW.fullmatch(line)
            self.assertTrue(match, f'not a row: {line!r}')
            at, pid, name, va, rights, size = match.groups()
            self.assertEqual(at, f'{address:x}')
            self.assertEqual(int(va, 16) % self.page, address % self.page)
            owners[Owner(int(pid), int(va, 16) & -self.page, rights, name)] = size
        number, other = LAST.fullmatch(last).groups()
        self.assertEqual((int(number), len(owners)), (len(rows), len(rows)))
        self.assertEqual(other is None, memory)
        pids = [owner.pid for owner in owners]
        self.assertEqual(list(owners), sorted(owners, key=lambda owner: (
            pids.index(owner.pid), owner.va)))
        return owners

    def compare(self, addresses, twins=()):
        """Ask for physical addresses, and compare. Of the processes that share
        their memory (twins) all but the first are left out. {address: answer}"""
        answers = {}
        for address, (before, after, lines) in self.ask_all(addresses).items():
            owners = self.parsed(address, lines)
            must, may = ({owner for owner in each if owner.pid not in twins}
                         for each in (before & after, before | after))
            pids = {owner.pid for owner in may}
            others = {owner for owner in set(owners) - may
                      if owner.pid in pids or owner.name not in ('cat', 'sh')}
            self.assertEqual((must - set(owners), others), (set(), set()),
                             f'{address:#x}')
            answers[address] = {owner: size for owner, size in owners.items()
                                if owner in must}
            self.compared(len(answers[address]))
        return answers

    def forward(self, answers):
        """Each address that was given leads to the physical one, but for those of
        processes that have ended since."""
        asked = [(address, owner) for address, owners in answers.items()
                 for owner in list(owners)[:4]]
        ask = '\n'.join(f'''
            echo {owner.pid} >{PARAMETERS}/pid
            echo {owner.va + address % self.page:#x} >{PARAMETERS}/address
            cat /proc/lkm4 || [ -e /proc/{owner.pid} ] || echo gone'''
                        for address, owner in asked)
        output = self.guest.check(f'''
            trap '{RMMOD} lkm4' EXIT
            {INSMOD} {words('lkm4', log=0, vmas=0)} || exit
            {ask}''')
        found = re.findall(f'{MAPS_TO.pattern}|^gone$', output, re.M)
        self.assertEqual(len(found), len(asked))
        for pair, (address, owner) in zip(found, asked):
            if any(pair):
                self.assertEqual(pair, (f'{owner.va + address % self.page:x}',
                                        f'{address:x}'))
        self.assertGreater(len(list(filter(any, found))), len(asked) // 2)


class EveryKind(PageKinds, Owners):
    """Pages of every kind."""

    @property
    def sizes(self):
        """{kind: size of its page}, of the pages that are huge."""
        sizes = {f'hugetlb-{size}': each
                 for size, each in self.tables.hugetlb.items()}
        sizes.update(dict.fromkeys(('thp', 'thp-shmem', 'huge-zero'),
                                   self.tables.span('PMD')))
        return {prefix + kind: size for kind, size in sizes.items()
                for prefix in ('', 'none-')}

    def places(self):
        """{kind: where it lies}, of the pages that are present."""
        places = {}
        for pid in {pid for pid, _ in self.pages.values()}:
            pages = {kind: address for kind, (each, address)
                     in self.pages.items() if each == pid}
            entries = self.entries(pid, sorted({address & -self.page for address
                                                in pages.values()}))
            for kind, address in pages.items():
                entry = entries[address & -self.page]
                if entry & PRESENT:
                    places[kind] = (entry & FRAME) * self.page + address % self.page
        return places

    def test_kinds(self):
        """finds who maps a byte of a page, of every kind, and no other"""
        places = self.places()
        self.assertGreaterEqual(
            set(places), {'private', 'shared', 'memfd', 'file-shared', 'zero',
                          'forked-child', 'stack', *self.sizes}
            - self.absent - {'none-huge-zero', 'none-thp-shmem'})
        answers = self.compare(sorted(set(places.values())))
        for kind, place in places.items():
            pid, address = self.pages[kind]
            found = {(owner.pid, owner.va): size
                     for owner, size in answers[place].items()}
            self.assertEqual(found.get((pid, address & -self.page)),
                             in_words(self.sizes.get(kind, self.page)), kind)
        # What the child has, too.
        pids = {self.fixture.pid, self.pages['cow-child'][0]}
        for kind in {'forked-parent', 'private', 'thp', 'none-thp',
                     f"hugetlb-{self.tables.span('PMD')}"} - self.absent:
            self.assertEqual({owner.pid for owner in answers[places[kind]]},
                             pids, kind)
        # The fixture maps the one of 1 GB twice.
        twice = [owner.pid for owner in answers[places[f'hugetlb-{1 << 30}']]]
        self.assertEqual(twice.count(self.fixture.pid), 2)
        self.forward(answers)

    def test_device(self):
        """finds who maps a device, which is no memory"""
        if 'device' not in self.pages:
            self.skipTest('the kernel lets nobody map a device')
        pid, address = self.pages['device']
        each = next(each for each in self.mappings(pid)
                    if each.name == '/dev/mem')
        place = each.offset + address - each.start
        (_, _, lines), = self.ask_all([place]).values()
        self.assertEqual(lines, [
            f'PHYSICAL ADDRESS {place:x} | PID: {pid} | PROCESS: pages | '
            f'VA {address:x} | r-- | {in_words(self.page)} page',
            'MAPPINGS = 1 | not memory'])


class Shared(Owners):
    """Pages that have more than one owner."""

    paging = FIRST

    def test_twice(self):
        """finds a page that is mapped twice, and elsewhere by another process"""
        process = self.start('sharing')
        rows = [line.split() for line in process.lines]
        files = {(int(pid), int(address, 16))
                 for kind, pid, address in rows if kind == 'file'}
        place = self.physical(*next(iter(files))) + 0x123
        answer = self.compare([place])[place]
        self.assertEqual({(owner.pid, owner.va) for owner in answer}, files)
        self.assertEqual(len(files), 3)
        self.assertEqual({owner.rights for owner in answer},
                         {'rw-', 'r--', '---'})
        self.forward({place: answer})

    def test_zeroes(self):
        """finds all mappings of the page of zeroes"""
        pid, address = self.parse(self.start('sharing').lines)['zeroes']
        place = self.physical(pid, address)
        flags, = self.read_words('/proc/kpageflags', [place // self.page]).values()
        self.assertTrue(flags >> KPF_ZERO & 1)
        answer = self.compare([place])[place]
        self.assertEqual(len([owner for owner in answer if owner.pid == pid]),
                         200)

    def test_one_address_space(self):
        """shows processes that share their memory once, by the lowest pid"""
        self.guest.check('echo 3000 >/proc/sys/kernel/ns_last_pid')
        process = self.start('sharing', 2000)
        child, parent = [int(line.split()[1]) for line in process.lines
                         if line.startswith('memory ')]
        self.assertEqual(parent, process.pid)
        self.assertLess(child, parent)
        place = self.physical(*self.parse(process.lines)['memory'])
        answer = self.compare([place], twins=[parent])[place]
        self.assertEqual([owner.pid for owner in answer], [child])

    def test_states(self):
        """finds a process after vfork, and one whose first thread has ended"""
        kinds = self.states()
        stack = next(each for each in self.mappings(kinds['vfork'])
                     if each.name == '[stack]')
        pid = kinds['leaderless']
        tid, = {int(tid) for tid in self.guest.check(
            f'ls /proc/{pid}/task').split()} - {pid}
        own = self.page_of(f'{pid}/task/{tid}')
        places = [self.physical(kinds['vfork'], stack.end - 1), own]
        answers = self.compare(places, twins=[kinds['vforked']])
        self.assertIn(kinds['vfork'],
                      {owner.pid for owner in answers[places[0]]})
        self.assertEqual({owner.pid for owner in answers[own]}, {pid})
        self.forward(answers)

    def page_of(self, pid):
        """A page that a process has written to, and nobody else has."""
        maps = [each for each in self.mappings(pid)
                if each.rights == 'rw-p' and not each.name]
        entries = self.all_entries(pid, maps)
        frames = [entry & FRAME for entry in entries.values() if entry & PRESENT]
        counts = self.read_words('/proc/kpagecount', frames)
        return next(frame for frame in frames if counts[frame] == 1) * self.page

    def test_text(self):
        """finds all processes that run a program, by a byte of its text"""
        pids = {self.start('memory', f'anon={number}').pid
                for number in range(1, 5)}
        pid = min(pids)
        place = self.text_of(pid) + 0x321
        answer = self.compare([place])[place]
        self.assertEqual({owner.pid for owner in answer}, pids)
        self.assertEqual({owner.rights for owner in answer}, {'r-x'})
        vdso = next(each for each in self.mappings(pid)
                    if each.name == '[vdso]')
        place = self.physical(pid, vdso.start)
        answer = self.compare([place])[place]
        self.assertGreaterEqual({owner.pid for owner in answer}, pids)


class Rest(Owners):
    """What does not depend on page tables."""

    paging = FIRST

    def resources(self):
        """[(start, name)] of /proc/iomem's outer lines, and of the kernel."""
        found = re.findall(r'^( *)([0-9a-f]+)-[0-9a-f]+ : (.*)$',
                           self.guest.check('cat /proc/iomem'), re.M)
        return [(int(start, 16), name) for indent, start, name in found
                if not indent or name == 'Kernel code']

    def test_nobody(self):
        """finds nobody where no process has a page, and says what is no memory"""
        resources = self.resources()
        code = next(start for start, name in resources if name == 'Kernel code')
        others = [start for start, name in resources
                  if name not in ('System RAM', 'Kernel code')]
        self.assertGreater(len(others), 2)
        others += [(1 << 50) + 5, (1 << 64) - 1]
        answers = self.ask_all([code + 0x1234, *others])
        for address, (_, _, lines) in answers.items():
            other = ' | not memory' * (address in others)
            self.assertEqual(lines, [f'MAPPINGS = 0{other}'], f'{address:#x}')

    def test_log(self):
        """has the same lines in the log and in the file, read in any pieces"""
        place = self.physical(*self.parse(self.start('sharing').lines)['many'])
        report = self.report('lkm4', phys=place)
        self.assertEqual(report.lines[0], 'Hello, Welcome to LKM')
        self.assertEqual(report.lines[-1], 'Virtual memory to physical memory '
                         'info kernel module loaded')
        self.assertEqual(report.farewell, ['Virtual memory module to physical '
                                           'memory info removed,Bye !!'])
        self.assertEqual(len(self.parsed(place, report.body)), 200)
        output = self.guest.check(f'''
            trap '{RMMOD} lkm4' EXIT
            {INSMOD} {words('lkm4', log=0, phys=hex(place))} || exit
            cat /proc/lkm4 >/run/whole
            dd if=/proc/lkm4 bs=7 2>/dev/null | cmp - /run/whole
            echo $?
            fixtures/reread /proc/lkm4
            wc -c </run/whole; cat /run/whole''')
        compared, reread, size, *lines = output.splitlines()
        self.assertEqual((compared, reread), ('0', f'the same {size} bytes'))
        self.assertEqual(lines, report.body)

    def test_pid_namespace(self):
        """shows a reader the processes of his pid namespace, by its pids"""
        outer = self.start('memory', 'anon=1').pid
        place = self.text_of(outer)
        output = self.guest.check(f'''
            trap '{RMMOD} lkm4' EXIT
            {INSMOD} {words('lkm4', log=0, phys=place)} || exit
            cat /proc/lkm4; echo %
            # Not sh: busybox would run its own, and that its own ps.
            unshare --fork --pid --mount-proc dash -c '
                fixtures/memory anon=5 >/dev/null &
                until grep -q "^State:.T" /proc/2/status; do usleep 2000; done
                fixtures/frames {place:#x}; echo %
                cat /proc/lkm4; echo %
                cat /proc/lkm4 >/dev/null; kill -KILL 2; true'
            ''')
        all_of_them, frames, inner, _ = output.split('%\n')
        self.assertEqual(
            {owner.pid for owner in self.parsed(place, all_of_them.splitlines())},
            {outer})
        owners = self.parsed(place, inner.splitlines())
        self.assertEqual(set(owners), self.found(frames)[place])
        self.assertEqual([(owner.pid, owner.name) for owner in owners],
                         [(2, 'memory')])

    def test_ended(self):
        """goes on with the others when a process ends before it is looked at"""
        first, second = (self.parse(self.start('sharing').lines)['zeroes']
                         for _ in range(2))
        place = self.physical(*first)
        self.assertEqual(self.physical(*second), place)
        output = self.guest.check(f'''
            trap '{RMMOD} lkm4' EXIT
            {INSMOD} {words('lkm4', log=0, phys=place)} || exit
            fixtures/frames {place:#x}; echo %
            exec 4</proc/lkm4
            dd bs=1k count=1 <&4 2>/dev/null >/run/rows
            fixtures/held end {first[0]}
            fixtures/held end {second[0]}
            cat <&4 >>/run/rows || exit
            exec 4<&-
            cat /run/rows''')
        frames, lines = output.split('%\n')
        owners, truth = (
            {owner for owner in each if owner.name == 'sharing'} for each in
            (self.parsed(place, lines.splitlines()), self.found(frames)[place]))
        self.assertEqual({owner.pid for owner in owners}, {first[0]})
        self.assertLessEqual(owners, truth)
        self.assertIn(second[0], {owner.pid for owner in truth})

    def test_killed(self):
        """loads nothing when insmod is killed in the middle of the search"""
        self.sparse()
        code = next(start for start, name in self.resources()
                    if name == 'Kernel code')
        self.assertEqual(self.interrupted(phys=code), ['Hello, Welcome to LKM'])
