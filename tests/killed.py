# SPDX-License-Identifier: GPL-2.0-only
"""insmod, or who reads /proc/lkmN, is killed at any moment of a long report
(fixtures/killed.c): no lock is kept, no reference, and no module that cannot be
removed. A debug kernel says by itself when somebody leaves it with a lock."""

from suite import FIRST, OBJECTS, GuestTest

# What makes a report long: so many processes, or mappings of one.
LARGE = {'lkm1': (400, 0), 'lkm2': (400, 0), 'lkm3': (400, 0), 'lkm4': (0, 2000),
         'lkm5': (0, 2000)}
# How often each is to be killed in the middle.
TIMES = 32
# What a kernel may have more of afterwards; each kill would add one.
FEW = 5


class Killed(GuestTest):
    """Two processors: one reports, one kills."""

    paging = FIRST
    cpus = 2
    slow = True

    def scaled(self, number):
        """Less, where everything takes longer."""
        return number // self.guest.kernel.patience

    def words(self, module):
        """What makes the report long."""
        return {'lkm1': 'threads=1', 'lkm2': 'resident=1', 'lkm3': 'all=1',
                'lkm4': f'pid=%d address=0 length={self.tables.end:#x}',
                'lkm5': 'pid=%d vmas=2 verify=1'}[module]

    def kill(self, how, module):
        """Kill who reports, again and again."""
        times, processes, mappings = map(self.scaled, (TIMES, *LARGE[module]))
        command = (f'fixtures/killed {how} {module} {times} {processes} {mappings} '
                   f'{self.words(module)}')
        status, output = self.guest.run(f'''
            {OBJECTS}
            mms=$(objects mm_struct) tasks=$(objects task_struct)
            {command} || exit
            echo mms $(($(objects mm_struct $((mms + {FEW}))) - mms))
            echo tasks $(($(objects task_struct $((tasks + {FEW}))) - tasks))''',
            timeout=200)
        if status:
            self.fail(f'{command}: {output}')
        said = output.split()
        found = dict(zip(said[::2], map(int, said[1::2])))
        self.assertLessEqual(found['mms'], FEW)
        self.assertLessEqual(found['tasks'], FEW)
        self.did('killed while reporting', found['middle'])

    def test_load(self):
        """insmod can be killed at any moment"""
        for module in LARGE:
            with self.subTest(module):
                self.kill('load', module)

    def test_read(self):
        """who reads can be killed at any moment"""
        for module in LARGE:
            with self.subTest(module):
                self.kill('read', module)
