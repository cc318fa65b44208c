# SPDX-License-Identifier: GPL-2.0-only
"""What report.h promises for all five modules: log=0, /proc/lkmN, parameters that
change, the first and the last lines. tests/hostile.py has bad input, tests/names.py
names."""

import errno
import os
import re
import secrets

from suite import (DMESG, FIRST, INSMOD, OBJECTS, RMMOD, GuestTest,
                   module_lines, words)

# The last line at insmod, and the one at rmmod.
LINES = {
    'lkm1': ('Listing process kernel module loaded',
             'PS module removed,Bye !!'),
    'lkm2': ('List Heap memory-in-use by processes kernel module loaded',
             'Heap-in-use module removed,Bye !!'),
    'lkm3': ('SP module loaded',
             'Kernel stack pointer module removed,Bye !!'),
    'lkm4': ('Virtual memory to physical memory info kernel module loaded',
             'Virtual memory module to physical memory info removed,Bye !!'),
    'lkm5': ('Virtual memory info kernel module loaded',
             'Virtual memory module removed,Bye !!'),
}
WELCOME = 'Hello, Welcome to LKM'

# A report that each can make, of something that stands still.
GOOD = {'lkm1': {}, 'lkm2': {}, 'lkm3': {'pid': 2},
        'lkm4': {'pid': 1, 'address': '0x1000'}, 'lkm5': {'pid': 1}}

# Who may not open /proc/lkmN, and why not: the first three are a user like any
# other for it; the others are root, but without root's rights.
DENIED, BARRED = errno.EACCES, errno.EPERM
STRANGERS = {
    'su user -s /bin/sh -c': DENIED,
    'su user -s /bin/sh -c \'exec unshare -r sh -c "$0"\'': DENIED,
    'su user -s /bin/sh -c \'exec unshare -rpf --mount-proc sh -c "$0"\'': DENIED,
    'unshare -r sh -c': BARRED,
    'unshare -rpf --mount-proc sh -c': BARRED,
    'setpriv --bounding-set -sys_admin sh -c': BARRED}


class Lines(GuestTest):
    """The report in the log, and in /proc/lkmN."""

    paging = FIRST

    def test_frame(self):
        """starts with the welcome, ends with closing line and farewell"""
        for module, (loaded, removed) in LINES.items():
            report = self.report(module, **GOOD[module])
            self.assertEqual(report.lines[0], WELCOME)
            self.assertEqual(report.lines[-1], loaded)
            self.assertEqual(report.farewell, [removed])
            self.some(report.body)
            self.assertFalse([line for line in report.lines
                              if 'LINES' in line])

    def test_log_0(self):
        """log=0 writes the first and last line only, even with no pid yet"""
        for module, (loaded, removed) in LINES.items():
            report = self.report(module, log=0)
            self.assertEqual(report.lines, [WELCOME, loaded])
            self.assertEqual(report.farewell, [removed])

    def test_same(self):
        """/proc/lkmN has the lines of the log, without the frame"""
        pid = self.start('memory', 'threads=3', 'anon=9').pid
        for module in 'lkm3', 'lkm4', 'lkm5':
            parameters = {**GOOD[module], 'pid': pid}
            log = self.report(module, **parameters).body
            self.assertEqual(self.proc(module, **parameters), self.some(log))

    def test_long(self):
        """says how many lines there are when the log cannot keep them"""
        for vmas in 5000, 1900:
            process = self.start('memory', f'vmas={vmas}')
            lines = self.proc('lkm5', pid=process.pid)
            self.assertGreater(len(lines), vmas)
            log = self.guest.check(f'{INSMOD} lkm5.ko pid={process.pid} && '
                                   f'{DMESG} && {RMMOD} lkm5')
            last = [text for _, text in module_lines(log, 'lkm5')[-3:]]
            note = (f'LINES = {len(lines)}, more than the kernel log keeps: '
                    'read /proc/lkm5')
            self.assertEqual(last, [lines[-1], note, LINES['lkm5'][0]])

    def test_not_so_long(self):
        """says nothing of that when the log keeps them all"""
        pid = self.start('memory', 'vmas=1700').pid
        # Not -S: syslog() has room for fewer lines than the log.
        log = self.guest.check(f'{INSMOD} lkm5.ko pid={pid}; dmesg; {RMMOD} lkm5')
        _, welcome, said = log.rpartition(f'] lkm5: {WELCOME}\n')
        self.assertTrue(welcome, 'the beginning is gone')
        self.assertEqual(said.count('] lkm5: ') - 1,
                         len(self.proc('lkm5', pid=pid)))


