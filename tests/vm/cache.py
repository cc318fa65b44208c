# SPDX-License-Identifier: GPL-2.0-only
"""Where things that can be made again are kept, and how steps are announced.

The cache lies outside the tree: kbuild's `make clean` would search a cache
inside it and delete what it takes for its own.
"""

import contextlib
import fcntl
import os
from pathlib import Path
import sys

# When to look for something newer than what is there, in seconds.
DAY = 24 * 3600
LOOK_AGAIN_AFTER = 7 * DAY


def cache(*parts):
    """A directory in the cache, made if need be."""
    base = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    path = Path(base, 'lkm-suite', *parts)
    path.mkdir(parents=True, exist_ok=True)
    return path


def announce(text):
    """Say on stderr that a step starts; stdout belongs to results."""
    # In one piece: several guests may be announced at once.
    sys.stderr.write(f'==> {text}\n')
    sys.stderr.flush()


@contextlib.contextmanager
def locked(name):
    """Keep out every other process that asks for the same name."""
    with open(cache('locks') / name, 'w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            announce(f'waiting for another run to leave {name}')
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write_atomically(path, data):
    """Replace a file in one step: a reader sees the old or the new one."""
    path = Path(path)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}')
    temporary.write_bytes(data)
    temporary.replace(path)
