# SPDX-License-Identifier: GPL-2.0-only
"""The documentation says what is so.

docs/reports.md has a form for each line that is printed (tests/vm/grammar.py): reports of
every kind are asked for here, and all others are held to it as they are made
(tests/suite.py). Each form is one that some line has.

Each command that README.md and the lessons show is run again, in one session for each
page, and prints what stands there, but for its numbers (tests/vm/shown.py). `make docs`
puts it there, on the same kernel.
"""

import contextlib
import importlib.machinery
import importlib.util
import io
from pathlib import Path
import re

import grammar
import shown
from suite import DMESG, FIRST, INSMOD, RMMOD, GuestTest, module_lines

# What each module is asked: the parameters of its reports, and then of those that are
# refused. The script that asks has set the variables.
QUESTIONS = {
    'lkm1': (('', 'threads=1'), ('threads=2',)),
    'lkm2': (('', 'top=3', 'resident=1'), ('top=-1',)),
    'lkm3': (('', 'pid=$pid trace=1', 'all=1', 'pid=$zombie trace=1'),
             ('pid=x', 'pid=4194304', 'all=1 trace=1')),
    'lkm4': (('pid=$pid address=$used', 'pid=$pid address=$unused vmas=0',
              'pid=$pid address=$file vmas=0', 'pid=$pid address=$gap vmas=0',
              'pid=$pid address=$start length=0x21000 vmas=0', 'phys=0', 'phys=$frame'),
             ('', 'pid=2 address=0', 'pid=1', 'pid=1 address=0xffffffffffffffff',
              'pid=1 address=0 length=0', 'pid=1 address=4096 length=0xf000000000000000',
              'phys=0 pid=1')),
    'lkm5': (('pid=$pid', 'pid=$many vmas=2 verify=1', 'all=1'), ('all=1 vmas=0',))}

# A process with memory that is there and memory that is not, a zombie, and one with
# more mappings than the log keeps lines; and a frame that is mapped.
SUBJECTS = '''
pid=$(fixtures/held start fixtures/memory anon=40 | head -n 1)
many=$(fixtures/held start fixtures/memory vmas=3000 | head -n 1)
states=$(fixtures/held start fixtures/states | sed -n '1p; s/^zombie //p')
zombie=${states#*[!0-9]} states=${states%%[!0-9]*}
stack=$(sed -n '/stack/s/ .*//p' /proc/$pid/maps)
start=0x${stack%-*} unused=0x${stack%-*} used=$((0x${stack#*-} - 8)) gap=0
file=0x$(sed -n '1s/-.*//p' /proc/$pid/maps)
page=$(($(sed -n '/^KernelPageSize/{s/[^0-9]//g;p;q}' /proc/$pid/smaps) * 1024))
pfn=$(./pagemap $pid $used $((used + 8)) | sed 's/.*pfn \\(\\w*\\).*/\\1/')
frame=$((0x$pfn * page))
'''
END = 'for each in $pid $many $states; do fixtures/held end $each; done'

# What of docs/reports.md is not seen here, and why.
UNSEEN = {
    'TRACE: <function>': 'from Linux 6.7 on',
    'pid=<n>: it ended, or started another program, before 0x<hex> was looked at; '
    'the report goes no further': 'tests/region.py',
    'interrupted before the report was made; try again': 'tests/killed.py',
    'interrupted before the report was whole; try again': 'tests/killed.py',
    'no memory for the report; free some and try again': 'tests/failing.py',
    '/proc/<module> cannot be made: no memory, or the name is taken': 'tests/failing.py'}

DEMO = Path(__file__).resolve().parent / 'vm' / 'demo'


def demonstration():
    """What `make demo` does once it has a guest."""
    loader = importlib.machinery.SourceFileLoader('demo', str(DEMO))
    module = importlib.util.module_from_spec(
        importlib.util.spec_from_loader('demo', loader))
    loader.exec_module(module)
    return module.demonstrate


class Forms(GuestTest):
    """docs/reports.md, held to what is printed."""

    paging = FIRST

    def asked(self, module):
        """The lines of a module's reports in the log, and of its refusals."""
        reports, refusals = QUESTIONS[module]
        load = '\n'.join(f'{INSMOD} {module}.ko {words} && {RMMOD} {module} || exit'
                         for words in reports)
        fail = '\n'.join(f'{INSMOD} {module}.ko {words} 2>/dev/null && exit 1'
                         for words in refusals)
        log = self.guest.check(
            f'{SUBJECTS}\n{DMESG} -c >/dev/null\n{load}\n{DMESG} -c\necho %\n{fail}\n'
            f'{DMESG}\n{END}')
        return [[text for _, text in module_lines(part, module)]
                for part in log.split('%\n')]

    def test_lines(self):
        """each line has a form, and each form a line"""
        printed, refused, frames = [], [], []
        for module in QUESTIONS:
            lines, refusals = self.asked(module)
            self.formed(self.some(lines), module, 'The frame')
            self.formed(self.some(refusals), 'Refusals')
            printed += [(module, each) for each in grammar.unseen(lines, module)]
            frames += grammar.unknown(lines, module)
            refused += refusals
        unseen = [*[form for _, form in printed], *grammar.unseen(refused, 'Refusals'),
                  *grammar.unseen(frames, 'The frame')]
        self.assertEqual(set(unseen) - set(UNSEEN), set(), 'never seen')

    def test_helpers(self):
        """so has each line of pagemap and lazy_allocation"""
        self.swap_on()
        pid = self.start('memory', 'anon=9', 'swapped=9').pid
        pages = self.guest.check(f'''
            {INSMOD} lkm4.ko log=0
            ./pagemap {pid}; ./pagemap --flags --check {pid}; ./pagemap --summary {pid}
            {RMMOD} lkm4''').splitlines()
        steps = self.guest.check('LANG=C.UTF-8 ./lazy_allocation --size 4M').splitlines()
        for name, lines in ('pagemap', pages), ('lazy_allocation', steps):
            self.formed(self.some(filter(None, lines)), name)
            self.assertEqual(grammar.unseen(lines, name), [])


class Pages(GuestTest):
    """A test for each page: these are made below."""

    paging = FIRST
    first_kernel = True
    slow = True

    def holds(self, page):
        """Whether a page shows what its commands print, and its answers are right."""
        text = (shown.TREE / page).read_text('utf-8')
        commands = shown.shown_in(text)
        outputs = shown.run(self.guest, [each.command for each in commands])
        self.compared(sum(len(each.output) for each in commands))
        found = [shown.differences(*pair)
                 for pair in zip(commands, outputs, strict=True)]
        if any(found):
            self.fail('\n'.join([f'{page}: make docs would change it:',
                                 *filter(None, found)]))
        questions = list(shown.checks(text))
        if page.startswith(shown.LESSONS):
            self.assertIn(len(questions), range(3, 6), 'questions in a lesson')
        for line, each in questions:
            self.assertTrue(each and each.output[-1:] == [shown.RIGHT],
                            f'{page}:{line}: nothing below tells a right answer')

    def test_demo(self):
        """make demo: each of its commands succeeds"""
        self.addCleanup(self.guest.run, 'kill $(pidof sleep)')
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            demonstration()(self.guest)
        self.assertIn('12 of 12 expectations held', said.getvalue())


def _test_of(page):
    def test(self):
        self.holds(page)
    test.__doc__ = f'{page}: its commands print what it shows'
    return test


for _page in shown.pages():
    setattr(Pages, 'test_' + re.sub(r'\W+', '_', _page), _test_of(_page))
