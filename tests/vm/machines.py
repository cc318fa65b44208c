# SPDX-License-Identifier: GPL-2.0-only
"""What the guests of each architecture need, by Debian's name for it.

A kind of page tables is a processor that has it, the kernel image that uses it,
and what to add to the kernel's command line. Foreign architectures are
emulated, and built for by a cross compiler.
"""

import collections

HOST = 'amd64'

# packages: what tests/vm/setup installs for it; kbuild: the kernel's own name
# for it; tuple: the compiler's; console: its serial port; patience: how many times
# as long as amd64's its commands may take.
Machine = collections.namedtuple(
    'Machine', 'qemu options console kbuild tuple patience packages tables')
Tables = collections.namedtuple('Tables', 'cpu image append')

# Moving strings by the byte, because the processor says it is fast, is not.
MAX = 'max,erms=off,fsrm=off'
# Where several are emulated the kernel distrusts their clocks, and asks a device for
# the time, which takes hundreds of times as long.
TSC = 'tsc=reliable'

MACHINES = {
    # The PVH entry of a vmlinux saves the decompressor's seconds, and skips the
    # code that would turn on 5-level paging and KASLR.
    'amd64': Machine(
        'qemu-system-x86_64', ('-machine', 'q35'), 'ttyS0', 'x86',
        'x86_64-linux-gnu', 1, (),
        {'4-level': Tables(MAX, 'vmlinux', TSC),
         '4-level+kaslr': Tables(f'{MAX},la57=off', 'vmlinuz', TSC),
         '5-level': Tables(MAX, 'vmlinuz', TSC)}),
    # Pointer authentication as the architecture has it is slow to emulate.
    'arm64': Machine(
        'qemu-system-aarch64', ('-machine', 'virt'), 'ttyAMA0', 'arm64',
        'aarch64-linux-gnu', 1,
        ('qemu-system-arm', 'gcc-aarch64-linux-gnu', 'libc6-dev-arm64-cross'),
        {'48-bit': Tables('cortex-a57', 'vmlinuz', ''),
         '52-bit': Tables('max,pauth-impdef=on', 'vmlinuz', '')}),
    'riscv64': Machine(
        'qemu-system-riscv64', ('-machine', 'virt'), 'ttyS0', 'riscv',
        'riscv64-linux-gnu', 4,         # its firmware is in every IPI
        ('qemu-system-misc', 'gcc-riscv64-linux-gnu',
         'libc6-dev-riscv64-cross'),
        {'sv39': Tables('rv64,svnapot=true', 'vmlinuz', 'no4lvl'),
         'sv48': Tables('rv64,svnapot=true', 'vmlinuz', 'no5lvl'),
         'sv57': Tables('rv64,svnapot=true', 'vmlinuz', '')}),
}

# With these, a process has addresses above the first 256 TB.
WIDE = ('5-level', '52-bit', 'sv57')
