# SPDX-License-Identifier: GPL-2.0-only
"""Both helpers, where a file that they read is missing, cut, or garbage: they end
with one line that says so, or are right. Built with ASan and UBSan where there
are guests of this machine's architecture, and with a /proc of our own making."""

import collections
import re
import struct

from suite import FIRST, INSMOD, RMMOD, GuestTest

REAL = '/run/real'      # where the kernel's own /proc is meanwhile

# A /proc that only has what is put there, in a mount namespace that goes with us.
OWN_PROC = f'''
mkdir -p {REAL}
mount --bind /proc {REAL} && mount -t tmpfs tmpfs /proc || exit 99
ln -s {REAL}/self {REAL}/sys /proc
'''

# What can be wrong with $file. A program is full of bytes that are no text.
WRONG = {
    'missing': 'rm $file',
    'empty': ': >$file',
    'cut': 'truncate -s $(($(stat -c %s $file) / 2 + 1)) $file',
    'cut at the end': 'truncate -s $(($(stat -c %s $file) - 1)) $file',
    'a directory': 'rm $file && mkdir $file',
    'garbage': 'head -c 5000 fixtures/words >$file',
    'long': "head -c 300000 /dev/zero | tr '\\0' 7 >$file",
    'huge': "sed -i 's/[0-9][0-9a-f]*/99999999999999999999/g' $file",
    'forged': "printf '%255s%s\\n' / \"$(tail -n 1 $file)\" >$file.2 && mv $file.2 $file",
}
EVERY_WRONG = tuple(WRONG)

# What a helper does then: a part of its message; or, without one, what it prints,
# which is the same as ever, or whatever the garbage means.
SAME, WHATEVER = object(), object()

# <1> is the address of page 1.
MAPS = '''<1>-<4> rw-p 00000000 00:00 0
<5>-<8> r-xp 00001000 fe:01 12345                      /usr/bin/x y
ffffffffff600000-ffffffffff610000 --xp 00000000 00:00 0  [vsyscall]
'''
ENTRIES = (0, *(1 << 63 | frame for frame in (3, 4, 5)), 0,
           1 << 62 | 2 | 0x10 << 5, 0, 1 << 63 | 7)
FLAGS = (0, 0, 0, 0x868, 0x5868, 0x48, 0, 1 << 32)
COUNTS = (0, 0, 0, 1, 2, 3, 0, 1)
LKM4 = '''PID: 77 | PROCESS: x
Number of VMAs = 2
VA <1>-<4> PA <3> | 3 x 4 kB | rw-
TOTAL | 4 kB x 3 = 12 kB
'''
ROLLUP = '''00400000-7ffc00000000 ---p 00000000 00:00 0 [rollup]
Rss:                1234 kB
Pss:                1000 kB
'''
MEMINFO = '''MemTotal:         987654 kB
MemAvailable:     900000 kB
'''

Case = collections.namedtuple('Case', 'command path wrong then')


def octal(data):
    """Bytes, or a text, for printf."""
    data = data if isinstance(data, bytes) else data.encode()
    return ''.join(f'\\{byte:03o}' for byte in data)


def words(numbers):
    """What a file of 64-bit words has."""
    return struct.pack(f'<{len(numbers)}Q', *numbers)


class Garbage(GuestTest):
    """A helper in a /proc of ours, in which a file is wrong."""

    paging = FIRST

    def helper(self, name):
        """That with the sanitizers, where there is one."""
        return self.guest.check(f'ls -d checked/{name} 2>/dev/null '
                                f'|| echo ./{name}').strip()

    def answers(self, prepare, cases):
        """(case, status, what it printed, what it said is wrong) of each."""
        # What is not freed at the end is of no account.
        script = 'export ASAN_OPTIONS=detect_leaks=0' + '\n'.join(f'''
            unshare -m sh -c '
                {OWN_PROC}
                {prepare}
                file={case.path}
                {WRONG.get(case.wrong, ':').replace("'", """'"'"'""")}
                exec {case.command}' >/tmp/out 2>/tmp/err
            echo "status $?"; cat /tmp/out; echo %%; cat /tmp/err; echo %%%'''
                           for case in cases)
        answers = self.guest.check(script, timeout=180).split('%%%\n')[:-1]
        self.assertEqual(len(answers), len(self.some(cases)))
        for case, answer in zip(cases, answers):
            status, rest = answer.split('\n', 1)
            yield case, int(status.split()[1]), *rest.split('%%\n')
        self.did('hostile inputs', len(cases))

    def check(self, case, answer, usual):
        """Whether the answer is in order, and what is said is one line."""
        status, printed, said = answer
        if case.then in (SAME, WHATEVER):
            self.assertEqual((status, said), (0, ''), case)
            if case.then is SAME:
                self.assertEqual(printed, usual, case)
            return
        self.assertIn(status, (1, 3), f'{case}: {said}')
        self.assertEqual(len(said.splitlines()), 1, f'{case}: {said}')
        self.assertIn(case.then, said, case)


