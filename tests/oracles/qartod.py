"""Records what ioos_qc says about small series, as vectors for operators/src/validate/vectors.rs.

    python3 -m venv venv && venv/bin/pip install ioos_qc && venv/bin/python qartod.py > qartod.csv

One line per case: test, parameters, minutes, values, flags (1 good, 2 not evaluated, 3 suspect, 4 fail); lists are
separated by spaces. Flat lines are compared on values that rest or jump and at intervals that divide the limits: there
the sliding window of ioos_qc and the run of the stage are the same thing.
"""

import csv
import random
import sys

import numpy
from ioos_qc import qartod

START = numpy.datetime64("2024-01-15T08:00:00", "s")


def times(minutes):
    return numpy.array([START + numpy.timedelta64(60 * m, "s") for m in minutes])


def gross_range(minutes, values, fail_min, fail_max, suspect_min, suspect_max):
    return qartod.gross_range_test(values, (fail_min, fail_max), (suspect_min, suspect_max))


def spike(minutes, values, threshold):
    return qartod.spike_test(values, threshold, 2 * threshold, method="differential")


def rate_of_change(minutes, values, per_minute):
    return qartod.rate_of_change_test(values, times(minutes), per_minute / 60)


def flat_line(minutes, values, tolerance, suspect, fail):
    return qartod.flat_line_test(values, times(minutes), suspect * 60, fail * 60, tolerance)


def aggregate(minutes, values):
    """Each value is a pair of flags, written as a number of two digits."""
    pairs = [divmod(int(value), 10) for value in values]
    return qartod.qartod_compare([numpy.array([a for a, _ in pairs]), numpy.array([b for _, b in pairs])])


def cases():
    rng = random.Random(2024)
    every = list(range(0, 24 * 10, 10))
    yield gross_range, [0, 1, 2, 3, 4, 5, 6], [-20, -20.1, 0, 0.5, 80, 80.1, 110.1], (-20, 110, 0.5, 80)
    yield spike, [0, 1, 2], [20, 26, 20], (5,)
    yield spike, [0, 1, 2], [20, 25, 20], (5,)
    yield spike, [0, 1, 2], [20, 31, 20], (5,)
    yield spike, [0, 1, 2, 3], [20, 30, 30, 20], (5,)
    yield spike, [0, 1, 2, 3], [20, 30, 40, 50], (5,)
    yield spike, [0, 1], [20, 90], (5,)
    yield rate_of_change, [0, 1, 2, 4], [20, 28, 36.5, 52.5], (8,)
    yield rate_of_change, [0, 10, 11], [20, 99, 20], (8,)
    yield flat_line, every, [20.0] * 24, (0.01, 60, 120)
    yield flat_line, every, [20.0] * 5 + [20.1] + [20.0] * 18, (0.01, 60, 120)
    yield flat_line, [0, 10], [20.0, 20.0], (0.01, 60, 120)
    for _ in range(20):
        walk, level = [], 45.0
        for _ in every:
            level = rng.choice([level, level, level, 45.0, level + 7, level - 16, level + 0.5])
            walk.append(level)
        gaps = sorted(rng.sample(range(240), 24))
        yield spike, gaps, walk, (12,)
        yield rate_of_change, gaps, walk, (0.8,)
        yield flat_line, every, walk, (0.01, 30, 50)
    yield aggregate, list(range(25)), [10 * a + b for a in (1, 2, 3, 4, 9) for b in (1, 2, 3, 4, 9)], ()


def main():
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["test", "parameters", "minutes", "values", "flags"])
    for test, minutes, values, parameters in cases():
        flags = test(minutes, [float(v) for v in values], *parameters)
        lists = [parameters, minutes, [repr(v) for v in values], [int(f) for f in flags]]
        out.writerow([test.__name__, *(" ".join(str(v) for v in values) for values in lists)])


main()
