# SPDX-License-Identifier: GPL-2.0-only
"""Kernels that take signed modules only, for either of two reasons or for both
(docs/signing.md): signed ones do all they should, others are refused, and the
helpers say what to do.

The modules are signed with the kernel's own key, so it takes a kernel that was built
here: one with KASAN.
"""

import errno
import os

from suite import FIRST, INSMOD, RMMOD, GuestTest
from report import GOOD, LINES

UNTRUSTED = ('this kernel takes only modules signed by a key that it trusts: see '
             'docs/signing.md, or switch Secure Boot off')
LOCKED = ('the kernel is locked down, as by Secure Boot: see docs/signing.md; or '
          'kernel.modules_disabled or a container forbids it')
ADVICE = {errno.EKEYREJECTED: UNTRUSTED, errno.EPERM: LOCKED}
TAINT_UNSIGNED = 8192


class Enforced(GuestTest):
    """Signatures are enforced."""

    paging = FIRST
    append = 'module.sig_enforce=1'
    needs = ('MODULE_SIG', 'SECURITY_LOCKDOWN_LSM', 'KASAN')
    unsigned = errno.EKEYREJECTED

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
        """refuses all five where one byte is not what was signed"""
        # A byte of the ELF header that nobody looks at.
        self.guest.check(f'''
            mkdir /run/broken
            for m in {' '.join(LINES)}; do
                cp $m.ko /run/broken
                printf X | dd of=/run/broken/$m.ko bs=1 seek=15 conv=notrunc
            done 2>/dev/null''')
        self.addCleanup(self.guest.check, 'rm -r /run/broken')
        self.refused('/run/broken', errno.EKEYREJECTED)

    def test_lazy_allocation(self):
        """lazy_allocation runs signed modules, and says why it cannot others"""
        lazy = './lazy_allocation --size 2M'
        self.assertRegex(self.guest.check(lazy),
                         r'\n(\d+) of \1 expectations held, to the kB\.\n')
        status, output = self.guest.run(f'{lazy} --module unsigned/lkm5.ko')
        self.assertEqual((status, output), (
            1, './lazy_allocation: cannot load unsigned/lkm5.ko '
               f'({os.strerror(self.unsigned)}): {ADVICE[self.unsigned]}\n'))

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


class Both(Enforced):
    """Both: as with Secure Boot on many distributions."""

    append = 'module.sig_enforce=1 lockdown=integrity'
