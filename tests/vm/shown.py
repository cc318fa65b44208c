# SPDX-License-Identifier: GPL-2.0-only
"""What the documentation shows: commands, each with its output.

In README.md and docs/lessons/ a block that begins with `$ ` is a session: behind
`$ ` stands a command, behind `> ` below it the rest of one that is longer, and then
what it printed. All sessions of a page are one shell, from the first to the last, so
a variable or a process in the background is there in the next one, too. It is bash,
as root, in the directory of the modules.

Among the output, `...` stands for lines that are left out: as many lines as stand
before it, and behind it, are kept when the output is made anew.
"""

import collections
from pathlib import Path
import re
import secrets

TREE = Path(__file__).resolve().parent.parent.parent
LESSONS = 'docs/lessons'
LEFT_OUT = '...'
INDENT = '    '
RIGHT = 'right'

# A command of a page: itself, its output, and which lines of the page that is.
Shown = collections.namedtuple('Shown', 'command output first end')

# What numbers are made of. One that has no digit but a to f is a word, too: it
# passes for a number where the other one surely is.
TOKEN = re.compile(r'\w+|\s+|[^\w\s]')
NUMBER = re.compile(r'(?:0x)?[0-9a-fA-F]+')
DIGIT = re.compile(r'[0-9]')

# The session is a shell of its own, with a width, and with addresses drawn by lot as
# on any machine; what it leaves running, or stopped, ends with it.
SESSION = '''
random=/proc/sys/kernel/randomize_va_space
before=$(cat $random)
echo 2 >$random
cat >/run/session <<'{mark}'
trap 'kill -KILL $(ps -o pid= -s $$ | grep -vw $$) 2>/dev/null' EXIT
export COLUMNS=80 LANG=C.UTF-8
{script}
{mark}
setsid -w bash /run/session
echo $before >$random
'''


class Unrunnable(Exception):
    """A page's commands did not run to the end; the message says how far."""


def pages():
    """The pages that show commands, by their paths in the tree."""
    lessons = sorted(path.relative_to(TREE).as_posix()
                     for path in (TREE / LESSONS).glob('*.md'))
    return [page for page in ('README.md', *lessons)
            if shown_in((TREE / page).read_text('utf-8'))]


def end_of_output(lines, start):
    """The first line behind a command's output. An empty line belongs to it when
    more of it follows."""
    end = start
    for i in range(start, len(lines)):
        if lines[i].startswith(f'{INDENT}$ ') or (
                lines[i] and not lines[i].startswith(INDENT)):
            break
        if lines[i]:
            end = i + 1
    return end


def shown_in(text):
    """The commands of a page, in their order."""
    lines, found, i = text.splitlines(), [], 0
    while i < len(lines):
        if not lines[i].startswith(f'{INDENT}$ '):
            i += 1
            continue
        command = [lines[i][len(INDENT) + 2:]]
        i += 1
        while i < len(lines) and lines[i].startswith(f'{INDENT}> '):
            command.append(lines[i][len(INDENT) + 2:])
            i += 1
        end = end_of_output(lines, i)
        output = [line[len(INDENT):] for line in lines[i:end]]
        found.append(Shown('\n'.join(command), output, i, end))
        i = end
    return found


def run(guest, commands):
    """What each command prints in one session in a guest, as lines."""
    mark = f'canary{secrets.token_hex(8)}'
    script = '\n'.join(f'echo {mark}\n{command}' for command in commands)
    output = guest.check(SESSION.format(mark=f'{mark}end', script=script),
                         timeout=120)
    before, *printed = output.split(f'{mark}\n')
    if before or len(printed) != len(commands):
        last = commands[len(printed) - 1] if printed else 'the first command'
        raise Unrunnable(f'{last}\nis the last that was run: {output[-2000:]}')
    return [[line.rstrip() for line in text.rstrip().splitlines()]
            for text in printed]


def abridged(new, old):
    """New output, with lines left out as they were in the old one."""
    if LEFT_OUT not in old:
        return new
    head = old.index(LEFT_OUT)
    tail = len(old) - head - 1
    if head + tail >= len(new):
        return new
    return new[:head] + [LEFT_OUT] + new[len(new) - tail:]


def with_output(text, outputs):
    """The text of a page, with new outputs of its commands."""
    lines = text.splitlines()
    for each, new in reversed(list(zip(shown_in(text), outputs, strict=True))):
        lines[each.first:each.end] = [
            f'{INDENT}{line}'.rstrip() for line in abridged(new, each.output)]
    return ''.join(f'{line}\n' for line in lines)


def tokens(line):
    """A line's words, numbers, signs, and blanks, of which as many as there are
    count as one: columns are as wide as what is in them."""
    return [' ' if token.isspace() else token for token in TOKEN.findall(line)]


def alike(one, other):
    """Whether two tokens say the same: two numbers do."""
    return one == other or bool(
        NUMBER.fullmatch(one) and NUMBER.fullmatch(other) and
        (DIGIT.search(one) or DIGIT.search(other)))


def same_line(one, other):
    """Whether two lines are the same but for their numbers."""
    ones, others = tokens(one), tokens(other)
    return len(ones) == len(others) and all(map(alike, ones, others))


def differences(each, new):
    """How the new output of a command differs from what is shown, in words."""
    new = abridged(new, each.output)
    pairs = zip(each.output, new)
    for number, (old_line, new_line) in enumerate(pairs, 1):
        if not same_line(old_line, new_line):
            return (f'$ {each.command}\nline {number} shown: {old_line}\n'
                    f'line {number} now:   {new_line}')
    if len(each.output) != len(new):
        return '\n'.join([f'$ {each.command}\n{len(each.output)} lines are shown; '
                          'now it prints', *new])
    return ''


def checks(text):
    """The last commands of the blocks behind `Check:`, which must print `right`."""
    lines = text.splitlines()
    wanted = [i for i, line in enumerate(lines) if line == 'Check:']
    found = shown_in(text)
    for start in wanted:
        block = start + 2
        while block < len(lines) and (
                lines[block].startswith(INDENT) or not lines[block]):
            block += 1
        inside = [each for each in found if start < each.first <= block]
        yield start + 1, inside[-1] if inside else None
