# SPDX-License-Identifier: GPL-2.0-only
"""A disposable QEMU guest that runs commands and whose memory can be read.

Commands and their answers go over a virtio-serial port of their own; the
console is only ever shown to people, never searched for results. Memory is
read through QEMU's monitor, from outside the guest.
"""

import collections
import contextlib
import hashlib
import json
import os
from pathlib import Path
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import threading
import time

from cache import announce, cache, write_atomically
from machines import HOST

BOOT_SECONDS = 60
PROBE_SECONDS = 8
MOST_BOOTS = 4      # then there is no hope for the tests that are left

# Whatever is wrong ends the guest at once, and with it QEMU (-no-reboot).
# devkmsg: lines that tests write into the log must not be dropped. vsyscall: a
# mapping that no page table knows of, on amd64.
APPEND = ('loglevel=5 oops=panic panic=-1 panic_on_warn=1 '
          'softlockup_panic=1 hung_task_panic=1 printk.devkmsg=on '
          'vsyscall=xonly')

# The guest's clock counts its instructions, a nanosecond each; when its processor is
# idle, the clock goes on to the next timer at once. Several cannot be counted.
COUNTING = ('-icount', 'shift=0,sleep=off')

# What a kernel says of a bug.
ALARM = re.compile(r'BUG|WARNING|Oops|general protection|rcu.*stall|'
                   r'soft lockup|Call Trace|UBSAN: |refcount_t: ')

Result = collections.namedtuple('Result', 'status output')


class GuestDied(Exception):
    """The guest ended, hangs, or talks nonsense."""


class CommandFailed(Exception):
    """A command that had to succeed in the guest did not."""


def qemu_command(kernel, initramfs, paging, accel, append):
    """QEMU's command line as far as all guests have it in common."""
    machine, tables = kernel.machine, kernel.machine.tables[paging]
    cpu = tables.cpu
    if accel == 'kvm':
        cpu = cpu.replace('max', 'host')
    append = f'console={machine.console} {tables.append} {append}'
    return [machine.qemu, *machine.options, '-accel', accel, '-cpu', cpu,
            '-kernel', str(kernel.path / tables.image),
            '-initrd', str(initramfs), '-append', append,
            '-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot']


class Qmp:
    """QEMU's monitor."""

    def __init__(self, connection):
        self.stream = connection.makefile('rwb')
        self.stream.readline()
        self.command('qmp_capabilities')

    def command(self, name, **arguments):
        """Execute a command and return its answer; events are passed over."""
        request = {'execute': name, 'arguments': arguments}
        self.stream.write(json.dumps(request).encode() + b'\n')
        self.stream.flush()
        while True:
            line = self.stream.readline()
            if not line:
                raise GuestDied('QEMU ended')
            answer = json.loads(line)
            if 'error' in answer:
                raise MonitorError(f"{name}: {answer['error']['desc']}")
            if 'return' in answer:
                return answer['return']


class MonitorError(Exception):
    """QEMU's monitor refused a command."""


