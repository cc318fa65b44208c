# SPDX-License-Identifier: GPL-2.0-only
"""pagemap --check: that it finds lkm4 right where lkm4 is, and wrong where not.

lkm4 is right about every page of every process, one hopes. That pagemap would
say so if it were not is tested with a lkm4 that lies: another file is mounted
over /proc/lkm4. What a FIFO in that place says, and when, a test decides while
pagemap waits for it.
"""

import collections
import json
import re
import shlex

from pagemap import LINE, Entries, entry_of, hexadecimal
from suite import FIRST, INSMOD, RMMOD

VERDICT = re.compile(r' (AGREE|(RACED|DIFFER|UNSEEN) \(lkm4: (.+)\))')
TOTAL = re.compile(r'TOTAL AGREE (\d+) RACED (\d+) DIFFER (\d+) UNSEEN (\d+)')
WORDS = 'AGREE', 'RACED', 'DIFFER', 'UNSEEN'
TRIES = 20             # how often a page that differs is asked for again
PARAMETERS = '/sys/module/lkm4/parameters'

# One page's Entry, the verdict, what lkm4 said where it is not AGREE, and the
# whole line up to there.
Checked = collections.namedtuple('Checked', 'entry verdict said line')
Checks = collections.namedtuple('Checks', 'status pages total')


class Checking(Entries):
    """With lkm4 loaded."""

    def setUp(self):
        self.guest.check(f'{INSMOD} lkm4.ko log=0')
        self.addCleanup(self.guest.run, f'{RMMOD} lkm4')

    def check(self, arguments):
        """What --check says, its total being right."""
        status, output = self.guest.run(f'./pagemap --check {arguments}')
        *lines, total = output.splitlines()
        pages = {}
        for line in lines:
            match = LINE.match(line)
            self.assertTrue(match, line)
            verdict = VERDICT.fullmatch(line, match.end())
            self.assertTrue(verdict, line)
            pages[int(match[1], 16)] = Checked(
                entry_of(match), verdict[2] or verdict[1], verdict[3],
                line[:match.end()])
        counts = collections.Counter(page.verdict for page in pages.values())
        self.assertEqual(self.total(total), {**dict.fromkeys(WORDS, 0), **counts})
        self.assertEqual(status, int(counts['DIFFER'] > 0))
        return Checks(status, pages, total)

    def total(self, line):
        """{verdict: pages} of the last line."""
        match = TOTAL.fullmatch(line)
        self.assertTrue(match, line)
        return dict(zip(WORDS, map(int, match.groups())))

    def mapping_names(self, pid):
        """[(start, end, name)] of the process's mappings."""
        rows = [line.split(maxsplit=5) for line in
                self.guest.check(f'cat /proc/{pid}/maps').splitlines()]
        return [(*(int(word, 16) for word in row[0].split('-')),
                 row[5] if len(row) > 5 else '') for row in rows]


