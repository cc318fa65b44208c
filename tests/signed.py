# SPDX-License-Identifier: GPL-2.0-only
"""Kernels that take signed modules only, for either of two reasons or for both
(docs/insmod.md): signed ones do all they should, others are refused, and the
helpers say what to do.

The modules are signed with the kernel's own key, so it takes a kernel that was built
here: one with KASAN.
"""

import errno
import os

from insmod import rows
from report import GOOD, LINES
from suite import DMESG, FIRST, INSMOD, RMMOD, GuestTest

TAINT_UNSIGNED = 8192


class Enforced(GuestTest):
    """Signatures are enforced."""

    paging = FIRST
    append = 'module.sig_enforce=1'
    needs = ('MODULE_SIG', 'SECURITY_LOCKDOWN_LSM', 'KASAN')
    unsigned = errno.EKEYREJECTED
    logged = 'Loading of unsigned module'

    def setUp(self):
        """The signed modules are where all look for them, for so long."""
        self.guest.check('mkdir unsigned && cp lkm?.ko unsigned && '
                         'cp signed/lkm?.ko .')
        self.addCleanup(self.guest.check, 'cp unsigned/* . && rm -r unsigned')

    def refused(self, directory, error):
        """None of the five in a directory is taken; what insmod says."""
        said = [f'insmod: ERROR: could not insert module {directory}/{module}.ko: '
                f'{os.strerror(error)}' for module in LINES]
        output = self.guest.check(f'''
            for m in {' '.join(LINES)}; do
                insmod {directory}/$m.ko log=0 && {RMMOD} $m
            done; true''')
        self.assertEqual(output.splitlines(), said)

    def advises(self, directory, error, logged):
        """lazy_allocation says what docs/insmod.md does, of a line in the log."""
        row, = (row for row in rows() if logged in row.log
                and row.said == os.strerror(error))
        status, output = self.guest.run(
            f'./lazy_allocation --size 2M --module {directory}/lkm5.ko')
        self.assertEqual((status, output), (
            1, f'./lazy_allocation: cannot load {directory}/lkm5.ko '
               f'({row.said}): {row.because}: {row.advice}\n'))

    def test_signed(self):
        """makes the reports of all five where they are signed"""
        for module in LINES:
            self.some(self.report(module, **GOOD[module]).body)
            self.proc(module, **GOOD[module])
        taint = int(self.guest.check('cat /proc/sys/kernel/tainted'))
        self.assertFalse(taint & TAINT_UNSIGNED)

    def test_unsigned(self):
        """refuses all five where they are not"""
        self.refused('unsigned', self.unsigned)

    def test_broken(self):
        """refuses all five where one byte is not what was signed, and says nothing"""
        # A byte of the ELF header that nobody looks at.
        self.guest.check(f'''
            mkdir /run/broken
            for m in {' '.join(LINES)}; do
                cp $m.ko /run/broken
                printf X | dd of=/run/broken/$m.ko bs=1 seek=15 conv=notrunc
            done 2>/dev/null''')
        self.addCleanup(self.guest.check, 'rm -r /run/broken')
        self.guest.check('echo begin of broken >/dev/kmsg')
        self.refused('/run/broken', errno.EKEYREJECTED)
        self.assertRegex(self.guest.check(DMESG), r'begin of broken\n\Z')
        self.advises('/run/broken', errno.EKEYREJECTED, 'nothing')

    def test_lazy_allocation(self):
        """lazy_allocation runs signed modules, and says why it cannot others"""
        lazy = './lazy_allocation --size 2M'
        self.assertRegex(self.guest.check(lazy),
                         r'\n(\d+) of \1 expectations held, to the kB\.\n')
        self.advises('unsigned', self.unsigned, self.logged)

    def test_pagemap(self):
        """pagemap --check asks a signed lkm4"""
        pid = self.start('memory').pid
        output = self.guest.check(f'''
            {INSMOD} lkm4.ko log=0 && ./pagemap --check --summary {pid} &&
                {RMMOD} lkm4''')
        self.assertRegex(output, r'\nTOTAL AGREE [1-9]\d* RACED 0 DIFFER 0 UNSEEN 0\n')


class LockedDown(Enforced):
    """The kernel is locked down."""

    append = 'lockdown=integrity'
    unsigned = errno.EPERM
    logged = 'Lockdown: '


class Both(Enforced):
    """Both: as with Secure Boot on many distributions."""

    append = 'module.sig_enforce=1 lockdown=integrity'
