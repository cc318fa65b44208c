# SPDX-License-Identifier: GPL-2.0-only
"""What page tables look like, by architecture: how an address is cut into
indices, where an entry leads, and what its bits mean.

From the processors' manuals and the kernel's documentation, and from nothing of
the modules': the tests compare the two.
"""

# How many bits the addresses of a process have, by the kind of page tables.
USER_BITS = {'4-level': 47, '4-level+kaslr': 47, '5-level': 56,
             '48-bit': 48, '52-bit': 52, 'sv39': 38, 'sv48': 47, 'sv57': 56}

# The levels that are there; the others repeat one of these.
NAMES = {5: ('PGD', 'P4D', 'PUD', 'PMD', 'PTE'),
         4: ('PGD', 'PUD', 'PMD', 'PTE'),
         3: ('PGD', 'PMD', 'PTE')}


def bits(value, high, low):
    """A field of an entry, where it stands."""
    return value & (1 << high + 1) - (1 << low)


def named(value, words):
    """Those words whose bit is set."""
    return {word for word, bit in words.items() if value >> bit & 1}


class Tables:
    """The page tables of a guest: what all architectures have in common."""

    kernel_half = 1         # the kernel's addresses need a bit in the same table
    hole_at_end = 0         # bytes that no process can have, at the end
    accessed = None         # the bit that says so
    non_canonical = 1 << 62     # an address of neither half

    def __init__(self, page, paging):
        self.page = page
        self.shift = page.bit_length() - 1
        self.index_bits = self.shift - 3        # an entry has 8 bytes
        self.user_bits = USER_BITS[paging]
        self.levels = -(-(self.user_bits + self.kernel_half - self.shift)
                        // self.index_bits)
        self.names = NAMES[self.levels]

    @property
    def end(self):
        """The first address that no process can have."""
        return (1 << self.user_bits) - self.hole_at_end

    def span(self, level):
        """How many bytes one entry of a level is for."""
        below = self.levels - 1 - self.names.index(level)
        return 1 << self.shift + self.index_bits * below

    def index(self, address, level):
        """Which entry of its table is an address's."""
        return address // self.span(level) % (1 << self.index_bits)

    def entries(self, level):
        """How many entries a table has. The highest may be a short one, and is
        no longer than what it is there for."""
        if level != 'PGD':
            return 1 << self.index_bits
        return 1 << (self.user_bits + self.kernel_half
                     - (self.span(level).bit_length() - 1))

    @property
    def hugetlb(self):
        """{size: bytes that one entry maps} of the pages of hugetlb."""
        return {self.span('PMD'): self.span('PMD'), 1 << 30: 1 << 30}

    def protnone(self, value):
        """Whether the entry of a page keeps its owner out."""
        raise NotImplementedError

    def leads_to(self, value, size=None):
        """The address in an entry: of a table, or of a page of that size."""
        raise NotImplementedError

    def words(self, value, level, is_page, device):
        """The words for an entry's bits."""
        raise NotImplementedError


class Amd64(Tables):
    """Intel SDM, volume 3, 4.5 (4-level and 5-level paging)."""

    TABLE = {'present': 0, 'rw': 1, 'user': 2, 'pwt': 3, 'pcd': 4,
             'accessed': 5, 'dirty': 6, 'nx': 63}
    # They mean this only where a page is mapped.
    PAGE = {'special': 9, 'uffd_wp': 10, 'soft_dirty': 11, 'saved_dirty': 58,
            'pkey0': 59, 'pkey1': 60, 'pkey2': 61, 'pkey3': 62}

    def __init__(self, page, paging):
        super().__init__(page, paging)
        self.hole_at_end = page     # what is behind a jump must not be it
        self.accessed = 1 << 5

    def protnone(self, value):
        return value & 0x101 == 0x100

    def leads_to(self, value, size=None):
        if size and self.protnone(value):
            value = ~value          # for L1TF: nothing of memory's addresses
        return bits(value, 51, 12) & -(size or self.page)

    def words(self, value, level, is_page, device):
        words = dict(self.TABLE)
        if is_page:
            words |= self.PAGE
            words |= {'protnone' if self.protnone(value) else 'global': 8}
            words |= ({'pat': 7} if level == 'PTE' else {'pse': 7, 'pat': 12})
        return named(value, words)


class Arm64(Tables):
    """Arm ARM, D8.3 (translation table descriptor formats); the bits from 55 to
    58 are left to software."""

    kernel_half = 0         # it has tables of its own
    non_canonical = 1 << 54     # the top byte is no part of an address
    TABLE = {'valid': 0, 'table': 1, 'af': 10, 'pxn': 59, 'uxn': 60}
    PAGE = {'valid': 0, 'user': 6, 'rdonly': 7, 'af': 10, 'gp': 50, 'dbm': 51,
            'cont': 52, 'pxn': 53, 'uxn': 54, 'dirty': 55, 'special': 56,
            'uffd_wp': 58}
    CONT = 1 << 52

    def __init__(self, page, paging):
        super().__init__(page, paging)
        self.accessed = 1 << 10
        # With FEAT_LPA2, SH makes room for the highest bits of an address.
        self.lpa2 = paging == '52-bit'

    @property
    def hugetlb(self):
        contiguous = {4096: (1 << 16, 1 << 25), 16384: (1 << 21, 1 << 30)}
        of_ptes, of_pmds = contiguous[self.page]
        sizes = {of_ptes: self.page, self.span('PMD'): self.span('PMD'),
                 of_pmds: self.span('PMD')}
        return sizes if self.page > 4096 else sizes | {1 << 30: 1 << 30}

    def protnone(self, value):
        return not value >> 6 & 1 and bool(value >> 54 & 1)

    def leads_to(self, value, size=None):
        address = bits(value, 49 if self.lpa2 else 47, 12)
        if self.lpa2:
            address |= bits(value, 9, 8) << 50 - 8
        return address & -(size or self.page)

    def words(self, value, level, is_page, device):
        if not is_page:
            return named(value, self.TABLE)
        words = named(value, self.PAGE)
        if value & 1 and value >> 11 & 1:
            words.add('ng')
        if not self.lpa2 and bits(value, 9, 8) == 0x300:
            words.add('shared')
        if self.protnone(value):
            # Older kernels mark such a page with bit 58; no page of the tests has
            # both.
            words = words - {'uffd_wp'} | {'protnone'}
        return words | ({'device'} if device else set())


class Riscv64(Tables):
    """The privileged specification, chapters on Sv39, Sv48, Sv57 and Svnapot."""

    TABLE = {'present': 0, 'read': 1, 'write': 2, 'exec': 3, 'user': 4,
             'accessed': 6, 'dirty': 7}

    def __init__(self, page, paging):
        super().__init__(page, paging)
        self.accessed = 1 << 6

    @property
    def hugetlb(self):
        return {1 << 16: 1 << 16, **super().hugetlb}

    def protnone(self, value):
        return value & 0x21 == 0x20

    def leads_to(self, value, size=None):
        # The lowest bits of a NAPOT page's number say how large it is.
        return bits(value, 53, 10) << 2 & -(size or self.page)

    def words(self, value, level, is_page, device):
        words = named(value, self.TABLE)
        if is_page:
            words |= named(value, {'special': 8})
            words |= named(value, {'protnone' if self.protnone(value)
                                   else 'global': 5})
            if level == 'PTE':
                words |= named(value, {'napot': 63})
        return words


ARCHITECTURES = {'amd64': Amd64, 'arm64': Arm64, 'riscv64': Riscv64}
