# SPDX-License-Identifier: GPL-2.0-only
"""The documentation says what is so.

Each command that README.md and the lessons show is run again, in one session for each
page, and prints what stands there, but for its numbers (tests/vm/shown.py). `make docs`
puts it there, on the same kernel.
"""

import contextlib
import importlib.machinery
import importlib.util
import io
from pathlib import Path

import shown
from suite import FIRST, GuestTest

DEMO = Path(__file__).resolve().parent / 'vm' / 'demo'


def demonstration():
    """What `make demo` does once it has a guest."""
    loader = importlib.machinery.SourceFileLoader('demo', str(DEMO))
    module = importlib.util.module_from_spec(
        importlib.util.spec_from_loader('demo', loader))
    loader.exec_module(module)
    return module.demonstrate


class Pages(GuestTest):
    """A test for each page: these are made below."""

    paging = FIRST
    first_kernel = True

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
        for line, each in shown.checks(text):
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
    setattr(Pages, f"test_{Path(_page).stem.replace('-', '_')}", _test_of(_page))