class File(GuestTest):
    """/proc/lkmN as a file, and the parameters in /sys."""

    paging = FIRST

    def loaded(self, module, script, **parameters):
        """Run a script while a module is loaded; its output."""
        self.addCleanup(self.guest.run, f'{RMMOD} {module} 2>/dev/null')
        insmod = f'{INSMOD} {words(module, **parameters)} || exit'
        return self.guest.check(f'{insmod}\n{script}')

    def test_modes(self):
        """is for root alone: /proc/lkmN and the parameters"""
        for module in LINES:
            files = f'/proc/{module} /sys/module/{module}/parameters'
            output = self.loaded(module, f'''
                stat -c %a {files}/*
                su user -c 'cat {files}/*' && exit 1
                {RMMOD} {module}''', log=0)
            modes, refusals = [], []
            for line in output.splitlines():
                (modes if line.isdigit() else refusals).append(line)
            self.assertEqual(modes[0], '400')
            self.assertEqual(set(modes[1:]), {'600'})
            self.assertEqual(len(refusals), len(modes))
            for line in refusals:
                self.assertTrue(line.endswith('Permission denied'), line)

    def test_strangers(self):
        """is refused to root without root's rights, to read and to lock"""
        for module in LINES:
            tries = '\n'.join(f"{who} 'exec 5{how}/proc/{module}'"
                              for who in STRANGERS for how in '<>')
            output = self.loaded(module, f'''
                {tries}
                {RMMOD} {module}''', log=0)
            self.assertEqual(
                [line.rpartition(': ')[2] for line in output.splitlines()],
                [os.strerror(error) for error in STRANGERS.values()
                 for _ in '<>'], output)

    def test_given(self):
        """is open for who is given the open file, as root alone can do"""
        for module in LINES:
            output = self.loaded(module, f'''
                cat /proc/{module} | head -n 1
                exec 5</proc/{module}
                su user -s /bin/sh -c 'exec unshare -r head -n 1' <&5
                exec 5<&-
                {RMMOD} {module}''', **GOOD[module], log=0)
            given, read = self.some(output.splitlines())
            self.assertEqual(given, read)

    def test_dmesg_restrict(self):
        """is in the log for all, or with kernel.dmesg_restrict=1 for root"""
        mark = secrets.token_hex(8)
        output = self.guest.check(f'''
            restrict=/proc/sys/kernel/dmesg_restrict
            before=$(cat $restrict)
            echo {mark} >/dev/kmsg
            {INSMOD} lkm3.ko pid=2 && {RMMOD} lkm3
            for value in 1 0; do
                echo $value >$restrict
                su user -c '{DMESG}; : </dev/kmsg' >/run/dmesg 2>&1
                sed '1,/{mark}$/d' /run/dmesg | grep -c ' lkm3: PID: 2 '
                grep -c 'not permitted' /run/dmesg
            done
            echo $before >$restrict''')
        self.assertEqual(output.split(), ['0', '2', '1', '0'])

    def test_parameters(self):
        """makes each report from the parameters as they are then"""
        pids = [self.start('names', text).lines[0] for text in ('61', '62')]
        pid, vmas = (f'/sys/module/lkm5/parameters/{name}'
                     for name in ('pid', 'vmas'))
        output = self.loaded('lkm5', f'''
            echo {pids[0]} >{pid}; cat {pid}; cat /proc/lkm5; echo %
            echo 0 >{vmas}; cat /proc/lkm5; echo %
            echo {pids[1]} >{pid}; cat /proc/lkm5; echo %
            echo >{vmas}; cat /proc/lkm5; echo %
            echo >{pid}; cat {pid}; cat /proc/lkm5; true''', log=0)
        first, counted, second, listed, unset = (
            text.splitlines() for text in output.split('%\n'))
        self.assertEqual(first[0], pids[0])
        self.assertEqual(first[1], f'PID: {pids[0]} | PROCESS: a')
        self.assertEqual(counted, [line for line in first[1:]
                                   if not line.startswith('VM START')])
        self.assertEqual(second[0], f'PID: {pids[1]} | PROCESS: b')
        self.assertFalse([line for line in second if 'VM START' in line])
        self.assertTrue([line for line in listed if 'VM START' in line])
        self.assertEqual(unset, ['', "cat: can't open '/proc/lkm5': "
                                 'Invalid argument'])

    def test_pieces(self):
        """reads the same in whatever pieces, forwards and backwards"""
        pid = self.start('memory', 'vmas=300').pid
        output = self.loaded('lkm5', f'''
            cat /proc/lkm5 >/run/whole
            dd if=/proc/lkm5 bs=1 count=2000 2>/dev/null |
                cmp -n 2000 - /run/whole
            echo $?
            dd if=/proc/lkm5 bs=7 2>/dev/null | cmp - /run/whole
            echo $?
            dd if=/proc/lkm5 bs=1 skip=5000 count=3000 2>/dev/null >/run/part
            tail -c +5001 /run/whole | head -c 3000 | cmp - /run/part
            echo $?
            fixtures/reread /proc/lkm5
            wc -c </run/whole''', pid=pid, log=0)
        *compared, reread, size = output.splitlines()
        self.assertEqual(compared, ['0', '0', '0'])
        self.assertGreater(int(size), 8000)
        self.assertEqual(reread, f'the same {size} bytes')

    def test_snapshot(self):
        """gives two readers at once the same, each what was when he opened"""
        pid = self.start('memory', 'vmas=300').pid
        output = self.loaded('lkm5', f'''
            exec 4</proc/lkm5 5</proc/lkm5
            dd bs=1000 count=5 <&4 >/run/one 2>/dev/null
            dd bs=600 count=7 <&5 >/run/two 2>/dev/null
            echo >/sys/module/lkm5/parameters/pid
            kill -KILL {pid}
            cat <&4 >>/run/one & cat <&5 >>/run/two; wait
            cmp /run/one /run/two && grep -c . /run/one
            tail -n 1 /run/two''', pid=pid, log=0)
        lines, last = output.splitlines()
        self.assertGreater(int(lines), 300)
        self.assertTrue(last.startswith('RSS ANON = '))

    def test_rmmod_while_open(self):
        """is gone for a reader who still has it open at rmmod, and harmless"""
        for module in LINES:
            output = self.loaded(module, f'''
                exec 4</proc/{module}
                dd bs=10 count=1 <&4 2>/dev/null >/run/some; wc -c </run/some
                {RMMOD} {module} || exit
                cat <&4 && exit 1
                grep {module} /proc/modules; [ ! -e /proc/{module} ]''',
                                 **GOOD[module], log=0)
            self.assertEqual(output.splitlines(), [
                '10', 'cat: read error: Input/output error'])

    def test_write_only(self):
        """can be opened for writing, to be locked, and is of no other use so"""
        output = self.loaded('lkm5', f'''
            exec 5>/proc/lkm5 2>&1 || exit
            cat <&5
            dd of=/proc/lkm5 bs=1 seek=1 conv=notrunc </dev/null
            {RMMOD} lkm5''', log=0)
        read, seek = output.splitlines()
        self.assertTrue(read.endswith(os.strerror(errno.EBADF)), read)
        self.assertTrue(seek.endswith(os.strerror(errno.ESPIPE)), seek)

    def test_twice(self):
        """loads after it was removed, and not while it is loaded"""
        for module in LINES:
            good = {**GOOD[module], 'log': 0}
            output = self.loaded(module, f'''
                {RMMOD} {module} && {INSMOD} {words(module, **good)} || exit
                insmod {words(module, **good)} && exit 1
                cat /proc/{module} >/run/again && grep -c . /run/again
                {RMMOD} {module}''', **good)
            refusal, lines = output.splitlines()
            self.assertEqual(refusal, 'insmod: ERROR: could not insert module '
                             f'{module}.ko: File exists')
            self.assertGreater(int(lines), 1)

    def test_all_at_once(self):
        """has all five loaded side by side"""
        load = '\n'.join(f'{INSMOD} {words(module, **GOOD[module])} || exit'
                         for module in LINES)
        names = ' '.join(LINES)
        output = self.guest.check(f'''
            {load}
            for m in {names}; do cat /proc/$m | head -n 1; done
            {RMMOD} {names}''')
        self.assertEqual(len(output.splitlines()), 5)
        for line in output.splitlines():
            self.assertTrue(line.startswith('PID: '), line)

    def test_let_go(self):
        """holds neither a process that has ended nor its memory"""
        rounds, few = 20, 5
        load = '\n'.join(f'{INSMOD} {module}.ko log=0 || exit' for module in LINES)
        # Nothing is started before the objects are counted. Of the processes one
        # uses the memory of another: vfork().
        output = self.guest.check(f'''
            {OBJECTS}
            set_to() {{
                echo $2 >/sys/module/lkm4/parameters/$1
            }}
            {load}
            for i in $(seq 0 {rounds}); do
                pid=$(fixtures/held start fixtures/states | head -n 1)
                for m in lkm3 lkm4 lkm5; do
                    echo $pid >/sys/module/$m/parameters/pid
                done
                set_to address 0x1000
                cat /proc/lkm[12345] >/dev/null || exit
                set_to length 0x100000; cat /proc/lkm4 >/dev/null || exit
                set_to pid; set_to address; set_to length
                set_to phys 0x1000; cat /proc/lkm4 >/dev/null || exit
                set_to phys
                fixtures/held end $pid
                [ $i != 0 ] && continue
                mms=$(objects mm_struct) tasks=$(objects task_struct)
            done
            echo $mms $(objects mm_struct $((mms + {few})))
            echo $tasks $(objects task_struct $((tasks + {few})))
            {RMMOD} {' '.join(LINES)}''')
        for before, after in map(str.split, output.splitlines()):
            self.assertLessEqual(int(after) - int(before), few)


