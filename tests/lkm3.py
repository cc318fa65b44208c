# SPDX-License-Identifier: GPL-2.0-only
"""lkm3 against memory itself: what lies at the stack pointer it prints.

A task that is not on a CPU left its registers on its kernel stack when
switch_to() took it off. On x86-64 they are a struct inactive_task_frame, whose
last field, at SP + 48, is the address that the task will go on from: in
__schedule(). The host reads it from outside the guest.
"""

import math
import re
import struct

from suite import GuestTest

POINTERS = re.compile(
    r'PID: (\d+) \| PROCESS: (.+) \| STATE: (\d+) \(([RSDTtXZPI])\) \| '
    r'STACK TOP FROM TASK->STACK: ([0-9a-f]{16}) \| '
    r'CURRENT STACK POINTER THREAD.SP ([0-9a-f]{16})'
    r'(?: \| RUNNING ON CPU (\d+): saved pointer is stale)?')
USE = re.compile(r'STACK SIZE = (\d+) \| IN USE = (\d+|unknown) \| '
                 r'FREE = (\d+|unknown) \| END MAGIC = (intact|OVERRUN|unknown)')
STACK_END_MAGIC = 0x57AC6E9D
RETURN_ADDRESS = 48


class Stack:
    """One report, taken apart."""

    def __init__(self, test, lines):
        test.assertEqual(len(lines), 2, lines)
        match = POINTERS.fullmatch(lines[0])
        test.assertTrue(match, lines[0])
        self.pid, self.name, self.state, self.letter = match.group(1, 2, 3, 4)
        self.stack, self.sp = int(match[5], 16), int(match[6], 16)
        self.cpu = match[7]
        match = USE.fullmatch(lines[1])
        test.assertTrue(match, lines[1])
        self.size = int(match[1])
        self.used, self.free, self.magic = match.group(2, 3, 4)


class Lkm3(GuestTest):
    """Stacks of tasks that stand still."""

    def stack(self, pid):
        """The stack of a task, as /proc/lkm3 shows it."""
        return Stack(self, self.proc('lkm3', pid=pid))

    def schedule(self):
        """First and last address of __schedule(), which takes a while."""
        if getattr(self.guest, 'schedule_of_boot', None) != self.guest.boots:
            symbols = self.guest.check("grep -A1 ' __schedule$' /proc/kallsyms")
            first, behind = [int(line.split()[0], 16)
                             for line in symbols.splitlines()]
            self.guest.schedule_of_boot = self.guest.boots
            self.guest.schedule = range(first, behind)
        return self.guest.schedule

    def word(self, address):
        """A word of the guest's kernel memory, read from outside."""
        return struct.unpack('<Q', self.guest.kernel_virtual(address, 8))[0]

    def assert_asleep(self, stack):
        """All that must hold of a task that is not on a CPU."""
        self.assertIsNone(stack.cpu)
        self.assertEqual(stack.stack % 4096, 0)
        self.assertEqual(int(stack.free), stack.sp - stack.stack)
        self.assertEqual(int(stack.used) + int(stack.free), stack.size)
        self.assertGreater(int(stack.used), 0)
        self.assertEqual(stack.magic, 'intact')
        self.assertEqual(self.word(stack.stack), STACK_END_MAGIC)
        self.assertIn(self.word(stack.sp + RETURN_ADDRESS), self.schedule())

    def test_return_address(self):
        """at SP + 48 lies the return address into __schedule()"""
        names = ('still', 'too')
        fixture = self.start('names', *(name.encode().hex() for name in names))
        stacks = [self.stack(pid) for pid in fixture.lines]
        for stack, name in zip(self.some(stacks), names):
            self.assertEqual((stack.name, stack.letter), (name, 'T'))
            self.assert_asleep(stack)
        self.assertNotEqual(stacks[0].stack, stacks[1].stack)

    def test_kernel_thread(self):
        """a kernel thread has a stack like any other"""
        stack = self.stack(2)
        self.assertEqual((stack.pid, stack.name, stack.letter),
                         ('2', 'kthreadd', 'S'))
        self.assert_asleep(stack)

    def test_size(self):
        """as many stacks of that size as there are threads fill KernelStack"""
        counted = self.guest.check('''
            grep KernelStack /proc/meminfo
            ls -d /proc/[0-9]*/task/* | wc -l''').split()
        each = int(counted[1]) * 1024 / int(counted[3])
        # Idle tasks are not listed, and programs come and go; but sizes are
        # powers of two.
        self.assertEqual(self.stack(2).size, 2 ** round(math.log2(each)))

    def test_running(self):
        """a running task's pointer is stale, and nothing is made of it"""
        self.guest.check('taskset -p 1 1')
        pid = self.guest.check('taskset 2 sh -c "while :; do :; done" & echo $!')
        self.addCleanup(self.guest.run, f'kill -KILL {pid}; taskset -p 3 1')
        self.guest.check(f'until [ $(ps -o comm= -p {pid.strip()}) = sh ]; '
                         'do :; done')
        stack = self.stack(pid.strip())
        self.assertEqual((stack.letter, stack.cpu), ('R', '1'))
        self.assertEqual((stack.used, stack.free), ('unknown', 'unknown'))
        self.assertEqual(stack.magic, 'intact')

    def test_zombie(self):
        """a zombie has no stack any more"""
        parent = self.guest.check('sh -c "true & exec sleep 1000" & echo $!')
        self.addCleanup(self.guest.run, f'kill -KILL {parent}')
        zombie = self.guest.check(f'''
            until ps --ppid {parent.strip()} -o stat= | grep -q Z; do :; done
            ps --ppid {parent.strip()} -o pid=''').strip()
        stack = self.stack(zombie)
        self.assertEqual((stack.pid, stack.letter), (zombie, 'Z'))
        self.assertEqual((stack.stack, stack.sp), (0, 0))
        self.assertEqual((stack.used, stack.free, stack.magic),
                         ('unknown',) * 3)

    def test_log(self):
        """the log has welcome, report of pid 1, closing line and farewell"""
        report = self.report('lkm3')
        self.assertEqual(report.lines[0], 'Hello, Welcome to LKM')
        self.assertEqual(report.lines[-1], 'SP module loaded')
        self.assertEqual(report.farewell,
                         ['Kernel stack pointer module removed,Bye !!'])
        stack = Stack(self, report.body)
        # It is the guest's agent, and has run since: nothing to read there.
        self.assertEqual((stack.pid, stack.name), ('1', 'init'))
        self.assertEqual(int(stack.used) + int(stack.free), stack.size)
