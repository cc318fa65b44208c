# SPDX-License-Identifier: GPL-2.0-only
"""The forms of lines that docs/reports.md has, as regular expressions.

Each indented line there is a form, of the section that it stands in. `<x>` is what the
tables of forms say: any one of the texts in backquotes in its row, which are forms
themselves; or what BASE has for it. `{...}` is not always there, or with a star any
number of times; `<a/b>` is one of those.
"""

import collections
import functools
from pathlib import Path
import re

REPORTS = Path(__file__).resolve().parent.parent.parent / 'docs' / 'reports.md'

# What the tables say in words only.
BASE = {'n': r'\d+', 'hex': '[0-9a-f]+', 'HEX': '[0-9A-F]+', 'name': '.*', 'path': '.+',
        'text': '.*', 'rights': '[r-][w-][x-]', 'symbol': r'[\w.]+',
        'kflags': '(?:[a-z_]+(?:,[a-z_]+)*|-)', 'sort': r'[a-z/ -]+', 'bar': '[█░#.]*'}
# The tables with the words that an entry or a page has, one behind another.
WORDS = {'bits': 'The words of an entry', 'flags': 'The words of a page'}
# Sections whose lines have columns: however many blanks there are count as one.
COLUMNS = ('pagemap', 'lazy_allocation')

# A section's name up to the first colon is whose lines are in it.
Form = collections.namedtuple('Form', 'section text pattern')


def sections(text):
    """(name, lines) of each."""
    parts = re.split(r'^## (.*)$', text, flags=re.M)
    return [(name, body.splitlines()) for name, body in zip(parts[1::2], parts[2::2])]


def cells(line):
    """The cells of a table's row; `\\|` is no border."""
    return [cell.strip().replace('\\|', '|')
            for cell in re.split(r'(?<!\\)\|', line)[1:-1]]


def in_backquotes(cell):
    """The texts in backquotes."""
    return re.findall(r'`([^`]+)`', cell)


def definitions(text):
    """{x: the forms that `<x>` stands for}, of the tables that say so."""
    found = {}
    for _, lines in sections(text):
        inside = False
        for line in lines:
            row = cells(line) if line.startswith('|') else []
            inside = bool(row) and (inside or row[0] == 'in a form')
            if inside and row[0].startswith('`<'):
                found[row[0][2:-2]] = in_backquotes(row[1])
    return found


def words(text, section):
    """The words in the first column of a section's table."""
    rows = [cells(line) for line in dict(sections(text))[section]
            if line.startswith('| `')]
    return [word for row in rows for word in in_backquotes(row[0])]


class Grammar:
    """All forms of a text."""

    def __init__(self, text):
        self.defined = definitions(text)
        self.words = {name: words(text, section) for name, section in WORDS.items()}
        self.forms = [Form(name.partition(':')[0], line[4:], self.pattern(line[4:], name))
                      for name, lines in sections(text) for line in lines
                      if line.startswith('    ')]

    def pattern(self, form, section=''):
        """The regular expression of a form."""
        text = ' '.join(form.split()) if section in COLUMNS else form
        parts = re.split(r'(<[^<>]+>|\{|\}\*?)', text)
        return ''.join(map(self.part, parts))

    def part(self, part):
        """That of a piece of a form."""
        if part == '{':
            return '(?:'
        if part.startswith('}'):
            return ')*' if part == '}*' else ')?'
        if not part.startswith('<'):
            return re.escape(part)
        return self.value(part[1:-1])

    def value(self, name):
        """That of `<name>`."""
        if name in BASE:
            return BASE[name]
        if name in self.words:
            any_word = '|'.join(map(re.escape, self.words[name]))
            return f'(?:{any_word})(?: (?:{any_word}))*'
        if '/' in name:
            return f"(?:{'|'.join(map(re.escape, name.split('/')))})"
        return f"(?:{'|'.join(map(self.pattern, self.defined[name]))})"

    def forms_of(self, *names):
        """The forms of some sections."""
        return [form for form in self.forms if form.section in names]


@functools.lru_cache(maxsize=None)
def grammar():
    """That of docs/reports.md."""
    return Grammar(REPORTS.read_text('utf-8'))


@functools.lru_cache(maxsize=None)
def expression(names):
    """One expression for all forms of some sections."""
    return re.compile('|'.join(f'(?:{form.pattern})'
                               for form in grammar().forms_of(*names)), re.S)


def unknown(lines, *names):
    """Those lines that no form of these sections has."""
    matches = expression(names).fullmatch
    if set(names) & set(COLUMNS):
        lines = [' '.join(line.split()) for line in lines]
    return [line for line in lines if not matches(line)]


def unseen(lines, *names):
    """Those forms of these sections that no line has."""
    if set(names) & set(COLUMNS):
        lines = [' '.join(line.split()) for line in lines]
    return [form.text for form in grammar().forms_of(*names)
            if not any(re.fullmatch(form.pattern, line, re.S) for line in lines)]
