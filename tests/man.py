# SPDX-License-Identifier: GPL-2.0-only
"""The man pages, which scripts/man makes of the sources, against what they are about:
modinfo of the modules as they were built, and --help of the helpers."""

import collections
import re

from build import HELPERS, TREE
from insmod import rows
from report import LINES
from suite import FIRST, GuestTest

ESCAPES = {r'\-': '-', r'\e': '\\', r'\&': ''}


def unescaped(text):
    """What roff makes of a line's escapes."""
    return re.sub(r'\\.', lambda found: ESCAPES[found[0]], text)


def sections(page):
    """{title: lines} of a page, of .Sh as of .Ss."""
    found, lines = {}, []
    for line in page.splitlines():
        match = re.fullmatch(r'\.S[hs] (.*)', line)
        if match:
            lines = found[match[1]] = []
        lines.append(line)
    return found


def items(lines):
    """{what an item is of: its text} of a section's lists; its words are joined,
    as they are in the text."""
    found, text = {}, []
    for line in lines:
        if line.startswith('.It '):
            text = found[line[len('.It '):]] = []
        elif line.startswith('.') and line != '.br':
            text = []
        elif line != '.br':
            text.append(unescaped(line))
    return {name: ' '.join(words) for name, words in found.items()}


def paragraphs(lines):
    """All words of a section, those of macros left out."""
    return ' '.join(unescaped(line) for line in lines if not line.startswith('.'))


class Pages(GuestTest):
    """Each page that was built with the modules and the helpers."""

    paging = FIRST
    dear = True

    def page(self, name):
        """The source of a page."""
        return self.guest.initramfs.with_name('man').joinpath(
            f'{name}.8').read_text('utf-8')

    def modinfo(self, module):
        """{field: its values} of a module, as modinfo says them."""
        found = collections.defaultdict(list)
        for line in self.guest.check(f'modinfo {module}.ko').splitlines():
            name, _, value = line.partition(':')
            found[name].append(value.strip())
        return found

    def test_parameters(self):
        """lkm(8) has each parameter of modinfo, and no other"""
        found = sections(self.page('lkm'))
        common = found['PARAMETERS']
        for module in LINES:
            info = self.modinfo(module)
            wanted = dict(re.fullmatch(r'(\w+):(.*) \(number\)', line).groups()
                          for line in self.some(info['parm']))
            wanted['log'] = wanted['log'].replace(module, 'lkmN')
            shown = {re.fullmatch(r'Cm (\w+) Ns = Ns Ar number', name)[1]: text
                     for name, text in items(common + found[module]).items()}
            self.assertEqual(shown, wanted, module)
            self.assertIn(f"{info['description'][0]}.", paragraphs(found[module]))

    def test_version(self):
        """modinfo, the helpers and the pages say the one version of the Makefile"""
        version = re.search(r'^VERSION := (\S+)$',
                            (TREE / 'Makefile').read_text(), re.M)[1]
        for module in LINES:
            info = self.modinfo(module)
            self.assertEqual((info['version'], info['license']),
                             ([version], ['GPL']))
        for name in HELPERS:
            self.assertEqual(self.guest.check(f'./{name} --version'),
                             f'{name} {version}\n')
        for name in ('lkm', *HELPERS):
            self.assertIn(f'\n.Os lkm-suite {version}\n', self.page(name))

    def test_help(self):
        """pagemap(8) and lazy_allocation(8) have all that --help says"""
        for name in HELPERS:
            found = sections(self.page(name))
            usage, *blocks = self.guest.check(f'./{name} --help').split('\n\n')
            shown = ' '.join(paragraphs(lines) for lines in found.values())
            for block in (usage.partition('\n')[2], *blocks):
                if not block.startswith('  -'):
                    self.assertIn(' '.join(block.split()), shown)
                    continue
                options = [re.split('  +', line.strip())
                           for line in block.splitlines()]
                self.assertEqual(
                    [[re.sub(r'Ar | (?=,)', '', item.replace('Fl ', '-')), text]
                     for item, text in items(found['OPTIONS']).items()], options)
            self.compared(len(blocks))

    def test_refusals(self):
        """lkm(8) has each row of docs/insmod.md"""
        lines = '\n'.join(sections(self.page('lkm'))['DIAGNOSTICS'])
        # Several have one name.
        shown = [(said, ' '.join(map(unescaped, text.split('\n'))))
                 for said, text in re.findall(
                     r'^\.It Sy "(.*)"\n((?:(?!\.It |\.El).*\n)+)', lines, re.M)]
        self.assertEqual([said for said, _ in shown],
                         [row.said for row in self.some(rows())])
        for (_, text), row in zip(shown, rows()):
            log = row.log.replace('`', '')
            self.assertEqual(text.replace('"', '').strip(),
                             f'In the log: {log} .br Because {row.because}: '
                             f'{row.advice}.')
