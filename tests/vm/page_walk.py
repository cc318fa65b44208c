# SPDX-License-Identifier: GPL-2.0-only
"""A picture of one page walk, drawn of what lkm4 said of an address of a process."""

import collections
from html import escape
import re

# The stack of a process that sleeps, near its upper end.
WALK = '''
sleep 1000 & pid=$!
sleep 1
stack=$(sed -n '/stack/s/ .*//p' /proc/$pid/maps)
insmod lkm4.ko log=0 vmas=0 pid=$pid address=$((0x${stack#*-} - 0x544))
cat /proc/lkm4
rmmod lkm4; kill $pid
'''
ENTRY = re.compile(r'^VALID (...) ADDRESS = (\w+) \| INDEX = (\d+) \| ENTRY = (\w+) '
                   r'\| ([^|\n]*\w)', re.M)
END = re.compile(r'^The virtual address (\w+) maps to physical address (\w+)$', re.M)

Entry = collections.namedtuple('Entry', 'level shift index value words')
Walk = collections.namedtuple('Walk', 'virtual physical entries')

# Bits 12 to 51 of an entry, as the digits that are theirs of sixteen.
FRAME = slice(3, 13)
SHIFTS = {'PGD': 39, 'PUD': 30, 'PMD': 21, 'PTE': 12}

INDEX, PLACE, OFFSET, INK, GREY = '#b45309', '#1d4ed8', '#15803d', '#111827', '#6b7280'
WIDTH, HEIGHT = 800, 596
COLUMN, BOX = 156, 138          # from one column to the next, and how wide one is
TOP, TALL, ROW = 196, 210, 38   # of the tables, and of the entry in one
SAID = ('The address, in binary above, says which entry of each table it is, and which byte of '
        'the page.',
        'An entry says where the next table lies; the grey words are its flags.',
        'The stack of a process on Linux {}, x86-64, as lkm4 shows it. The P4D is folded: '
        'its entry is the PGD’s.')
STYLE = ('text{font-family:ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace;'
         'font-size:12.5px}'
         '.say{font-family:system-ui,"Segoe UI","DejaVu Sans",sans-serif;font-size:13px}'
         '.title{font-size:17px;font-weight:bold}.b{font-weight:bold}')


class Strange(Exception):
    """A walk that is no picture of how one goes."""


def parse(report):
    """The walk in a report, if it is one of four levels that adds up."""
    entries = [Entry(level, SHIFTS[level], int(index), int(value, 16), words.split())
               for level, _, index, value, words in ENTRY.findall(report)
               if level in SHIFTS]
    end = END.search(report)
    if not end or [entry.level for entry in entries] != list(SHIFTS):
        raise Strange(f'not a walk through four levels: {report}')
    walk = Walk(int(end[1], 16), int(end[2], 16), entries)
    if ([entry.index for entry in entries] !=
            [walk.virtual >> entry.shift & 511 for entry in entries] or
            walk.physical != frame(entries[-1]) | walk.virtual & 4095):
        raise Strange(f'it does not add up: {report}')
    return walk


def frame(entry):
    """The physical address that an entry leads to."""
    return entry.value & ((1 << 52) - (1 << 12))


# --- drawing -----------------------------------------------------------------

def span(words, colour, bold=False):
    """A piece of a text, of its own colour."""
    weight = ' class="b"' * bold
    return f'<tspan fill="{colour}"{weight}>{escape(words)}</tspan>'


def text(x, y, words, kind='', anchor='start', colour=INK):
    """A line of text, of one piece or of spans."""
    words = words if words.startswith('<tspan') else escape(words)
    kind = f' class="{kind}"' if kind else ''
    return (f'<text x="{x:g}" y="{y:g}" fill="{colour}" text-anchor="{anchor}"{kind}>'
            f'{words}</text>')


def box(x, y, width, height, fill='#f9fafb', line='#9ca3af'):
    """A rectangle."""
    return (f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="3" '
            f'fill="{fill}" stroke="{line}"/>')


def arrow(colour, *points):
    """A line that ends in an arrow."""
    path = ' '.join(f'{x:g},{y:g}' for x, y in points)
    return (f'<polyline points="{path}" fill="none" stroke="{colour}" '
            f'stroke-width="1.5" marker-end="url(#{colour[1:]})"/>')


def marker(colour):
    """The head of such an arrow."""
    return (f'<marker id="{colour[1:]}" viewBox="0 0 8 8" refX="7" refY="4" '
            'markerWidth="7" markerHeight="7" orient="auto">'
            f'<path d="M0,0 L8,4 L0,8 z" fill="{colour}"/></marker>')


