# SPDX-License-Identifier: GPL-2.0-only
"""What nobody should ask of the modules, in the table hostile.tsv: one line that
says what is wrong, the right errno, and nothing left behind; by insmod, and by
/proc/lkmN of a module that stays loaded."""

import collections
import errno
import os
from pathlib import Path
import re
import secrets
import shlex

from suite import (DMESG, FIRST, INSMOD, KERN_ERR, RMMOD, GuestTest,
                   module_lines)

TABLE = Path(__file__).with_name('hostile.tsv')
PARAMETERS = {'lkm1': ('threads',), 'lkm2': ('top', 'resident'),
              'lkm3': ('pid', 'all', 'trace'),
              'lkm4': ('pid', 'address', 'length', 'phys', 'vmas'),
              'lkm5': ('pid', 'all', 'vmas', 'verify')}
# Fewer than the log has room for, though some of them list every process.
AT_ONCE = 50

ASSIGNMENT = re.compile(r'(\w+)=(?:"([^"]*)"|(\S*))')

# What each set may find of the one before it, which is nothing.
INSERT = f'''
try() {{
    echo "$1" >/dev/kmsg
    echo "$1"
    {INSMOD} $2.ko "$3" && {RMMOD} $2
    [ ! -e /proc/$2 ] && [ ! -e /sys/module/$2 ] || echo "$2 is left"
}}
'''
# Only what the shell can do itself, which is quick.
ASK = '''
begin() {
    echo "$1" >/dev/kmsg
    echo "$1"
    directory=/sys/module/$2/parameters
    for file in $directory/*; do
        [ $file = $directory/log ] || echo >$file
    done
}
put() {
    printf '%s\\n' "$2" >$directory/$1
}
ask() {
    read -r line </proc/$1 && printf '%s\\n' "$line"
}
'''


class Set(collections.namedtuple('Set', 'error module parameters said')):
    """What a module is asked with, and what it has to say to that."""

    @property
    def values(self):
        """{name: value}, where they can be written one by one as well, else None."""
        found = [(name, quoted or plain) for name, quoted, plain in
                 ASSIGNMENT.findall(self.parameters)]
        if ASSIGNMENT.sub('', self.parameters).strip():
            return None
        names = [name for name, _ in found]
        if len(set(names)) < len(names) or set(names) - set(PARAMETERS[self.module]):
            return None
        return dict(found)


def sets(numbers):
    """All of the table, with a guest's numbers in it."""
    lines = [line for line in TABLE.read_text().splitlines()
             if line and not line.startswith('#')]
    words = dict(line.split(' = ', 1) for line in lines if '\t' not in line)
    word = re.compile('|'.join(rf'\b{name}\b' for name in words))
    for line in lines:
        if '\t' in line:
            name, modules, asked, said = line.split('\t')
            said = word.sub(lambda match: words[match[0]], said)
            for module in modules.split():
                yield Set(0 if name == '-' else getattr(errno, name), module,
                          plain(asked, numbers), plain(said, numbers))


def plain(text, numbers):
    """A text of the table as it is sent, and logged."""
    def number(match):
        value = numbers[match[1]] + int(match[2] or '0', 16)
        return hex(value) if match[1] == 'end' else str(value)
    text = re.sub(r'\{(\w+?)([+-]\w+)?\}', number, text)
    text = re.sub(r'<(.)\*(\d+)>', lambda match: match[1] * int(match[2]), text)
    raw = re.sub(rb'<([0-9a-f]{2})>', lambda match: bytes.fromhex(match[1].decode()),
                 text.encode())
    return raw.decode(errors='surrogateescape')


class Hostile(GuestTest):
    """Each set of the table."""

    paging = FIRST

    def table(self):
        """The sets, and the processes that they are about."""
        process = self.start('memory', 'threads=3')
        threads = self.guest.check(f'ls /proc/{process.pid}/task').split()
        found = list(sets({'zombie': self.states()['zombie'],
                           'thread': max(map(int, threads)),
                           'end': self.tables.end}))
        self.assertGreaterEqual(len(set(found)), 200)
        self.assertEqual({each.module for each in found}, set(PARAMETERS))
        return found

    def tried(self, script, each_line, tried):
        """(set, what was said to the shell, what the module logged) of each."""
        for start in range(0, len(tried), AT_ONCE):
            some = tried[start:start + AT_ONCE]
            token = secrets.token_hex(8)
            lines = '\n'.join(each_line(f'{token} {i}', each)
                              for i, each in enumerate(some))
            output = self.guest.check(f'{script}\n{lines}\n'
                                      f'echo {token} 0; {DMESG}')
            parts = re.split(rf'.*{token} \d+\n', output)[1:]
            # As many again in the log, the first with what came before it.
            self.assertEqual(len(parts), 2 * len(some) + 1)
            for i, each in enumerate(some):
                log = parts[len(some) + 1 + i]
                yield each, parts[i].strip(), module_lines(log, each.module)
        self.did('hostile inputs', len(tried))

    def check_lines(self, each, lines):
        """Of a refusal one line, and at KERN_ERR; what the loader says of names
        that it does not know stands before it."""
        errors = [text for level, text in lines if level == KERN_ERR]
        self.assertEqual(errors, [each.said] if each.error else [], each)
        if each.error:
            self.assertFalse([text for level, text in lines if level != KERN_ERR
                              and ' ignored' not in text], each)

    def test_insmod(self):
        """says what the table says, is not loaded, and leaves nothing"""
        for each, said, lines in self.tried(
                INSERT, lambda mark, each: 'try ' + shlex.join(
                    [mark, each.module, each.parameters]), self.table()):
            with self.subTest(each):
                self.check_lines(each, lines)
                self.assertEqual(said, f'insmod: {each.module}.ko: '
                                 f'{os.strerror(each.error)}' if each.error else '')
                self.assertTrue(each.error or any(
                    text.startswith(each.said) for _, text in lines), lines)

    def test_file(self):
        """says the same to a reader of /proc/lkmN"""
        load = '\n'.join(f'{INSMOD} {module}.ko log=0' for module in PARAMETERS)
        self.addCleanup(self.guest.check, f"{RMMOD} {' '.join(PARAMETERS)}")
        self.guest.check(load)
        for each, said, lines in self.tried(
                ASK, self.asked, [each for each in self.table()
                                  if each.values is not None]):
            with self.subTest(each):
                self.check_lines(each, lines)
                if each.error:
                    self.assertTrue(said.endswith(
                        f'cannot open /proc/{each.module}: '
                        f'{os.strerror(each.error)}'), said)
                else:
                    self.assertTrue(said.startswith(each.said), said)

    @staticmethod
    def asked(mark, each):
        """The shell's commands for a set."""
        return '; '.join([f"begin '{mark}' {each.module}",
                          *(f'put {name} {shlex.quote(value)}'
                            for name, value in each.values.items()),
                          f'ask {each.module}'])
