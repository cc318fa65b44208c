# SPDX-License-Identifier: GPL-2.0-only
"""lkm3 against memory itself: what lies at the stack pointer it prints.

A task that is not on a CPU left its stack behind when switch_to() took it off,
and a return address lies on it at a place that is known. The host reads it from
outside the guest.

amd64: switch_to() saves registers there, as a struct inactive_task_frame. The
last field, at SP + 48, is the address that the task will go on from, in
__schedule().

arm64: the registers are saved elsewhere, and SP is that of __switch_to(). Its
frame begins with a frame record (AAPCS64): a pointer to the one above, and at
SP + 8 the return address into __schedule(), which may be signed.

riscv64: the stack pointer is that of __schedule() itself, which has lowered it
by so much as its first instructions say. The word at the top of that is the
return address into its caller, schedule().
"""

import math
import re
import struct

from suite import INSMOD, RMMOD, GuestTest

POINTERS = re.compile(
    r'PID: (\d+) \| PROCESS: (.+) \| STATE: (\d+) \(([RSDTtXZPI])\) \| '
    r'STACK TOP FROM TASK->STACK: ([0-9a-f]{16}) \| '
    r'CURRENT STACK POINTER THREAD.SP ([0-9a-f]{16})'
    r'(?: \| RUNNING ON CPU (\d+): saved pointer is stale)?')
USE = re.compile(r'STACK SIZE = (\d+) \| IN USE = (\d+|unknown) \| '
                 r'FREE = (\d+|unknown) \| END MAGIC = (intact|OVERRUN|unknown)')
EACH = re.compile(r'PID: (\d+) \| TID: (\d+) \| PROCESS: (.*) \| '
                  r'IN USE = (\d+|unknown) \| FREE = (\d+|unknown) \| '
                  r'END MAGIC = (intact|OVERRUN|unknown)')
STACK_END_MAGIC = 0x57AC6E9D