def left_of(column):
    """Where a column begins: four tables, and the page."""
    return 20 + column * COLUMN


def row_of(part, whole):
    """Where the entry is drawn that lies so far down in its table."""
    return TOP + part / whole * (TALL - ROW)


def spelled(entry):
    """An entry's sixteen digits: the frame among the flags. Zeros in front are left
    out."""
    digits = f'{entry.value:016x}'
    shown = len(digits) - len(digits.lstrip('0'))
    return (span(digits[shown:FRAME.start], GREY) +
            span(digits[max(shown, FRAME.start):FRAME.stop], PLACE, True) +
            span(digits[FRAME.stop:], GREY))


def bits(walk):
    """The address in binary, cut into its five parts."""
    for column, entry in enumerate(walk.entries):
        x = left_of(column)
        yield text(x + BOX / 2, 72, f'bits {entry.shift + 8}-{entry.shift}', 'say',
                   'middle', GREY)
        yield box(x, 80, BOX, 28)
        yield text(x + BOX / 2, 99, f'{entry.index:09b}', '', 'middle')
        yield text(x + BOX / 2, 127, span(f'= {entry.index}', INDEX, True), '', 'middle')
        yield arrow(INDEX, (x + BOX / 2, 133), (x + BOX / 2, 150))
    x, offset = left_of(4), walk.virtual & 4095
    yield text(x + BOX / 2, 72, 'bits 11-0', 'say', 'middle', GREY)
    yield box(x, 80, BOX, 28)
    yield text(x + BOX / 2, 99, f'{offset:012b}', '', 'middle')
    yield text(x + BOX / 2, 127, span(f'= {offset:03x}', OFFSET, True), '', 'middle')
    yield arrow(OFFSET, (x + BOX / 2, 133), (x + BOX / 2, 150))


def table(walk, column):
    """A table, with the entry that the walk takes, and its flags below."""
    x, entry = left_of(column), walk.entries[column]
    y = row_of(entry.index, 511)
    where = (span(f'{frame(walk.entries[column - 1]):x}', PLACE, True) if column
             else span('where CR3 says', GREY))
    yield text(x, 170, f'{entry.level}: 512 entries', 'say b')
    yield text(x, 187, where)
    yield box(x, TOP, BOX, TALL)
    yield box(x, y, BOX, ROW, '#fff7ed', INDEX)
    yield text(x + 6, y + 15, span(f'entry {entry.index}', INDEX, True))
    yield text(x + 6, y + 31, spelled(entry))
    gap = left_of(column + 1)
    yield arrow(PLACE, (x + BOX, y + ROW / 2), (gap - 9, y + ROW / 2), (gap - 9, TOP + 7),
                (gap - 1, TOP + 7))
    for line, word in enumerate(entry.words):
        yield text(x + 6, TOP + TALL + 18 + 15 * line, word, 'say', colour=GREY)


def page(walk):
    """The page, and the byte in it."""
    x, offset = left_of(4), walk.virtual & 4095
    y = row_of(offset, 4095)
    base = frame(walk.entries[-1])
    yield text(x, 170, 'page: 4096 bytes', 'say b')
    yield text(x, 187, span(f'{base:x}', PLACE, True))
    yield box(x, TOP, BOX, TALL)
    yield box(x, y, BOX, ROW, '#f0fdf4', OFFSET)
    yield text(x + 6, y + 15, span(f'byte {offset:03x}', OFFSET, True))
    yield text(x + 6, y + 31, span(f'{base >> 12:x}', PLACE, True) +
               span(f'{offset:03x}', OFFSET, True))
    yield text(x + 6, TOP + TALL + 18, 'physical address', 'say', colour=GREY)


def draw(walk, release):
    """The picture, as SVG."""
    title = f'Virtual address {walk.virtual:x}, physical address {walk.physical:x}'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{escape(title)}">',
        f'<style>{STYLE}</style><defs>', *map(marker, (INDEX, PLACE, OFFSET)), '</defs>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        text(20, 34, title, 'say title'), *bits(walk),
        *(part for column in range(4) for part in table(walk, column)), *page(walk),
        *(text(20, HEIGHT - 52 + 18 * line, words.format(release), 'say', colour=GREY)
          for line, words in enumerate(SAID)),
        '</svg>']
    return ''.join(f'{part}\n' for part in parts)
