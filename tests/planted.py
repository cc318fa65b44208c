# SPDX-License-Identifier: GPL-2.0-only
"""A debug kernel, and what the tests make of what it says, finds bugs that are
planted in a module (tests/planted/planted.c): each in a guest that has seen none
before, since the first one that lockdep sees is its last."""

from guest import GuestDied
from suite import FIRST, INSMOD, OBJECTS, RMMOD, GuestTest

ROUNDS = 10


class Bugs(GuestTest):
    """Has bugs happen; where one was found, the guest is given up."""

    paging = FIRST
    # A guest that dies takes with it what it has counted of other tests (coverage),
    # so these have one of their own kind: the kernel heeds no such word.
    append = 'planted'

    def plant(self, bug, pid=0, then=':'):
        """Have a bug happen; what was found, as a test would be told."""
        found = 'nothing could be looked for'
        try:
            status, output = self.guest.run(f'''
                {INSMOD} planted.ko bug={bug} pid={pid} && {RMMOD} planted &&
                {then}''')
            self.assertEqual((status, output), (0, ''))
            found = '\n'.join(self.log.complaints() + self.left())
        except GuestDied as death:
            found = str(death)
        finally:
            if found:
                self.addCleanup(self.guest.give_up)
        self.compared(1)
        return found

    def left(self):
        """What else there is to look at."""
        return []

    def seen(self, bug, words, **parameters):
        """Fail when a bug is not found for what it is."""
        self.assertRegex(self.plant(bug, **parameters), words)


class Planted(Bugs):
    """One bug a test; `none` shows that it is the bug that is seen."""

    needs = ('KASAN', 'PROVE_LOCKING')

    def test_none(self):
        """finds nothing where there is nothing"""
        self.assertEqual(self.plant('none'), '')

    def test_use_after_free(self):
        """finds a use after free"""
        self.seen('use_after_free', 'KASAN: .*use-after-free')

    def test_beyond_the_end(self):
        """finds a byte read beyond the end"""
        self.seen('beyond_the_end', 'KASAN: .*out-of-bounds')

    def test_sleep_under_rcu(self):
        """finds the mmap lock taken under RCU"""
        self.seen('sleep_under_rcu', 'sleeping function called from invalid')

    def test_no_rcu(self):
        """finds a pointer of RCU's read without its lock"""
        self.seen('no_rcu', 'suspicious RCU usage')

    def test_lock_order(self):
        """finds two locks taken in both orders"""
        self.seen('lock_order', 'possible circular locking dependency')

    def test_lock_kept(self):
        """finds the mmap lock kept when the report is made"""
        self.seen('lock_kept', 'lock held when returning to user space')

    def test_leaked_task(self):
        """finds a reference to a task that is never given back"""
        self.assertLess(self.tasks_left('none'), ROUNDS // 2)
        # One that ended just before may still have been counted at first.
        self.assertGreater(self.tasks_left('leaked_task'), ROUNDS // 2)
        self.compared(1)
        self.addCleanup(self.guest.give_up)

    def tasks_left(self, bug):
        """By how many the tasks grow that the kernel has, in so many rounds."""
        before, after = self.guest.check(f'''
            {OBJECTS}
            tasks=$(objects task_struct)
            for i in $(seq {ROUNDS}); do
                pid=$(fixtures/held start fixtures/states | head -n 1)
                {INSMOD} planted.ko bug={bug} pid=$pid && {RMMOD} planted || exit
                fixtures/held end $pid
            done
            echo $tasks $(objects task_struct $((tasks + {ROUNDS // 2})))''',
            timeout=100).split()
        return int(after) - int(before)

    def test_one_put_too_many(self):
        """finds a reference given back twice"""
        pid = self.start('memory', keep=True).pid
        self.seen('one_put_too_many', 'refcount_t: |KASAN: ', pid=pid,
                  then=f'fixtures/held end {pid} && ps -e >/dev/null')

    def test_wide_shift(self):
        """finds a shift by more bits than there are"""
        self.seen('wide_shift', 'UBSAN: shift-out-of-bounds')


class Leaks(Bugs):
    """The same of memory, which is looked for only where it is asked for."""

    append = 'kmemleak=on'
    needs = ('DEBUG_KMEMLEAK',)

    def left(self):
        return self.leaks()

    def test_none(self):
        """finds no leak where there is none"""
        self.assertEqual(self.plant('none'), '')

    def test_leaked_memory(self):
        """finds memory that is never given back"""
        self.seen('leaked_memory', r'unreferenced object .*size 64')


class Races(Bugs):
    """The same of two processors."""

    cpus = 2
    needs = ('KCSAN',)

    def test_none(self):
        """finds no race of ours where there are only the kernel's"""
        self.assertEqual(self.plant('none', then='ps -e >/dev/null'), '')

    def test_data_race(self):
        """finds a counter that is read while another processor counts"""
        self.seen('data_race', 'BUG: KCSAN: data-race')