class Pagemap(Garbage):
    """pagemap of a process 77 that there is not."""

    NOT_UNDERSTOOD = 'a line of /proc/77/maps is not understood'
    NO_MEMORY = 'process 77 has no user memory'

    BROKEN = {
        ('77', '/proc/77/maps'): {
            'missing': NO_MEMORY, 'empty': NO_MEMORY,
            'a directory': '/proc/77/maps: Is a directory',
            **dict.fromkeys(('cut', 'cut at the end', 'garbage', 'long', 'huge',
                             'forged'), NOT_UNDERSTOOD)},
        ('77 0x<5>', '/proc/77/maps'): {
            'missing': NO_MEMORY, 'cut': NOT_UNDERSTOOD, 'huge': NOT_UNDERSTOOD},
        ('77', '/proc/77/pagemap'): {
            'missing': 'no process has the id 77', 'empty': NO_MEMORY,
            'cut': '0x<5> is beyond the user space of process 77',
            'cut at the end': '0x<7> is beyond the user space of process 77',
            'a directory': 'cannot read /proc/77/pagemap at 0x<1>: Is a dir',
            'garbage': WHATEVER, 'long': WHATEVER},
        ('-f 77', '/proc/77/pagemap'): {'garbage': WHATEVER, 'long': WHATEVER},
        **{('-f 77', path): {
            'missing': f'cannot open {path}: No such file',
            'a directory': 'cannot read what the kernel says of frame 3',
            'empty': WHATEVER, 'cut': WHATEVER, 'cut at the end': WHATEVER,
            'garbage': WHATEVER, 'long': WHATEVER}
           for path in ('/proc/kpageflags', '/proc/kpagecount')},
        ('-c 77 0x<1> 0x<4>', '/proc/lkm4'): {
            'missing': 'lkm4 is to be asked, and is not loaded',
            'empty': 'what /proc/lkm4 says of 0x<1> ends too early',
            'cut': 'what /proc/lkm4 says of 0x<1> is not understood: ',
            'a directory': 'Is a directory',
            'garbage': 'of 0x<1> is not understood: ',
            'long': 'of 0x<1> is not understood: 77777777',
            'huge': 'of 0x<1> is not understood: VA 99999999999999999999-',
            'forged': 'of 0x<1> is not understood:  '},
        ('-c 77 0x<1> 0x<4>', '/run/parameter'): {
            'empty': SAME, 'garbage': SAME, 'long': SAME},
    }

    def scaled(self, text):
        """A text with the addresses of this guest's pages."""
        return re.sub(r'<(\d)>', lambda match: f'{int(match[1]) * self.page:x}',
                      text)

    def prepare(self):
        """All that it reads, in good order."""
        files = {'/proc/77/maps': self.scaled(MAPS),
                 '/proc/77/pagemap': words(ENTRIES),
                 '/proc/kpageflags': words(FLAGS),
                 '/proc/kpagecount': words(COUNTS),
                 '/proc/lkm4': self.scaled(LKM4), '/run/parameter': '1\n'}
        write = '\n'.join(f'printf "{octal(data)}" >{path}'
                          for path, data in files.items())
        parameter = '/sys/module/lkm4/parameters/address'
        return f'''mkdir /proc/77
            {write}
            mount --bind /run/parameter {parameter}'''

    def test_files(self):
        """pagemap is right, or ends with one line that says what is wrong"""
        helper = self.helper('pagemap')
        self.guest.check(f'{INSMOD} lkm4.ko log=0')
        self.addCleanup(self.guest.check, f'{RMMOD} lkm4')
        usual = {}
        cases = [Case(self.scaled(f'{helper} {arguments}'), path, wrong,
                      then if then in (SAME, WHATEVER) else self.scaled(then))
                 for (arguments, path), each in self.BROKEN.items()
                 for wrong, then in {'': WHATEVER, **each}.items()]
        for case, *answer in self.answers(self.prepare(), cases):
            if not case.wrong:
                usual[case.command] = answer[1]
                self.assertGreaterEqual(len(answer[1].splitlines()), 3, answer)
            with self.subTest(case):
                self.check(case, answer, usual[case.command])

    def test_hidden(self):
        """pagemap ends with 3 where it cannot see a page of its own"""
        own = f'''rm /proc/self && mkdir /proc/self
            for name in maps exe cmdline environ; do
                ln -s {REAL}/self/$name /proc/self
            done
            : >/proc/self/pagemap'''
        helper = self.helper('pagemap')
        self.guest.check(f'{INSMOD} lkm4.ko log=0')
        self.addCleanup(self.guest.check, f'{RMMOD} lkm4')
        for case, *answer in self.answers(f'{self.prepare()}\n{own}', [
                Case(f'{helper} 77', '/proc/self/pagemap', wrong,
                     'the kernel hides frame numbers')
                for wrong in ('missing', 'empty', 'a directory')]):
            with self.subTest(case):
                self.check(case, answer, '')
                self.assertEqual(answer[0], 3)