class SlowLine(threading.Thread):
    """The other end of a serial line: takes each byte when that would have come, and
    writes it into a file. QEMU's port is as fast as what it sends is taken; what is
    not taken waits in between, where there is room for a hundred bytes or two."""

    def __init__(self, rate, path):
        super().__init__(daemon=True)
        self.rate, self.path = rate, path
        self.ours, self.qemus = socket.socketpair()
        # It sends byte by byte, each of which takes most of a kilobyte.
        self.qemus.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)

    def run(self):
        """Until QEMU ends."""
        with self.ours, open(self.path, 'ab', buffering=0) as file:
            due = 0
            while data := self.ours.recv(self.rate // 200):
                file.write(data)
                now = time.monotonic()
                due = max(due, now) + len(data) / self.rate
                time.sleep(due - now)


class Guest:
    """One guest, from `with` to its end.

    paging is one of the kernel's kinds of guests; append is added to its
    command line; console_rate is the number of bytes that its console takes in
    a second, or 0: any. One that is counting has a clock of instructions; disk is a
    file that it has as /dev/vda. A guest that died can be booted again.
    """

    def __init__(self, kernel, initramfs, paging=None, memory='1G', cpus=2,
                 append='', console_rate=0, accel=None, counting=False,
                 disk=None):
        self.kernel = kernel
        self.initramfs = initramfs
        self.paging = paging = paging or kernel.guests[0]
        self.memory = memory
        self.cpus = 1 if counting else cpus
        self.append = append
        self.counting = counting
        self.disk = disk
        if counting:
            accel = 'tcg'
        self.console_rate = console_rate
        self.accel = accel or accelerator(kernel, initramfs, paging)
        self.boots = 0
        self.ended = False
        self.qemu = None
        self.directory = None

    def __enter__(self):
        try:
            self.boot()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    # --- life and death ---

    def boot(self):
        """Start, and wait until commands are answered.

        A kernel that does not come up has seen nothing of ours yet. Emulated,
        some crash now and then while they patch their own code: that is said,
        and tried once more.
        """
        self.stop()
        if self.boots == MOST_BOOTS:
            raise GuestDied(f'the guest died {self.boots} times; no more tests '
                            'are run in it')
        self.boots += 1
        limit = BOOT_SECONDS * self.kernel.patience
        try:
            self.start(limit)
        except GuestDied as error:
            if self.ended:
                raise
            announce(f'{self.kernel.name}: booting it again, for {error}')
            self.start(limit)

    def start(self, limit):
        """Start QEMU, and wait so many seconds for the guest to be ready."""
        # pylint: disable=consider-using-with
        self.directory = tempfile.TemporaryDirectory(dir=cache('run'))
        self.agent, agent_end = socket.socketpair()
        self.monitor, monitor_end = socket.socketpair()
        with contextlib.ExitStack() as ends, open(self.console, 'wb') as console:
            passed = [ends.enter_context(end).fileno() for end in
                      (agent_end, monitor_end, *self._slow_line())]
            self.qemu = subprocess.Popen(
                self._command(*passed), stdin=subprocess.DEVNULL,
                stdout=console, stderr=console, pass_fds=passed,
                start_new_session=True)
        self.qmp = None
        self._answer(b'ready', time.monotonic() + limit, 'boot')

    def _slow_line(self):
        """The end for QEMU of the line that the console is on, if it is a slow one."""
        if not self.console_rate:
            return []
        line = SlowLine(self.console_rate, self.console)
        line.start()
        return [line.qemus]

    def _command(self, agent, monitor, line=None):
        console = (f'file,id=console,path={self.console},append=on'
                   if line is None else f'socket,id=console,fd={line}')
        # setpriv: QEMU must not outlive this process, however it ends.
        return ['setpriv', '--pdeathsig', 'KILL',
                *qemu_command(self.kernel, self.initramfs, self.paging,
                              self.accel, ' '.join([
                                  APPEND, self.kernel.append, self.append])),
                *(COUNTING if self.counting else ()),
                *(('-drive', f'file={self.disk},if=virtio,format=raw')
                  if self.disk else ()),
                '-m', self.memory, '-smp', str(self.cpus),
                '-chardev', console,
                '-serial', 'chardev:console',
                '-chardev', f'socket,id=agent,fd={agent}',
                '-device', 'virtio-serial-pci',
                '-device', 'virtserialport,chardev=agent,name=agent',
                '-chardev', f'socket,id=monitor,fd={monitor}',
                '-mon', 'chardev=monitor,mode=control']

    def give_up(self):
        """Stop after a death that was meant to be: it does not count."""
        self.stop()
        self.boots -= 1

    def end(self):
        """Stop, for good."""
        self.ended = True
        self.stop()

    def stop(self):
        """End the guest, in whatever state it is."""
        if self.qemu:
            self.qemu.kill()
            self.qemu.wait()
            self.agent.close()
            self.monitor.close()
            self.qemu = None
        if self.directory:
            self.directory.cleanup()
            self.directory = None

    @property
    def running(self):
        """Whether commands can be expected to be answered."""
        return self.qemu is not None

    @property
    def console(self):
        """The file that holds what the guest, and QEMU, said."""
        return Path(self.directory.name, 'console')

    def console_tail(self, lines):
        """The last lines of the console."""
        text = self.console.read_bytes().decode('utf-8', 'replace')
        return text.replace('\r', '').splitlines()[-lines:]

    def _died(self, why):
        """The exception for a guest that cannot go on; it is ended."""
        lines = self.console_tail(1000)
        first = [line for line in lines[:-40] if ALARM.search(line)][:1]
        lines = first + lines[-40:]
        self.stop()
        return GuestDied(f'the guest {why}; its last console lines:\n'
                         + ('\n'.join(lines) or '(nothing)'))

    # --- commands ---

    def run(self, command, timeout=60):
        """Run a shell script as root; its status and output.

        It runs in a subshell of the guest's first process: `$$` is 1 in it.
        What it leaves running in the background lives on.
        """
        if not self.running:
            raise GuestDied('the guest has ended before')
        token = secrets.token_hex(8).encode()
        request = command.encode(errors='surrogateescape') + b'\n'
        timeout *= self.kernel.patience
        try:
            self.agent.settimeout(timeout)
            self.agent.sendall(b'%s %d\n%s' % (token, len(request), request))
        except OSError as error:
            raise self._died('ended') from error
        return self._answer(token, time.monotonic() + timeout, command)

    def check(self, command, timeout=60):
        """Run a shell script that has to succeed; its output."""
        status, output = self.run(command, timeout)
        if status:
            raise CommandFailed(f'{command}\nstatus {status}: {output}')
        return output

    def _answer(self, token, deadline, command):
        """Receive a command's output, ended by `TOKEN STATUS`."""
        received = bytearray()
        while token not in received[-100:] or not received.endswith(b'\n'):
            received += self._receive(deadline, command)
        output, _, status = bytes(received).rpartition(token)
        if not re.fullmatch(rb' \d+\n', status):
            raise self._died(f'gave a garbled answer ({received[-80:]!r})')
        return Result(int(status), output.decode('utf-8', 'surrogateescape'))

    def _receive(self, deadline, command):
        try:
            self.agent.settimeout(max(deadline - time.monotonic(), 0.001))
            data = self.agent.recv(1 << 20)
        except socket.timeout as error:
            raise self._died(f'did not answer in time: {command}') from error
        except OSError:
            data = b''
        if not data:
            raise self._died(f'ended: {command}')
        return data

    # --- memory, from outside ---

    def physical(self, address, length):
        """Bytes of the guest's physical memory."""
        with self._stopped():
            return self._memory('pmemsave', address, length)

    def kernel_virtual(self, address, length):
        """Bytes at an address of the guest's kernel.

        A CPU that is in user mode may have the kernel unmapped (page table
        isolation), so each is asked, and again a little later.
        """
        for _ in range(50):
            for cpu in range(self.cpus):
                try:
                    with self._stopped():
                        return self._memory('memsave', address, length,
                                            **{'cpu-index': cpu})
                except MonitorError as error:
                    refusal = error
            time.sleep(0.02)
        raise refusal

    def _memory(self, command, address, length, **options):
        path = Path(self.directory.name, 'memory')
        # The monitor takes addresses as signed numbers.
        signed = (address ^ 1 << 63) - (1 << 63)
        self.qmp.command(command, val=signed, size=length,
                         filename=str(path), **options)
        return path.read_bytes()

    def _stopped(self):
        if not self.running:
            raise GuestDied('the guest has ended before')
        self.qmp = self.qmp or Qmp(self.monitor)
        return Stopped(self.qmp)


class Stopped:
    """The guest stands still while its memory is read."""

    def __init__(self, qmp):
        self.qmp = qmp

    def __enter__(self):
        self.qmp.command('stop')

    def __exit__(self, *_):
        self.qmp.command('cont')


# --- which accelerator -------------------------------------------------------

def accelerator(kernel, initramfs, paging):
    """'kvm' where it really works, else 'tcg'.

    /dev/kvm proves nothing: inside some virtual machines it opens, and guests
    hang or abort. So a guest is booted, once for each boot of the host.
    """
    if kernel.arch != HOST or not os.access('/dev/kvm', os.R_OK | os.W_OK):
        return 'tcg'
    cpuinfo = Path('/proc/cpuinfo').read_text()
    if paging == '5-level' and not re.search(r'^flags.* la57\b', cpuinfo, re.M):
        return 'tcg'
    verdict = cache('accelerator') / host_key(paging)
    if not verdict.exists():
        announce(f'Trying KVM with {paging} page tables')
        works = kvm_works(kernel, initramfs, paging)
        write_atomically(verdict, b'kvm' if works else b'tcg')
    return verdict.read_text()


def host_key(paging):
    """What the verdict on KVM depends on."""
    qemu = shutil.which('qemu-system-x86_64')
    facts = (os.uname().release, str(os.stat(qemu).st_mtime), paging,
             Path('/proc/sys/kernel/random/boot_id').read_text())
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def kvm_works(kernel, initramfs, paging):
    """Whether a guest comes up under KVM in reasonable time."""
    guest = Guest(kernel, initramfs, paging, accel='kvm')
    try:
        guest.start(PROBE_SECONDS)
        return guest.run('true', PROBE_SECONDS).status == 0
    except GuestDied:
        return False
    finally:
        guest.stop()