class Truth(Checking):
    """lkm4 as it is."""

    paging = FIRST
    cpus = 2

    def test_kinds(self):
        """agrees with lkm4 on pages of every kind"""
        self.swap_on()
        pages = self.pages()
        checks = self.check(self.fixture.pid)
        self.same({address: page.entry for address, page in checks.pages.items()},
                  self.whole_truth(self.fixture.pid))
        # Memory without a struct page: of a device, and of the kernel's own.
        special = [span for *span, name in self.mapping_names(self.fixture.pid)
                   if name.startswith(('[vvar', '/dev/mem'))]
        for address, page in checks.pages.items():
            if page.verdict == 'UNSEEN':
                self.assertTrue(any(start <= address < end
                                    for start, end in special), page)
                self.assertRegex(page.said, r'^PA [0-9a-f]+ \| special '
                                 r'\(no struct page\)$')
            else:
                self.assertEqual(page.verdict, 'AGREE', page)
        if 'device' in pages:
            device = checks.pages[pages['device'].address & -self.page]
            self.assertEqual(device.verdict, 'UNSEEN')
        self.assertGreater(self.total(checks.total)['AGREE'],
                           1000 * 4096 // self.page)      # more with huge pages

    def test_everybody(self):
        """agrees with lkm4 on every page of every process"""
        self.swap_on()
        self.pages()
        self.start('memory', 'scattered=200', 'shared=50', 'threads=2', 'zero=20')
        output = self.guest.check('''
            for process in /proc/[0-9]*; do
                echo "== ${process#/proc/}"
                ./pagemap --check --summary ${process#/proc/} 2>&1 |
                    sed -n '/^TOTAL/p; /pagemap:/p'
            done''', timeout=300)
        totals, missing = collections.Counter(), []
        processes = 0
        for text in output.split('== ')[1:]:
            _, *lines = text.splitlines()
            self.assertEqual(len(lines), 1, text)
            if lines[0].startswith('TOTAL'):
                totals.update(self.total(lines[0]))
                processes += 1
            else:
                missing.append(lines[0])
        # Kernel threads; a shell of the loop may have ended.
        for line in missing:
            self.assertRegex(line, r'pagemap: (process \d+ (has no user memory|'
                             r'ended)|no process has the id)')
        self.assertEqual(totals['DIFFER'], 0, output)
        self.assertGreater(processes, 4)
        self.assertGreater(totals['AGREE'], 4000 * 4096 // self.page)

    def test_busy(self):
        """never takes a page that comes and goes for one that differs"""
        process = self.start('restless', 'busy')
        start = int(process.lines[0], 16)
        output = self.guest.check(f'''
            kill -CONT {process.pid}
            for i in $(seq 2000); do
                ./pagemap -c {process.pid} {start:#x} {start + 1:#x} | tail -n 1
                [ $i -ge 100 ] && grep -q 'RACED 1' /run/totals && break
            done >/run/totals
            cat /run/totals; rm /run/totals''', timeout=300)
        totals = list(map(self.total, self.some(output.splitlines())))
        for total in totals:
            self.assertEqual(total['AGREE'] + total['RACED'], 1, total)
        self.assertTrue(any(total['RACED'] for total in totals))


class Lines(Checking):
    """How it is said, and what is left behind."""

    paging = FIRST

    def test_lines(self):
        """puts a verdict behind the line of each page, and a total at the end"""
        pid = self.start('memory', 'anon=9', 'shared=3', 'reserved=5').pid
        plain = self.guest.check(f'./pagemap {pid}').splitlines()
        checks = self.check(pid)
        self.assertEqual([page.line for page in checks.pages.values()],
                         self.some(plain))
        pages = [json.loads(line) for line in self.guest.check(
            f'./pagemap --json --check {pid}').splitlines()]
        total = pages.pop()
        self.assertEqual({word.upper(): count for word, count in total.items()},
                         self.total(checks.total))
        self.assertEqual([page['verdict'] for page in pages],
                         [page.verdict for page in checks.pages.values()])
        self.assertEqual([page.get('lkm4') for page in pages],
                         [page.said for page in checks.pages.values()])

    def test_fewer(self):
        """checks present pages only, or shows totals only, when so asked"""
        pid = self.start('memory', 'anon=9', 'reserved=5').pid
        checks = self.check(pid)
        present = {address: page for address, page in checks.pages.items()
                   if page.entry.present}
        self.assertEqual(self.check(f'--present {pid}').pages, present)
        summary, _, total = self.guest.check(
            f'./pagemap --check --summary {pid}').rstrip().rpartition('\n')
        self.assertEqual(total, checks.total)
        self.assertEqual(summary, self.guest.check(
            f'./pagemap --summary {pid}').rstrip())

    def test_parameters(self):
        """leaves lkm4's parameters as they were, also when it fails"""
        pid = self.start('memory').pid
        show = f'cd {PARAMETERS}; grep . pid address length phys vmas; cd /lkm'
        for setting in ({'pid': '1', 'address': '0x1000', 'vmas': '1'},
                        {'pid': '4000000', 'length': 'x' * 31},
                        {'phys': '0x1000'}, {}):
            text = '\n'.join(
                f'echo {shlex.quote(setting.get(name, ""))} >{PARAMETERS}/{name}'
                for name in ('pid', 'address', 'length', 'phys', 'vmas'))
            before, *after = self.guest.check(f'''
                {text}
                show() {{ {show}; echo %%; }}
                show
                ./pagemap --check {pid} >/dev/null; echo $?; show
                ./pagemap --check {pid} >/dev/full; echo $?; show
                ./pagemap --check {pid} >&-; echo $?; show
                ./pagemap --check {pid} 0x1000 2>&1 >/dev/null; echo $?; show
                ''').split('%%\n')[:-1]
            self.assertEqual(len(before.splitlines()), len(setting))
            for status, text in zip('0111', after, strict=True):
                self.assertEqual(text[-len(before) or len(text):], before)
                self.assertTrue(text.removesuffix(before).endswith(f'{status}\n'),
                                text)

    def test_two(self):
        """waits for another that checks a process meanwhile"""
        pids = [self.start('memory', f'{what}=3000').pid
                for what in ('anon', 'shared')]
        loop = '\n'.join(f'''
            for i in $(seq 10); do ./pagemap -cs {pid} 2>&1 || echo failed
            done >/run/{pid} &''' for pid in pids)
        output = self.guest.check(f'''
            {loop}
            wait; cat /run/{pids[0]} /run/{pids[1]}''')
        self.assertNotIn('pagemap:', output)
        self.assertNotIn('failed', output)
        totals = [self.total(line) for line in output.splitlines()
                  if line.startswith('TOTAL')]
        self.assertEqual([total['DIFFER'] for total in totals], [0] * 20)

    def test_not_loaded(self):
        """says how to load lkm4 when it is not"""
        self.guest.check(f'{RMMOD} lkm4')
        status, output = self.guest.run('./pagemap --check 1 2>&1')
        self.assertEqual((status, output), (
            1, './pagemap: lkm4 is to be asked, and is not loaded: sudo insmod '
            'lkm4.ko log=0 (if that is refused: docs/insmod.md)\n'))

    def test_not_ours(self):
        """says so when lkm4 cannot be locked, set, or read"""
        fill = f'for name in pid address length vmas phys; do : >{PARAMETERS}/$name; done'
        only_read = ('mount -t tmpfs tmpfs /home/user && : >/home/user/file && '
                     'mount -o remount,ro /home/user')
        for prepare, said in (
                (f'{only_read} && mount --bind /home/user/file /proc/lkm4',
                 'cannot lock /proc/lkm4: Read-only file system'),
                (f'mount -t tmpfs tmpfs {PARAMETERS}',
                 f'cannot read {PARAMETERS}/pid: load the lkm4 that belongs to this '
                 'pagemap: No such file or directory'),
                (f"""mount -t tmpfs tmpfs {PARAMETERS} && {fill} &&
                     mount -o remount,ro {PARAMETERS}""",
                 f'cannot write {PARAMETERS}/phys: Read-only file system'),
                (f'{only_read} && mount --bind /home/user/file {PARAMETERS}/address',
                 f'cannot write {PARAMETERS}/address: Read-only file system'),
                # Of which the first page cannot be read.
                ('mount --bind /proc/1/mem /proc/lkm4',
                 'cannot read /proc/lkm4 about ADDRESS (see dmesg): '
                 'Input/output error')):
            script = shlex.quote(f'{prepare}; exec ./pagemap --check 1')
            status, output = self.guest.run(f'unshare -m sh -c {script} 2>&1')
            line = re.sub('about 0x[0-9a-f]+', 'about ADDRESS', output.splitlines()[0])
            self.assertEqual((status, line), (1, f'./pagemap: {said}'))

    def test_dying(self):
        """checks processes that come and go to the end, or says why not"""
        output = self.guest.check('''
            for i in $(seq 60); do
                usleep $((i % 10 * 5000)) & pid=$!
                ./pagemap --check --summary $pid 2>&1 | tail -n 1
            done''', timeout=120)
        lines = output.splitlines()
        self.assertEqual(len(lines), 60)
        ends = re.compile(r'\./pagemap: (process \d+ ended, or started another '
                          r'program, before 0x[0-9a-f]+ was read|process \d+ has '
                          r'no user memory: a kernel thread, or it has ended|'
                          r'no process has the id \d+)')
        whole = [line for line in lines if not ends.fullmatch(line)]
        self.assertEqual([self.total(line)['DIFFER'] for line in whole],
                         [0] * len(whole))
        self.assertLess(len(whole), 60)


class Lies(Checking):
    """lkm4 as it should not be: another file says what is read."""

    paging = FIRST

    def lie(self, kind='file'):
        """Have another file in lkm4's place, until the test ends."""
        self.addCleanup(self.guest.check,
                        'umount /proc/lkm4; rm /run/lkm4')
        make = {'file': 'touch /run/lkm4', 'fifo': 'mkfifo /run/lkm4'}[kind]
        self.guest.check(f'{make} && mount --bind /run/lkm4 /proc/lkm4')

    def range_report(self, *lines):
        """What lkm4 would say of a range."""
        return '\n'.join(['PID: 1 | PROCESS: x', 'Number of VMAs = 1', *lines,
                          'TOTAL | not mapped 4 kB', ''])

    def told(self, cases):
        """[(status, output)] of --check, by (arguments, report)."""
        script = '\n'.join(f'''
            printf %s {shlex.quote(report)} >/run/lkm4
            ./pagemap --check {arguments} 2>&1; echo "status $?"; echo %%'''
                           for arguments, report in cases)
        answers = self.guest.check(script).split('%%\n')[:-1]
        self.assertEqual(len(answers), len(cases))
        for answer in self.some(answers):
            output, _, status = answer.rpartition('status ')
            yield int(status), output

    def cases(self, pages, truth):
        """(kind of page, what lkm4 says of it, the verdict)."""
        frame = truth['private'].frame * self.page
        kind, offset = truth['paged-out'].swap
        nowhere = 'not mapped', 'no VMA here'
        special = 'being migrated', 'poisoned', 'device memory', 'marker'
        fit = f' PA {frame:x} | 1 x 4 kB | rw-'
        yield from (
            ('private', fit, 'AGREE'),
            ('private', f'{fit} | not accessible (PROT_NONE)', 'AGREE'),
            ('private', f'{fit} | special (no struct page)', 'AGREE'),
            ('private', f' PA {frame + self.page:x} | 1 x 4 kB | rw-', 'DIFFER'),
            ('private', ' PA 0 | 1 x 4 kB | rw-', 'DIFFER'),
            ('private', f' | swapped out (type 0, offset {frame:#x})', 'DIFFER'),
            ('paged-out', fit, 'DIFFER'),
            ('paged-out', f' | swapped out (type {kind}, offset {offset:#x})',
             'AGREE'),
            ('paged-out', f' | swapped out (type 0, offset {offset:#x})',
             'DIFFER'),
            ('paged-out', f' | swapped out (type {kind}, offset '
             f'{offset + 1:#x})', 'DIFFER'),
            ('untouched', fit, 'DIFFER'),
            ('untouched', f'{fit} | special (no struct page)', 'UNSEEN'),
            ('untouched', ' | swapped out (type 0, offset 0x0)', 'DIFFER'))
        for reason in nowhere + special:
            yield 'private', f' | {reason}', 'DIFFER'
            yield 'paged-out', f' | {reason}', 'DIFFER'
            yield ('untouched', f' | {reason}',
                   'AGREE' if reason in nowhere else 'UNSEEN')
            if 'poisoned' in pages:
                yield ('poisoned', f' | {reason}',
                       'DIFFER' if reason in nowhere else 'AGREE')
        if 'poisoned' in pages:
            kind, offset = truth['poisoned'].swap
            yield ('poisoned', f' | swapped out (type {kind}, offset {offset:#x})',
                   'DIFFER')

    def test_verdicts(self):
        """tells pages of each kind that differ from those that do not"""
        self.swap_on()
        pages = self.pages()
        self.lie()
        spans = {kind: (page.address & -self.page,
                        (page.address & -self.page) + self.page)
                 for kind, page in pages.items()}
        truth = {kind: self.truth(pages[kind].pid, [spans[kind]])[spans[kind][0]]
                 for kind in {'private', 'paged-out', 'untouched', 'poisoned'}
                 & set(pages)}
        cases = list(self.cases(pages, truth))
        told = self.told([
            (f'{pages[kind].pid} {hexadecimal(*spans[kind])}',
             self.range_report(f'VA {spans[kind][0]:x}-{spans[kind][1]:x}{words}'))
            for kind, words, _ in cases])
        for (kind, words, verdict), (status, output) in zip(cases, told):
            line, total = output.splitlines()
            match = VERDICT.fullmatch(line, LINE.match(line).end())
            self.assertEqual(match[2] or match[1], verdict, (kind, words))
            self.assertEqual(status, int(verdict == 'DIFFER'), (kind, words))
            self.assertEqual(self.total(total),
                             {**dict.fromkeys(WORDS, 0), verdict: 1})
            if verdict != 'AGREE':
                said = re.sub(r' \| 1 x 4 kB \| rw-', '', words)
                self.assertEqual(match[3], said.removeprefix(' | ').strip())

    def reserved(self, pages):
        """(pid, start, end) of a mapping without any page."""
        pid = self.start('memory', f'reserved={pages}').pid
        maps = self.guest.check(f'cat /proc/{pid}/maps')
        start, end = (int(word, 16) for word in
                      re.search('^(.*)-(.*) ---p ', maps, re.M).groups())
        self.assertEqual(end - start, pages * self.page)
        return pid, start, end

    def said(self, where, report):
        """[(verdict, lkm4's words)] of a report that is understood, which text
        and JSON must have alike; the total, and the statuses of both."""
        (status, text), (json_status, objects) = self.told(
            [(where, report), (f'--json {where}', report)])
        *lines, total = text.splitlines()
        matches = [VERDICT.fullmatch(line, LINE.match(line).end())
                   for line in lines]
        said = [(match[2] or match[1], match[3]) for match in matches]
        *pages, _ = map(json.loads, objects.splitlines())
        self.assertEqual([(page['verdict'], page.get('lkm4')) for page in pages],
                         said)
        return said, total, {status, json_status}

    def test_runs(self):
        """takes each page of a run by itself"""
        pid, start, end = self.reserved(6)
        edges = [f'{start + i * self.page:x}' for i in range(7)]
        self.lie()
        report = self.range_report(
            f'VA {edges[0]}-{edges[1]} | not mapped',
            f'VA {edges[1]}-{edges[3]} PA 0 | 2 x 4 kB | rw- | '
            'special (no struct page)',
            f'VA {edges[3]}-{edges[4]} | no VMA here',
            f'VA {edges[4]}-{edges[6]} PA {7 * self.page:x} | 2 x 4 kB | --- | '
            'special (no struct page) | contiguous (64 kB)')
        said, total, statuses = self.said(f'{pid} {hexadecimal(start, end)}',
                                          report)
        self.assertEqual(statuses, {0})
        self.assertEqual(said, [
            ('AGREE', None) if frame is None else
            ('UNSEEN', f'PA {frame * self.page:x} | special (no struct page)')
            for frame in (None, 0, 1, None, 7, 8)])
        self.assertEqual(total, 'TOTAL AGREE 2 RACED 0 DIFFER 0 UNSEEN 4')

    def test_nonsense(self):
        """ends with 1 and shows a line that it does not understand"""
        pid, start, end = self.reserved(3)
        self.lie()
        one, two = start + self.page, start + 2 * self.page
        whole = f'VA {start:x}-{end:x}'
        lines = (
            [f'{whole} | not there'], [f'{whole} | swapped out'], [whole],
            [f'{whole} | swapped out (type 0, offset 0x1) | more'],
            [f'{whole} PA 5 | 3 x 4 kB | rw-'], [f'{whole} PA x'],
            ['VA x-y | not mapped'], ['this page has moved'],
            [f'VA {start:x}-{end + self.page:x} | not mapped'],
            [f'VA {start + 1:x}-{end:x} | not mapped'],
            [f'VA {one:x}-{end:x} | not mapped'],
            [f'VA {start:x}-{one:x} | not mapped', f'VA {two:x}-{end:x} | not mapped'],
            [f'VA {start:x}-{two:x} | not mapped', f'VA {one:x}-{end:x} | not mapped'],
            [f'VA {start:x}-{start:x} | not mapped', f'{whole} | not mapped'])
        where = f'{pid} {hexadecimal(start, end)}'
        for lied, (status, output) in zip(lines, self.told(
                [(where, self.range_report(*each)) for each in lines])):
            self.assertEqual(status, 1, lied)
            bad = next(line for line in reversed(lied) if line in output)
            self.assertEqual(output, f'./pagemap: what /proc/lkm4 says of '
                             f'{start:#x} is not understood: {bad}\n')
        early = 'ends too early'
        short = {self.range_report(f'VA {start:x}-{two:x} | not mapped'):
                 'is not understood: TOTAL | not mapped 4 kB',
                 f'VA {start:x}-{end:x} | not mapped\n': early, '': early}
        told = self.told([(where, text) for text in short])
        for why, (status, output) in zip(short.values(), told):
            self.assertEqual((status, output), (
                1, f'./pagemap: what /proc/lkm4 says of {start:#x} {why}\n'))

    # --- what changes while lkm4 is asked ---

    def talk(self, pid, where, *steps):
        """Check one page, with a lkm4 that answers step by step: (script, report)
        runs the script once pagemap has asked, and then answers."""
        self.lie('fifo')
        self.addCleanup(self.guest.check,
                        f'umount {PARAMETERS}/length; rm /run/length')
        # pagemap sets length= last, each time that it asks.
        answers = '\n'.join(f'''
            read -r _ <&5
            {script}
            printf %s {shlex.quote(report)} >&4''' for script, report in steps)
        status, output = self.guest.run(f'''
            mkfifo /run/length
            mount --bind /run/length {PARAMETERS}/length
            exec 4<>/run/lkm4 5<>/run/length
            echo >&5
            ./pagemap --check {where} 2>&1 & asker=$!
            until [ "$(cat {PARAMETERS}/pid)" = {pid} ]; do usleep 2000; done
            {answers}
            wait $asker''')
        return status, output.splitlines()

    TOGGLE = '''kill -CONT {pid}
        until grep -q '^State:.T' /proc/{pid}/status; do usleep 2000; done'''

    def restless(self):
        """(pid, arguments, how to change it, line that says where its page is,
        where it is not) of a page that is there."""
        process = self.start('restless')
        start = int(process.lines[0], 16)
        span = start, start + self.page
        frame = self.truth(process.pid, [span])[start].frame
        there, gone = (self.range_report(f'VA {start:x}-{span[1]:x}{words}') for words in (
            f' PA {frame * self.page:x} | 1 x 4 kB | rw-', ' | not mapped'))
        return (process.pid, f'{process.pid} {hexadecimal(*span)}',
                self.TOGGLE.format(pid=process.pid), there, gone)

    def test_raced(self):
        """calls a page RACED that changed while lkm4 was asked"""
        pid, where, toggle, _, gone = self.restless()
        status, (line, total) = self.talk(pid, where, (toggle, gone))
        self.assertEqual((status, total),
                         (0, 'TOTAL AGREE 0 RACED 1 DIFFER 0 UNSEEN 0'))
        self.assertRegex(line, r' present 1 RACED \(lkm4: not mapped\)$')

    def test_changed_back(self):
        """calls a page RACED that differs once, and not when asked again"""
        pid, where, _, there, gone = self.restless()
        status, (line, total) = self.talk(pid, where, (':', gone), (':', gone),
                                          (':', there))
        self.assertEqual((status, total),
                         (0, 'TOTAL AGREE 0 RACED 1 DIFFER 0 UNSEEN 0'))
        self.assertRegex(line, r' present 1 RACED \(lkm4: not mapped\)$')

    def test_changes_again(self):
        """calls a page RACED that changes while it is asked for again"""
        pid, where, toggle, _, gone = self.restless()
        status, lines = self.talk(pid, where, (':', gone), (toggle, gone))
        self.assertEqual((status, lines[-1]),
                         (0, 'TOTAL AGREE 0 RACED 1 DIFFER 0 UNSEEN 0'))

    def test_differs(self):
        """says that a page differs that does so whenever it is asked for"""
        pid, where, _, _, gone = self.restless()
        status, (line, total) = self.talk(pid, where, *[(':', gone)] * (1 + TRIES))
        self.assertEqual((status, total),
                         (1, 'TOTAL AGREE 0 RACED 0 DIFFER 1 UNSEEN 0'))
        self.assertRegex(line, r' present 1 DIFFER \(lkm4: not mapped\)$')

    def test_used_otherwise(self):
        """says that a page differs of which only the soft-dirty bit changes"""
        pid, where, _, _, gone = self.restless()
        clear = f'echo 4 >/proc/{pid}/clear_refs'
        status, (_, total) = self.talk(pid, where, (clear, gone),
                                       *[(':', gone)] * TRIES)
        self.assertEqual((status, total),
                         (1, 'TOTAL AGREE 0 RACED 0 DIFFER 1 UNSEEN 0'))

    def test_blocks(self):
        """checks the last page that it reads in one go, and the next one"""
        one_go = 64 * 1024          # BATCH
        pid, start, end = self.reserved(one_go + 1)
        last, behind = end - 2 * self.page, end - self.page
        here = f'VA {last:x}-{behind:x} PA 0 | 1 x 4 kB | rw-'
        then = self.range_report(f'VA {behind:x}-{end:x} PA 0 | 1 x 4 kB | rw-')
        status, lines = self.talk(
            pid, f'--summary {pid} {hexadecimal(start, end)}',
            (':', self.range_report(f'VA {start:x}-{last:x} | not mapped', here)),
            *[(':', self.range_report(here))] * TRIES,
            *[(':', then)] * (1 + TRIES))
        self.assertEqual((status, lines[-1]), (
            1, f'TOTAL AGREE {one_go - 1} RACED 0 DIFFER 2 UNSEEN 0'))

    def test_ends(self):
        """says so when the process ends while lkm4 is asked"""
        pid, where, _, there, _ = self.restless()
        self.assert_ended(pid, *self.talk(
            pid, where, (f'fixtures/held end {pid}', there)))

    def test_ends_again(self):
        """says so when it ends while lkm4 is asked again"""
        pid, where, _, _, gone = self.restless()
        self.assert_ended(pid, *self.talk(
            pid, where, (':', gone), (f'fixtures/held end {pid}', gone)))

    def assert_ended(self, pid, status, lines):
        """All that is said is that the process has ended."""
        self.assertEqual((status, len(lines)), (1, 1))
        self.assertRegex(lines[0], rf'^\./pagemap: process {pid} ended, or started '
                         'another program, before 0x[0-9a-f]+ was read$')

    def test_signal(self):
        """puts lkm4's parameters back when it is told to end"""
        pid, where, *_ = self.restless()
        # More than once: a signal just before it reads would leave it waiting for
        # an answer, which /proc/lkm4 would give, and a fifo does not.
        status, lines = self.talk(pid, where, ('''
            while kill $asker 2>/dev/null; do
                usleep 20000
            done''', ''))
        # The shell has something to say of it, too.
        self.assertEqual((status, lines[0]), (
            128 + 15, "./pagemap: interrupted; lkm4's parameters are as they were"))
        self.assertEqual(self.guest.check(f'cat {PARAMETERS}/pid'), '\n')