class Lazy(Garbage):
    """lazy_allocation, and its first row."""

    def test_files(self):
        """lazy_allocation is right, or ends with one line that says what is wrong"""
        command = (f"{self.helper('lazy_allocation')} --module ./lkm5.ko "
                   '--size 1M --step 1')
        huge = '/run/huge'
        prepare = f'''mkdir /proc/$$
            printf "{octal(ROLLUP)}" >/proc/$$/smaps_rollup
            printf "{octal(MEMINFO)}" >/proc/meminfo
            echo 2097152 >{huge}
            name=/sys/kernel/mm/transparent_hugepage/hpage_pmd_size
            [ ! -e $name ] || mount --bind {huge} $name'''
        pss = {'': WHATEVER, **dict.fromkeys(EVERY_WRONG, 'cannot read Pss in /proc/')}
        fine = dict.fromkeys(('', *EVERY_WRONG), WHATEVER)
        of_huge = {wrong: then for wrong, then in fine.items()
                   if wrong not in ('missing', 'a directory')}
        cases = [Case(command, path, wrong, then) for path, each in (
                     ('/proc/$$/smaps_rollup', pss), ('/proc/meminfo', fine),
                     (huge, of_huge)) for wrong, then in each.items()]
        for case, *answer in self.answers(prepare, cases):
            with self.subTest(case):
                self.check(case, answer, '')
                if case.then is WHATEVER:
                    self.assertRegex(answer[1], re.compile(
                        r'^start +\d+ +\+0 +\d+ +\+0 +\d+ ', re.M))

    @staticmethod
    def records(*lines):
        """What writes records of lkm5's, each as long as what is read in one go."""
        return '\n'.join(f'printf "%-8191s\\n" "6,1,2,-;lkm5: {line}" >&9'
                         for line in lines)

    def test_log(self):
        """lazy_allocation finds no report in a log of garbage, and goes"""
        command = (f"{self.helper('lazy_allocation')} --module ./lkm5.ko "
                   '--size 1M --step 1')
        fill = {'empty': ':', 'garbage': 'head -c 5000 fixtures/words >&9',
                'a record of no module': 'echo "6,1,2,-;lkm5:" >&9',
                'a record that is cut': 'printf "6,1,2,-;lkm5: Total VSZ = 1" >&9',
                'a size below 0': self.records(
                    'PID: $$', 'Total VSZ = 1', 'Total RSS = -1',
                    'RSS ANON = 1 | RSS FILE = 1 | RSS SHMEM = 1 | SWAP = 1')}
        for what, how in fill.items():
            # A pipe: unlike the log, a file would be read from its end.
            prepare = f'''mkdir /proc/$$
                rm -f /run/log; mkfifo /run/log
                exec 9<>/run/log
                {how}
                mount --bind /run/log /dev/kmsg'''
            case = Case(command, '', '', 'there is no whole report by lkm5')
            for _, *answer in self.answers(prepare, [case]):
                with self.subTest(what):
                    self.check(case, answer, '')
