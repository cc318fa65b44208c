# SPDX-License-Identifier: GPL-2.0-only
"""make install, make uninstall and make sign, of what was built for the guest's
kernel. (That a kernel takes what make sign signed: tests/signed.py.)"""

import lzma
from pathlib import Path
import re
import shutil
import subprocess
import tempfile

from build import HELPERS, variables
from report import LINES
from suite import FIRST, GuestTest

MODULES = [f'{module}.ko' for module in LINES]
PAGES = ['lkm.8', *(f'{name}.8' for name in HELPERS)]
MAGIC = b'~Module signature appended~\n'
NOT_COPIED = ('initramfs.cpio', 'fixtures', 'checked', 'planted', 'signed')


class Made(GuestTest):
    """What make does beside building. The guest has no part in it."""

    paging = FIRST
    dear = True

    def setUp(self):
        """A place to make it in, and where it was built."""
        self.place = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.place)
        self.tree = self.guest.initramfs.parent

    def copy(self):
        """Go on in a copy; kbuild knows nothing of it."""
        built, self.tree = self.tree, self.place / 'tree'
        shutil.copytree(built, self.tree,
                        ignore=shutil.ignore_patterns(*NOT_COPIED))

    def run_in(self, command, where, **others):
        """Run a command; its status and what it said."""
        done = subprocess.run(command, cwd=where, text=True, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              **others)
        return done.returncode, done.stdout

    def make(self, *words):
        """Run make; its status and what it said."""
        return self.run_in(['make', '--no-print-directory', *words,
                            *variables(self.guest.kernel, False)], self.tree)

    def made(self, *words):
        """Run make, which has to succeed; what it said."""
        status, output = self.make(*words)
        if status:
            self.fail(f'make {words}: {output}')
        return output

    # --- install ---

    def installed(self, root):
        """What there is of ours, each with the directory's name."""
        return sorted(f'{path.parent.name}/{path.name}'
                      for path in root.rglob('*') if path.is_file()
                      and re.match(r'lkm|pagemap|lazy_alloc', path.name))

    def test_install(self):
        """make install brings all where it is found, make uninstall takes it away"""
        root = self.place / 'root'
        self.made('install', f'DESTDIR={root}')
        programs = next(root.rglob('pagemap')).parent
        # Some kernels want them compressed.
        suffix = '.xz' if self.guest.kernel.has('MODULE_COMPRESS_XZ') else ''
        self.assertEqual(self.installed(root), sorted(
            [*(f'updates/{module}{suffix}' for module in MODULES),
             *(f'{programs.name}/{name}' for name in HELPERS),
             *(f'man8/{page}' for page in PAGES)]))
        self.assertTrue(all((programs / name).stat().st_mode & 0o777 == 0o755
                            for name in HELPERS))
        self.assertTrue((root / 'usr/local/share/man/man8/lkm.8').exists())
        for module in MODULES:
            path = (root / 'lib/modules' / self.guest.kernel.release / 'updates'
                    / f'{module}{suffix}')
            read = lzma.decompress if suffix else bytes
            self.assertEqual(read(path.read_bytes()),
                             (self.tree / module).read_bytes())
        self.made('uninstall', f'DESTDIR={root}')
        self.assertEqual(self.installed(root), [])

    def test_install_nothing(self):
        """make install says what to do where nothing was made"""
        self.copy()
        (self.tree / 'lkm3.ko').unlink()
        status, output = self.make('install', f'DESTDIR={self.place}/root')
        self.assertEqual((status, output.splitlines()[0]),
                         (2, 'There is no lkm3.ko: run make first.'))
        self.assertFalse((self.place / 'root').exists())

    # --- sign ---

    @property
    def sign_file(self):
        """The kernel's program that signs, if it runs here: that of an old release
        wants old libraries."""
        path = self.guest.kernel.build / 'scripts/sign-file'
        if self.run_in([path], self.place)[0] == 127:
            self.skipTest(f"this machine has not the libraries of {path.name} of "
                          f'{self.guest.kernel.name}')
        return path

    def verify(self, signed, unsigned, cert):
        """A signature is that of all before it, and of who is named."""
        self.assertEqual(signed[:len(unsigned)], unsigned)
        rest = signed[len(unsigned):]
        self.assertEqual(rest.count(MAGIC), 1)
        self.assertTrue(rest.endswith(MAGIC))
        (self.place / 'signature').write_bytes(rest[:-len(MAGIC) - 12])
        (self.place / 'content').write_bytes(unsigned)
        status, output = self.run_in(
            ['sh', '-c', f'''
                openssl x509 -inform DER -in {cert} -out cert.pem &&
                openssl cms -verify -binary -inform DER -in signature \\
                    -content content -certfile cert.pem -noverify -out /dev/null'''],
            self.place)
        self.assertEqual((status, output.strip().splitlines()[-1:]),
                         (0, ['CMS Verification successful']), output)

    def test_sign(self):
        """make sign makes a key when there is none, and signs all five by it, once"""
        self.copy()
        self.assertTrue(self.sign_file.exists())
        before = {name: (self.tree / name).read_bytes() for name in MODULES}
        first = self.made('sign').splitlines()
        cert, key = (self.tree / f'signing/lkm.{kind}' for kind in ('der', 'key'))
        self.assertEqual(key.stat().st_mode & 0o777, 0o600)
        self.assertRegex(first[0], 'Made a key, signing/lkm.key')
        self.assertRegex(first[1], 'Signed 5 modules by signing/lkm.key')
        self.assertIn('mokutil --import signing/lkm.der', first[2])
        self.assertIn('Code Signing', self.run_in(
            ['openssl', 'x509', '-inform', 'DER', '-in', cert, '-noout', '-text'],
            self.place)[1])
        after = {name: (self.tree / name).read_bytes() for name in MODULES}
        for name in MODULES:
            self.verify(after[name], before[name], cert)
            status, signer = self.run_in(['modinfo', '-F', 'signer', f'./{name}'],
                                         self.tree)
            self.assertEqual(status, 0)
            self.assertRegex(signer, '^modules of ')
        self.assertEqual(self.made('sign').splitlines(), first[1:])
        self.assertEqual(after, {name: (self.tree / name).read_bytes()
                                 for name in MODULES})

    def test_sign_other(self):
        """make sign takes a key of one's own, with a passphrase, and signs anew by it"""
        self.copy()
        self.assertTrue(self.sign_file.exists())
        unsigned = (self.tree / 'lkm1.ko').read_bytes()
        self.made('sign')
        status, output = self.run_in(
            ['sh', '-c', '''
                openssl req -new -x509 -newkey rsa:2048 -passout pass:words \\
                    -subj /CN=other -keyout key -out cert.pem &&
                openssl x509 -in cert.pem -outform DER -out cert.der'''], self.tree)
        self.assertEqual(status, 0, output)
        for cert in 'cert.pem', 'cert.der':
            said = self.made('sign', 'KEY=key', f'CERT={cert}',
                             'KBUILD_SIGN_PIN=words')
            self.assertIn('Signed 5 modules by key.', said)
            # Nothing else does mokutil take.
            self.assertIn('mokutil --import cert.der ', said)
            self.verify((self.tree / 'lkm1.ko').read_bytes(), unsigned,
                        self.tree / 'cert.der')

    def test_sign_nothing(self):
        """make sign says in a line what is wrong, and leaves the modules alone"""
        self.copy()
        self.assertTrue(self.sign_file.exists())
        self.made('sign')
        before = {path: path.read_bytes() for path in self.tree.glob('*.ko')}
        self.run_in(['openssl', 'genpkey', '-algorithm', 'RSA', '-out', 'other'],
                    self.tree)
        self.run_in(['openssl', 'pkey', '-in', 'other', '-aes256', '-passout',
                     'pass:words', '-out', 'locked'], self.tree)
        cert = 'CERT=signing/lkm.der'
        for words, said in (
                (['KEY=other'], 'give both KEY= and CERT=, or neither'),
                (['KEY=none', cert], 'cannot read the key none'),
                (['KEY=other', 'CERT=none'], 'cannot read the certificate none'),
                (['KEY=Makefile', cert], 'Makefile is no private key'),
                (['KEY=locked', cert], 'has a passphrase that KBUILD_SIGN_PIN'),
                (['KEY=other', cert], 'is no certificate of the key other'),
                (['MODULES=none'], 'there is no none.ko: run make first')):
            status, output = self.make('sign', *words)
            lines = output.splitlines()
            self.assertEqual((status, len(lines)), (2, 2), output)
            self.assertIn(said, lines[0])
        status, output = self.run_in(['make', 'sign', 'KDIR=/nowhere'], self.tree)
        self.assertIn('there is no /nowhere/scripts/sign-file', output)
        self.assertEqual(before, {path: path.read_bytes() for path in before})
