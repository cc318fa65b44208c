# SPDX-License-Identifier: GPL-2.0-only
"""Outcomes: printed as they come, counted, and drawn as a table at the end."""

import collections
import sys

from kernel import listed

# figures: {what a test did: how often}.
Outcome = collections.namedtuple('Outcome', 'title status detail figures',
                                 defaults=({},))
STATUSES = ('passed', 'failed', 'skipped')
HEAD = '/'.join(STATUSES)
TREE = 'tree'       # stands for a kernel where none is looked at


class Tap:
    """Prints outcomes as TAP, counts them by kernel and test file, and adds up
    their figures by kernel."""

    def __init__(self):
        self.counts = collections.defaultdict(collections.Counter)
        self.figures = collections.defaultdict(collections.Counter)

    def total(self, kernel=None):
        """The counts of a kernel, or of all."""
        return sum((counts for (name, _), counts in self.counts.items()
                    if kernel in (None, name)), collections.Counter())

    def show(self, kernel, name, outcome, where=''):
        """Print one outcome with its number."""
        self.counts[kernel, name][outcome.status] += 1
        self.figures[kernel].update(outcome.figures)
        word = 'not ok' if outcome.status == 'failed' else 'ok'
        place = ' '.join(filter(None, (kernel, where, name)))
        line = f'{word} {sum(self.total().values())} - {place}: {outcome.title}'
        if outcome.status == 'skipped':
            line += f' # SKIP {outcome.detail}'
        print(line)
        if outcome.status == 'failed':
            print('\n'.join(f'# {text}'
                            for text in outcome.detail.splitlines()))
        sys.stdout.flush()

    def end(self):
        """Print the plan, the table and the counts; whether all is well."""
        total = self.total()
        print(f'1..{sum(total.values())}')
        print('\n'.join(f'# {line}' for line in self.table()))
        if any(self.figures.values()):
            print('\n'.join(f'# {line}' for line in self.figures_table()))
        print(in_words(total), flush=True)
        return bool(total['passed']) and not total['failed']

    def table(self):
        """Kernels by test files, as lines of Markdown."""
        names = sorted({name for _, name in self.counts})
        return markdown([[HEAD, *names], *self.rows(names)])

    def figures_table(self):
        """What was done by kernels, as lines of Markdown."""
        kernels = [name for name in self.kernels() if self.figures[name]]
        names = sorted(set().union(*self.figures.values()))
        totals = [cell(self.total(name)) for name in kernels]
        return markdown([['', *kernels], [f'tests: {HEAD}', *totals]] +
                        [[name, *(str(self.figures[kernel].get(name, '-'))
                                  for kernel in kernels)] for name in names])

    def kernels(self):
        """The kernels that something was run on, in the order of their list."""
        order = {name: i for i, name in enumerate([TREE, 'stock', *listed()])}
        return sorted({kernel for kernel, _ in self.counts},
                      key=lambda name: order.get(name, -1))

    def rows(self, names):
        """A row for each kernel: its name, and a cell for each test file."""
        return [[kernel] + [cell(self.counts.get((kernel, name)))
                            for name in names]
                for kernel in self.kernels()]

    def brief_table(self, names):
        """The same of some test files, and of all others together; with one row for
        all kernels whose cells are the same, and without what is not of a kernel."""
        alike = collections.defaultdict(list)
        for kernel, *cells in self.rows(names):
            if kernel != TREE:
                rest = sum((counts for (place, name), counts in self.counts.items()
                            if place == kernel and name not in names),
                           collections.Counter())
                alike[(*cells, cell(rest))].append(kernel)
        return markdown([[HEAD, *names, 'others']] +
                        [[', '.join(kernels), *cells]
                         for cells, kernels in alike.items()])


def markdown(rows):
    """A table as lines of Markdown; the first row is its head."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ['| ' + ' | '.join(map(str.ljust, row, widths)) + ' |'
             for row in rows]
    ruler = '| ' + ' | '.join('-' * width for width in widths) + ' |'
    return [lines[0], ruler, *lines[1:]]


def write_into(path, command, lines):
    """Put lines between the two marks that a text has for a command's results."""
    begin, end = f'<!-- what {command} found -->', '<!-- until here -->'
    before, _, rest = path.read_text().partition(begin)
    _, _, behind = rest.partition(end)
    if not behind:
        raise ValueError(f'{path.name} lacks the marks for what {command} finds')
    middle = ''.join(f'{line}\n' for line in lines)
    path.write_text(f'{before}{begin}\n{middle}{end}{behind}')


def cell(counts):
    """Passed, failed and skipped; `-` where nothing was run."""
    if not counts:
        return '-'
    return '/'.join(str(counts[status]) for status in STATUSES)


def in_words(counts):
    """12 passed, 0 failed, 0 skipped."""
    return ', '.join(f'{counts[status]} {status}' for status in STATUSES)
