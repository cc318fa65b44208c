# SPDX-License-Identifier: GPL-2.0-only
"""What was measured, as tables."""

import collections
from pathlib import Path
import re
import subprocess

from races import RACES
from results import markdown

COUNTED, TIMED = 'instructions', 'ns'

# n: the size that was asked for; units: how many there really were; lines: how many the
# way prints. The median is of instructions or of nanoseconds, as the mode says.
Result = collections.namedtuple('Result',
                                'kernel mode race n way units lines median spread')


class Results:
    """The results of one kernel."""

    def __init__(self, results, name):
        self.all = {(result.mode, result.race, result.n, result.way): result
                    for result in results if result.kernel == name}

    def get(self, mode, race, n, way):
        """A result; None where the kernel has no such way."""
        return self.all.get((mode, race, n, way))

    def ratio(self, mode, race, way, against):
        """How many times as long another way takes."""
        ours, other = (self.get(mode, race, RACES[race].at, name)
                       for name in (way, against))
        return other.median / ours.median if ours and other else None

    def ways(self, race):
        """Those ways of a race that there are."""
        return [way for way in RACES[race].ways
                if self.get(COUNTED, race, RACES[race].at, way)]


def short(number):
    """Three digits at least."""
    return f'{number:,.0f}' if number >= 100 else f'{number:.3g}'


def times(ratio):
    """A ratio in words."""
    return '-' if ratio is None else f'{short(ratio)} x'


# --- a race ------------------------------------------------------------------

def race_rows(results, name):
    """Each way, by both measures."""
    race = RACES[name]
    ours = next(iter(race.ways))
    yield ['', 'lines', 'million instructions', 'spread', f'instructions a {race.unit}',
           'ms', 'spread', f'ns a {race.unit}', f'as many as {ours}', 'as long']
    for way in results.ways(name):
        row = [way, f'{results.get(COUNTED, name, race.at, way).lines:,}']
        for mode in (COUNTED, TIMED):
            result = results.get(mode, name, race.at, way)
            row += [short(result.median / 1e6), f'{result.spread:.1%}',
                    short(result.median / result.units)]
        yield row + [times(results.ratio(mode, name, ours, way))
                     for mode in (COUNTED, TIMED)]


def part_rows(results, name):
    """What is told apart, at the largest size."""
    race = RACES[name]
    yield ['', f'instructions a {race.unit}', f'ns a {race.unit}']
    for part, (ways, others) in race.parts.items():
        row = [part]
        for mode in (COUNTED, TIMED):
            more, less = ([results.get(mode, name, race.sizes[-1], way) for way in each]
                          for each in (ways, others))
            alone = sum(each.median for each in more) - sum(each.median for each in less)
            row.append(short(alone / more[0].units))
        yield row


def growth_rows(results, name):
    """What a unit costs each way, at each size."""
    race = RACES[name]
    ways = results.ways(name)
    counts = [results.get(COUNTED, name, n, ways[0]).units for n in race.sizes]
    yield [f'instructions a {race.unit}, of', *(f'{count:,}' for count in counts),
           'the last by the one before']
    for way in ways:
        costs = [each.median / each.units for each in
                 (results.get(COUNTED, name, n, way) for n in race.sizes)]
        yield [way, *map(short, costs), f'{costs[-1] / costs[-2]:.2f}']


def race_tables(results, name):
    """All tables of a race, on one kernel."""
    race = RACES[name]
    units = results.get(COUNTED, name, race.at, next(iter(race.ways))).units
    many = f': {units:,}' if units > 1 else ''
    yield from ['', f'#### {name}: {race.title}{many}', '']
    yield from markdown(list(race_rows(results, name)))
    if race.parts:
        yield from ['', f'Told apart, at the size of {race.sizes[-1]:,}:', '']
        yield from markdown(list(part_rows(results, name)))
    if len(race.sizes) > 1:
        yield ''
        yield from markdown(list(growth_rows(results, name)))


# --- the goals ---------------------------------------------------------------

def is_newer(kernel):
    """Whether it has the quicker pagemap."""
    return tuple(map(int, re.match(r'(\d+)\.(\d+)', kernel.release).groups())) >= (6, 12)


def wanted(goal):
    """What a goal says, in words."""
    words = times(goal.least)
    if goal.newer:
        words += f', from 6.12 on {times(goal.newer)}'
    if goal.least_time:
        words += f', by time {times(goal.least_time)}'
    return words


def got(results, kernel, name, goal):
    """By instructions and by time: how far ahead the way is. One that is not far
    enough is marked, with what the floor would be."""
    least = goal.newer if goal.newer and is_newer(kernel) else goal.least
    for mode, limit in ((COUNTED, least), (TIMED, goal.least_time or least)):
        ratio = results.ratio(mode, name, goal.way, goal.against)
        words = times(ratio)
        if ratio is not None and ratio < limit:
            words += ' **missed**'
            floor = results.ratio(mode, name, goal.floor, goal.against)
            if floor:
                words += f'; the floor {times(floor)}, {short(floor / ratio)} times that'
        yield words


def goal_rows(all_results, kernels, names):
    """Each goal, on each kernel."""
    yield ['', 'what', 'against', 'at least',
           *(f'{kernel.name}: {mode}' for kernel in kernels
             for mode in (COUNTED, 'time'))]
    for name in names:
        for goal in RACES[name].goals:
            yield [name, goal.way, goal.against, wanted(goal),
                   *(words for kernel in kernels for words in
                     got(all_results[kernel.name], kernel, name, goal))]


# --- all of it ---------------------------------------------------------------

def machine(kernels, rounds, seconds):
    """What it was measured on, and how. kernels: {Kernel: how its time was measured}."""
    cpu = re.search(r'^model name\s*: (.*)$', Path('/proc/cpuinfo').read_text('utf-8'), re.M)
    qemu = subprocess.run([next(iter(kernels)).machine.qemu, '--version'], text=True,
                          check=True, stdout=subprocess.PIPE).stdout.split('\n')[0]
    yield f'- machine: {cpu[1] if cpu else "unknown"}'
    yield f'- {qemu}, guests with 4 GB'
    yield (f'- medians of {rounds[COUNTED]} by instructions, of {rounds[TIMED]} by time; '
           f'all of it took {seconds / 60:.0f} minutes')
    for kernel, accel in kernels.items():
        yield f'- {kernel.name}: Linux {kernel.release}, time under {accel}'


def report(results, kernels, rounds, seconds):
    """The lines of everything."""
    names = [name for name in RACES if any(result.race == name for result in results)]
    by_kernel = {kernel.name: Results(results, kernel.name) for kernel in kernels}
    yield from machine(kernels, rounds, seconds)
    if any(RACES[name].goals for name in names):
        yield from ['', '### Goals', '']
        yield from markdown(list(goal_rows(by_kernel, kernels, names)))
    for kernel in kernels:
        yield from ['', f'### Linux {kernel.name}']
        for name in names:
            yield from race_tables(by_kernel[kernel.name], name)