def stack_taken(code):
    """How many bytes a function's first instructions take from a riscv's stack;
    0 when there is no such instruction among them."""
    for low, high in zip(code, code[1:]):
        if low & 0xef83 == 0x6101:                      # c.addi16sp
            number = (low >> 3 & 1 << 9 | low >> 2 & 1 << 4 | low << 1 & 1 << 6
                      | low << 4 & 3 << 7 | low << 3 & 1 << 5)
            return 1024 - number if number & 1 << 9 else 0
        if low == 0x0113 and high & 0xf == 1:           # addi sp, sp, number
            return 4096 - (high >> 4) if high & 0x8000 else 0
    return 0


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

    cpus = 2

    def stack(self, pid):
        """The stack of a task, as /proc/lkm3 shows it."""
        return Stack(self, self.proc('lkm3', pid=pid))

    def function(self, name):
        """First and last address of a function; to read them takes a while."""
        if getattr(self.guest, 'symbols_of_boot', None) != self.guest.boots:
            self.guest.symbols_of_boot = self.guest.boots
            text = self.guest.check(
                "grep -E -A1 ' (__)?schedule$' /proc/kallsyms")
            self.guest.symbols = text.replace('--\n', '').splitlines()
        lines = self.guest.symbols
        first, = [i for i, line in enumerate(lines)
                  if line.split()[2] == name]
        start, behind = [int(line.split()[0], 16)
                         for line in lines[first:first + 2]]
        self.assertGreater(behind, start)
        return range(start, behind)

    def word(self, address):
        """A word of the guest's kernel memory, read from outside."""
        return struct.unpack('<Q', self.guest.kernel_virtual(address, 8))[0]

    def assert_asleep(self, stack):
        """All that must hold of a task that is not on a CPU."""
        self.assertIsNone(stack.cpu)
        self.assertEqual(stack.stack % self.page, 0)
        self.assertEqual(int(stack.free), stack.sp - stack.stack)
        self.assertEqual(int(stack.used) + int(stack.free), stack.size)
        self.assertGreater(int(stack.used), 0)
        self.assertEqual(stack.magic, 'intact')
        self.assertEqual(self.word(stack.stack), STACK_END_MAGIC)
        getattr(self, f'assert_left_{self.guest.kernel.arch}')(stack)

    def assert_left_amd64(self, stack):
        """What switch_to() left: see the head of this file."""
        self.assertIn(self.word(stack.sp + 48), self.function('__schedule'))

    def assert_left_arm64(self, stack):
        """The same."""
        above = self.word(stack.sp)
        self.assertIn(above, range(stack.sp + 16, stack.stack + stack.size))
        signed = self.word(stack.sp + 8)
        # A signature takes the place of bits that are all ones in the kernel.
        address = signed | -1 << 48 & (1 << 64) - 1
        self.assertIn(address, self.function('__schedule'))

    def assert_left_riscv64(self, stack):
        """The same."""
        start = self.function('__schedule').start
        code = self.guest.kernel_virtual(start, 32)
        frame = stack_taken(struct.unpack('<16H', code))
        self.assertGreater(frame, 0, code.hex())
        self.assertIn(self.word(stack.sp + frame - 8), self.function('schedule'))

    def test_return_address(self):
        """behind SP lies a return address into the scheduler"""
        names = ('still', 'too')
        fixture = self.start('names', *(name.encode().hex() for name in names))
        stacks = [self.stack(pid) for pid in fixture.lines]
        for stack, name in zip(self.some(stacks), names):
            self.assertEqual((stack.name, stack.letter), (name, 'T'))
            self.assert_asleep(stack)
        self.assertNotEqual(stacks[0].stack, stacks[1].stack)

    def test_kernel_thread(self):
        """a kernel thread has a stack like any other"""
        # kthreadd may be woken at any time; nobody here ever wakes this one.
        path = self.guest.check("grep -l 'netns$' /proc/[0-9]*/comm")
        pid = path.split('/')[2]
        stack = self.stack(pid)
        name = self.guest.check(f'cat /proc/{pid}/comm').rstrip('\n')
        self.assertEqual((stack.pid, stack.name, stack.letter), (pid, name, 'I'))
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
        self.addCleanup(self.guest.check, 'taskset -p 3 1')
        pid = self.guest.check('taskset 2 sh -c "while :; do :; done" & '
                               'echo $!').strip()
        self.addCleanup(self.guest.check, f'kill -KILL {pid}')
        self.guest.check(f'until [ $(ps -o comm= -p {pid}) = sh ]; do :; done')
        # Whoever has a moment's work for that CPU takes it away for as long.
        for _ in range(20):
            stack = self.stack(pid)
            if stack.cpu:
                break
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

    # --- all of them, and their calls ---

    def test_all(self):
        """all=1 lists each thread, the deepest stack first"""
        states = self.states()
        ps = 'ps -eL -o pid=,lwp='
        report = self.report('lkm3', ps, all=1)
        rows = [EACH.fullmatch(line) for line in report.body]
        self.assertNotIn(None, self.some(rows))
        before, after = ({tuple(map(int, line.split()))
                          for line in text.splitlines()}
                         for text in (report.before, report.after))
        found = [(int(row[1]), int(row[2])) for row in rows]
        self.assertEqual(len(found), len(set(found)))
        self.assertLessEqual(before & after, set(found))
        used = [-1 if row[4] == 'unknown' else int(row[4]) for row in rows]
        self.assertEqual(used, sorted(used, reverse=True))
        size = self.stack(1).size
        self.assertEqual({int(row[4]) + int(row[5]) for row in rows
                          if row[4] != 'unknown'}, {size})
        rows = {int(row[2]): row for row in rows}
        for kind in 'sleeping', 'stopped', 'traced', 'vfork':
            stack, row = self.stack(states[kind]), rows[states[kind]]
            self.assertEqual(row.group(3, 4, 5, 6), (
                stack.name, stack.used, stack.free, stack.magic), kind)
        self.assertEqual(rows[states['zombie']].group(4, 5, 6),
                         ('unknown',) * 3)

    def test_namespace(self):
        """all=1 shows a reader the tasks of his pid namespace, by its pids"""
        output = self.guest.check(f'''
            {INSMOD} lkm3.ko log=0 all=1
            unshare --fork --pid dash -c 'cat /proc/lkm3; true'
            {RMMOD} lkm3''')
        rows = [EACH.fullmatch(line) for line in output.splitlines()]
        self.assertEqual({row.group(1, 2, 3) for row in self.some(rows)},
                         {('1', '1', 'dash'), ('2', '2', 'cat')})

    def test_trace(self):
        """trace=1 shows the calls that /proc/PID/stack has, where it may"""
        states = self.states()
        for kind in 'sleeping', 'stopped', 'vfork', 'zombie', 'running':
            body = self.proc('lkm3', pid=states[kind], trace=1)
            while kind == 'running' and 'RUNNING' not in body[0]:
                body = self.proc('lkm3', pid=states[kind], trace=1)
            Stack(self, body[:2])
            truth = self.guest.check(f'cat /proc/{states[kind]}/stack')
            calls = [f'TRACE: {line.split(" ", 1)[1]}'
                     for line in truth.splitlines()]
            if kind == 'running':
                calls = ['TRACE: none, the task is running']
            elif not self.guest.kernel.exports('stack_trace_save_tsk'):
                calls = ['TRACE: none, this kernel does not give one to modules']
            elif kind == 'zombie':
                calls = ['TRACE: none, the task has no stack any more']
            self.assertEqual(body[2:], self.some(calls), kind)

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
