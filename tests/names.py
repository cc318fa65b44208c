# SPDX-License-Identifier: GPL-2.0-only
"""Names that their owners chose to deceive: of processes, and of files that are
mapped. They forge no line of any report, and bring no control character into it."""

import re
import shlex

from suite import (DMESG, FIRST, INSMOD, KERN_ERR, RMMOD, GuestTest,
                   module_lines, words)

# What owners may call their processes, and how it must read.
NAMES = {
    b'plain': 'plain',
    b'a\nPID: 1': r'a\nPID: 1',
    b'\nlkm1: PID: 7 |': r'\nlkm1: PID: 7 |',
    b'\x1b[2J\x07': r'\e[2J\a',
    b'\x1b]0;x\x1b\\': r'\e]0;x\e\\',
    b'back\\slash': r'back\\slash',
    b'%n%s%p%d%c': '%n%s%p%d%c',
    b'x) R 1 (': 'x) R 1 (',
    b' a | PID: 1 ': ' a | PID: 1 ',
    b'\t\r\v\f\b"': r'\t\r\v\f\010"',
    b'\x01' * 15: r'\001' * 15,
    b'\x1f\x7f': r'\037\177',
    b'': '',
    'größer'.encode(): 'größer',
    b'\xff\xfe\x80': b'\xff\xfe\x80'.decode('utf-8', 'surrogateescape'),
    b'0123456789abcd\xc2': '0123456789abcd\udcc2',
}
# And what they may call the program that they run.
FILES = {
    b'plain': 'plain',
    b'a\nVMA = 1000-2000 rwxp': r'a\nVMA = 1000-2000 rwxp',
    b'\n' * 255: r'\n' * 255,
    b'\x1b]0;x\x07': r'\e]0;x\a',
    b'x | y (deleted)': 'x | y (deleted)',
    b'%n%s\\': r'%n%s\\',
    b'[vsyscall]': '[vsyscall]',
}
DIRECTORY = '/run/names'

CONTROL = re.compile(rb'[\x00-\x09\x0b-\x1f\x7f]')
# How the lines of a list begin, whatever the name is.
ROWS = {
    'lkm1': r'PID: \d+ \| PROCESS: .*\| STATE: \d+ \(.\) \| PPID: \d+ \| '
            r'THREADS: \d+|PROCESSES: \d+ \| THREADS: ',
    'lkm2': r'PID: \d+ \| PROCESS: .*\| STATE: \d+ \(.\) \| HEAP: [0-9A-F]+ \(|'
            r'MAX HEAP USAGE BY PID = ',
    'lkm3': r'PID: \d+ \| TID: \d+ \| PROCESS: .*\| IN USE = ',
    'lkm4': r'PHYSICAL ADDRESS [0-9a-f]+ \| PID: \d+ \| PROCESS: .*\| VA |MAPPINGS = ',
    'lkm5': r'PID: \d+ \| PROCESS: .*\| VSZ: \d+ kB \| RSS: \d+ kB \| SWAP: \d+ kB$|'
            r'PROCESSES: \d+ \| VSZ: ',
}
CODE = re.compile(r'VA [0-9a-f]+-[0-9a-f]+ PA ([0-9a-f]+) \| .* \| r-x$')
PAGE = re.compile(r'0x[0-9a-f]+ +: (?:pfn|swap) \S+ +soft-dirty [01] file/shared '
                  r'[01] swapped [01] present [01]')


