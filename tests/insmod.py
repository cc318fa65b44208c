# SPDX-License-Identifier: GPL-2.0-only
"""docs/insmod.md: each refusal in its table really happens, insmod and the log say
what stands there, no other row fits, and lazy_allocation gives the row's advice.

What is refused is lkm5 with some bytes changed, as if it were built for another
kernel; or as it is, by a kernel that is told to take no such modules.
"""

import base64
import collections
from pathlib import Path
import re
import struct
import subprocess
import tempfile

from build import TREE
from suite import DMESG, FIRST, INSMOD, RMMOD, GuestTest

PAGE = TREE / 'docs/insmod.md'
GOOD = 'pid=1 log=0'
NOBODY = 4194303    # no pid of a guest's: they go up one by one

Row = collections.namedtuple('Row', 'said log because advice')
# What is done before, which file is refused with which words behind it, and by
# whom it is loaded; without advice, where lazy_allocation does not do the same.
Case = collections.namedtuple('Case', 'before file words by advice',
                              defaults=['run/lkm5.ko', GOOD, '', True])

# `copy`: lkm5, to be spoilt. `put TEXT OFFSET BYTES`: writes bytes so far behind each
# place where the text stands alone; with FIRST only behind the first one.
SPOIL = '''
copy() {
    mkdir -p run; cp lkm5.ko run
}
put() {
    busybox strings -t d lkm5.ko | while read -r place text; do
        [ "$text" = "$1" ] || continue
        printf "$3" | busybox dd of=run/lkm5.ko bs=1 seek=$((place + $2)) \\
            conv=notrunc 2>/dev/null
        [ -z "${4-}" ] || break
    done
}
copy
'''
# The checksum of a symbol's type lies in front of its name, in the first table.
OTHER_LAYOUT = 'put module_layout -8 X FIRST'
OTHER_SYMBOL = 'put seq_open -8 X FIRST'
NO_SYMBOL = 'put seq_open 0 X'
OTHER_MAGIC = '''
magic=$(busybox strings lkm5.ko | sed -n 's/^vermagic=\\(.*[^ ]\\) *$/\\1/p')
release=${magic%% *}
put "vermagic=$magic" $((9 + ${#release} + 1)) X'''
BAD_SIGNATURE = r"""
printf '\377\377\377\377\377\377\377\377\377\377\377\377' >>run/lkm5.ko
printf '~Module signature appended~\n' >>run/lkm5.ko"""

USUAL = (
    Case(':', words='', advice=False),
    Case(':', words=f'pid={NOBODY}', advice=False),
    Case(':', file='run/none.ko', advice=False),
    Case(':', by='setpriv --bounding-set -sys_module'),
    Case('echo nothing >run/lkm5.ko'),
    Case('head -c 5000 lkm5.ko >run/lkm5.ko'),
    Case(BAD_SIGNATURE),
    Case(NO_SYMBOL),
    Case(OTHER_MAGIC),
    Case(f'{INSMOD} lkm5.ko {GOOD}'))
VERSIONED = (Case(OTHER_LAYOUT), Case(OTHER_SYMBOL))

# A digest that openssl signs with and no kernel verifies.
UNKNOWN = 'ripemd160'
# What a kernel is built with that can be locked down while it runs.
LOCKABLE = 'SECURITY_LOCKDOWN_LSM', 'SECURITYFS'
LOCK_DOWN = '''
[ -e /sys/kernel/security/lockdown ] ||
    mount -t securityfs securityfs /sys/kernel/security
echo integrity >/sys/kernel/security/lockdown'''
ENFORCE = 'echo 1 >/sys/module/module/parameters/sig_enforce'
DISABLE = 'echo 1 >/proc/sys/kernel/modules_disabled'


def rows():
    """The rows of the table, without the marks of what is code."""
    lines = PAGE.read_text('utf-8').splitlines()
    cells = [[cell.strip() for cell in line.strip('|').split('|')]
             for line in lines if line.startswith('| ')]
    return [Row(said, log, because.replace('`', ''), advice.replace('`', ''))
            for said, log, because, advice in cells[2:]]


def logged(row, log):
    """Whether a row is of such lines in the log: one of what it has in code is
    there, or nothing, if that is what it says."""
    if not log:
        return row.log.endswith('nothing')
    patterns = [re.escape(code).replace(r'\.\.\.', '.*').replace('lkmN', r'lkm\d')
                for code in re.findall('`(.*?)`', row.log)]
    return any(re.search(pattern, line) for pattern in patterns for line in log)


def fitting(said, log):
    """The row for what insmod and the log said. One that has no more than the
    module's name fits where no other does."""
    found = [row for row in rows() if row.said == said and logged(row, log)]
    return [row for row in found if row.log != '`lkmN: ...`'] or found