class Dying(GuestTest):
    """Reports of what ends meanwhile."""

    paging = FIRST
    cpus = 2

    # How a whole report of each ends, and why there may be none.
    ENDS = {'lkm1': 'PROCESSES: ', 'lkm2': 'MAX HEAP ', 'lkm3': 'STACK SIZE ',
            'lkm4': 'The virtual address ', 'lkm5': 'RSS ANON '}
    NONE = re.compile(r"^tail: (?:can't open ')?/proc/(lkm[345]).*"
                      r'(?:No such process|Invalid argument)$', re.M)

    def test_dying(self):
        """makes whole reports, or none, of processes that come and go"""
        load = '\n'.join(f'{INSMOD} {module}.ko log=0' for module in LINES)
        output = self.guest.check(f'''
            {load}
            echo 0x1000 >/sys/module/lkm4/parameters/address
            (while :; do (:) & wait; done) & storm=$!
            for i in $(seq 60); do
                usleep $((i * (i % 2 * 9 + 1)))000 & pid=$!
                [ $i != 60 ] || wait $pid
                for m in lkm3 lkm4 lkm5; do
                    echo $pid >/sys/module/$m/parameters/pid
                done
                echo round
                tail -n 1 /proc/lkm[345] /proc/lkm[12] 2>&1
            done
            kill $storm
            {RMMOD} {' '.join(LINES)}''', timeout=120)
        rounds = output.split('round\n')[1:]
        self.assertEqual(len(rounds), 60)
        whole, refused = set(), set()
        for text in rounds:
            ends = re.findall(r'^==> /proc/(\w+) <==\n(.+)$', text, re.M)
            none = self.NONE.findall(text)
            self.assertEqual(sorted([name for name, _ in ends] + none),
                             sorted(LINES), text)
            for name, line in ends:
                self.assertTrue(line.startswith(self.ENDS[name]), text)
            whole.update(name for name, _ in ends)
            refused.update(none)
        # Some lived longer than five looks take; the last is dead already.
        self.assertEqual(whole, set(LINES))
        self.assertEqual(refused, {'lkm3', 'lkm4', 'lkm5'})