class Names(GuestTest):
    """Reports of processes with such names."""

    paging = FIRST

    def clean(self, text):
        """The lines of a text, which has no control character."""
        self.assertIsNone(CONTROL.search(text.encode(errors='surrogateescape')), text)
        return text.removesuffix('\n').split('\n')

    def named(self):
        """[(pid, how its name must read)] of processes that stand still."""
        process = self.start('names', *(name.hex() for name in NAMES))
        self.assertEqual(len(process.lines), len(NAMES))
        return list(zip(map(int, process.lines), NAMES.values()))

    def lists(self, pid):
        """(module, its parameters) of the reports that show every process: one of
        them by a page of the program, which all these run."""
        lines = self.proc('lkm4', pid=pid, address=0, length=self.tables.end, vmas=0)
        phys = next(match[1] for match in map(CODE.match, lines) if match)
        return [('lkm1', {}), ('lkm1', {'threads': 1}), ('lkm2', {}),
                ('lkm3', {'all': 1}), ('lkm4', {'phys': f'0x{phys}'}),
                ('lkm5', {'all': 1})]

    def check_list(self, module, lines, named):
        """Every line is a row, and each name is in one."""
        for line in self.some(lines):
            self.assertRegex(line, f'^(?:{ROWS[module]})')
        for pid, shown in named:
            rows = [line for line in lines if re.search(rf'\bPID: {pid} ', line)]
            self.assertEqual(len(rows), 1, shown)
            self.assertIn(f' | PROCESS: {shown} | ', rows[0])

    def test_lists(self):
        """lists show each name in a line of its own, in the file and in the log"""
        named = self.named()
        for module, parameters in self.lists(named[0][0]):
            loaded = words(module, **parameters)
            said = self.guest.check(f'''
                {INSMOD} {loaded} log=0 && cat /proc/{module} && {RMMOD} {module}''')
            self.check_list(module, self.clean(said), named)
            log = self.guest.check(f'''
                echo names >/dev/kmsg
                {INSMOD} {loaded} && {RMMOD} {module} && {DMESG}''')
            log = log.rpartition('] names\n')[2]
            lines = [text for _, text in module_lines('\n'.join(self.clean(log)), module)]
            self.check_list(module, lines[1:-2], named)
            self.did('hostile inputs', 2 * len(NAMES))

    def asked_of(self, module, pids, **parameters):
        """The lines of a module's report of each process."""
        parts = self.guest.check(f'''
            {INSMOD} {words(module, log=0, **parameters)} || exit
            for pid in {' '.join(map(str, pids))}; do
                echo $pid >/sys/module/{module}/parameters/pid
                cat /proc/{module} || exit
                echo ==
            done
            {RMMOD} {module}''').split('==\n')[:-1]
        self.assertEqual(len(parts), len(pids))
        return [self.clean(part) for part in parts]

    def test_one(self):
        """reports of one process show its name in the first line, and nowhere else"""
        named = self.named()
        pids = [pid for pid, _ in named]
        for module, parameters in (('lkm3', {'trace': 1}), ('lkm5', {'vmas': 0}),
                                   ('lkm4', {'address': 0, 'vmas': 0})):
            answers = self.asked_of(module, pids, **parameters)
            for (pid, shown), lines in zip(named, answers):
                self.assertRegex(lines[0], rf'^PID: {pid} \| PROCESS: '
                                 rf'{re.escape(shown)}(?: \| STATE: |$)')
                self.assertEqual(
                    [re.sub(r'[0-9a-f]+', 'N', line)[:12] for line in lines[1:]],
                    [re.sub(r'[0-9a-f]+', 'N', line)[:12] for line in answers[0][1:]],
                    shown)
            self.did('hostile inputs', len(NAMES))

    def test_refusals(self):
        """a refusal shows the name in its one line"""
        named = self.named()
        pids = ' '.join(str(pid) for pid, _ in named)
        for module in 'lkm4', 'lkm5':
            log = self.guest.check(f'''
                kill -KILL {pids} 2>/dev/null
                echo names >/dev/kmsg
                for pid in {pids}; do
                    until grep -q '^State:.Z' /proc/$pid/status; do usleep 2000; done
                    {INSMOD} {module}.ko pid=$pid {'address=0' * (module == 'lkm4')}
                done 2>/dev/null
                {DMESG}''')
            log = '\n'.join(self.clean(log.rpartition('] names\n')[2]))
            self.assertEqual(module_lines(log, module), [
                (KERN_ERR, f'pid={pid}: {shown} has no user memory; give the pid of a '
                 'process that is neither a kernel thread nor a zombie')
                for pid, shown in named])

    def test_files(self):
        """the name of a mapped file ends its line, and begins no other"""
        self.addCleanup(self.guest.check, f'rm -r {DIRECTORY}')
        self.guest.check(f'mkdir {DIRECTORY}')
        pids = []
        for name in FILES:
            path = f'{DIRECTORY}/{name.decode(errors="surrogateescape")}'
            self.guest.check(f'cp fixtures/names {shlex.quote(path)}')
            pids.append(self.start(f'../..{path}').pid)
        maps = self.guest.check(f'head -n 1 /proc/{pids[0]}/maps')
        start = int(maps.split('-')[0], 16)
        answers = self.asked_of('lkm4', pids, address=start, vmas=0)
        for shown, lines in zip(FILES.values(), answers):
            self.assertEqual(len(lines), len(answers[0]), lines)
            self.assertRegex(lines[-1], rf'^VMA = {start:x}-[0-9a-f]+ r-[x-]p offset 0 '
                             rf'{DIRECTORY}/{re.escape(shown)}$')
        self.compare_pages(pids)
        self.did('hostile inputs', len(FILES))

    def compare_pages(self, pids):
        """pagemap takes no name for anything else."""
        counts = set()
        for pid in pids:
            lines = self.clean(self.guest.check(f'./pagemap {pid}'))
            self.assertFalse([line for line in lines if not PAGE.fullmatch(line)])
            counts.add(len(lines))
        self.assertEqual(len(counts), 1, counts)