def signature(module, digest):
    """What stands behind a signed module, by a key that nobody knows: a detached
    signature in PKCS #7 (which is 2), its length, and the magic words. Not by
    sign-file: that of an old kernel wants libraries that are not here."""
    with tempfile.TemporaryDirectory() as place:
        for command in (
                'req -new -x509 -newkey rsa:2048 -nodes -subj /CN=nobody '
                '-keyout key -out cert',
                f'cms -sign -nocerts -noattr -binary -outform DER -md {digest} '
                f'-signer cert -inkey key -in {module} -out signature'):
            subprocess.run(['openssl', *command.split()], cwd=place, check=True,
                           stderr=subprocess.DEVNULL)
        signed = Path(place, 'signature').read_bytes()
    return (signed + struct.pack('>BBBBB3xI', 0, 0, 2, 0, 0, len(signed))
            + b'~Module signature appended~\n')


class Refused(GuestTest):
    """All of the table, in one guest: the kernel grows stricter, for good."""

    paging = FIRST

    def refused(self, case):
        """What insmod says of a case, and the log, and lazy_allocation."""
        output = self.guest.check(f'''
            {SPOIL}
            {case.before}
            echo begin of refusal >/dev/kmsg
            {case.by} insmod {case.file} {case.words} 2>&1 && exit 1
            echo %%
            {DMESG} | tac | sed '/begin of refusal/,$d'
            echo %%
            {case.by} ./lazy_allocation --module {case.file} 2>&1 >/dev/null
            [ ! -d /sys/module/lkm5 ] || {RMMOD} lkm5''')
        said, log, advice = output.split('%%\n')
        log = [re.sub(r'^<\d+>\[ *[\d.]+\] ', '', line)
               for line in log.splitlines()]
        # What a kernel says of the first module of others that it sees.
        log = [line for line in log if 'taint' not in line]
        return said.strip().rpartition(': ')[2], log, advice.strip()

    def explained(self, cases):
        """The rows of some cases: each has one, and its advice is given."""
        for case in cases:
            with self.subTest(case):
                said, log, advice = self.refused(case)
                found = fitting(said, log)
                self.assertEqual(len(found), 1, (said, log, found))
                yield found[0]
                if case.advice:
                    wanted = f'{found[0].because}: {found[0].advice}'
                    self.assertEqual(advice.partition('): ')[2],
                                     wanted.replace('lkmN', 'lkm5'))

    def stricter(self):
        """The cases of kernels that take no such modules; each stays as strict for
        those that follow."""
        module = self.guest.initramfs.with_name('lkm5.ko')
        append = [f'echo {base64.b64encode(signature(module, digest)).decode()} | '
                  'busybox base64 -d >>run/lkm5.ko' for digest in ('sha256', UNKNOWN)]
        if all(map(self.guest.kernel.has, LOCKABLE)):
            yield Case(LOCK_DOWN)
        yield Case(ENFORCE)
        yield from map(Case, append)
        yield Case(DISABLE)

    def test_modprobe(self):
        """modprobe has the other words that the page says it has"""
        quoted = re.findall('"([^"]*)"', PAGE.read_text('utf-8').partition('<!--')[0]
                            .replace('\n', ' '))
        insmod_says, modprobe_says = quoted[:3], quoted[3:]
        for before, words, said, instead in zip(
                (':', OTHER_MAGIC, ':'), ('', GOOD, f'pid={NOBODY}'),
                insmod_says, modprobe_says, strict=True):
            output = self.guest.check(f'''
                {SPOIL}
                {before}
                place=lib/modules/$(uname -r)
                mkdir -p run/$place && cp run/lkm5.ko run/$place && depmod -b $PWD/run 2>/dev/null
                insmod run/lkm5.ko {words} 2>&1 && exit 1
                modprobe -d $PWD/run lkm5 {words} 2>&1 && exit 1
                rm -r run''')
            self.assertEqual([line.rpartition(': ')[2]
                              for line in output.splitlines()], [said, instead])

    def test_all(self):
        """each refusal of the table happens, and is explained by its row alone"""
        self.addCleanup(self.guest.stop)    # there is no way back
        kernel = self.guest.kernel
        cases = [*USUAL, *(VERSIONED if kernel.has('MODVERSIONS') else ()),
                 *self.stricter()]
        seen = set(self.explained(cases))
        unseen = [row.said for row in rows() if row not in seen]
        # One takes a key that the kernel trusts: tests/signed.py.
        wanted = ['Key was rejected by service']
        # So does one that can be locked down only from its boot on.
        if not all(map(kernel.has, LOCKABLE)):
            wanted.insert(0, 'Operation not permitted')
        if not kernel.has('MODVERSIONS'):
            wanted += ['Invalid module format', 'Invalid parameters']
        self.assertEqual(unseen, wanted)
