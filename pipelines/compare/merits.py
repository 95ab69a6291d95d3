"""What each experiment is good for, in words: rules over figures, none of which says more than the intervals allow.

A merit is a lead, or a place where nothing as small is as good, or what a code of this sort can do. An experiment
without any is told who does better, or is not apart from it, for no more bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from pipelines.compare.standings import COLUMN, NAMED, apart, link, standing, value

if TYPE_CHECKING:
    from pipelines.compare.experiments import Entry

# What is compared, as a lead and as a comparison with what is as small.
RIVALRIES = {
    "squared_error": ("lowest squared error", "squared error"),
    "ssim": ("highest structural similarity", "structural similarity"),
    "knn_accuracy": ("best nearest neighbours", "nearest neighbours"),
    "probe_accuracy": ("best linear probe", "linear probe"),
}
DRAWN = 2  # numbers in a code that can be drawn as a point
SPARSE = 1 / 3  # a code is called sparse where an item activates fewer of its units than this


def merits(entry: Entry, entries: Sequence[Entry]) -> list[Markup]:
    """Return what one of a dataset's experiments is good for; if for nothing, what there is for as few bits."""
    if len(entries) < 2:
        return [*abilities(entry), Markup("nothing here to compare it with")]
    found = [*leads(entry, entries), *fronts(entry, entries), *sizes(entry, entries), *abilities(entry)]
    return found or [outdone(entry, entries)]


def leads(entry: Entry, entries: Sequence[Entry]) -> Iterator[Markup]:
    """Yield the figures in which nothing is known to be better."""
    near: dict[str, list[str]] = {}
    for key, (lead, name) in RIVALRIES.items():
        leader = standing(entries, key)
        if leader is None or leader.runner_up is None or entry not in (leader.best, *leader.near):
            continue
        if not leader.near:
            yield escape(lead)
            continue
        rest = [e for e in (leader.best, *leader.near) if e is not entry]
        smallest = all(bits(entry) < bits(e) for e in rest)
        near.setdefault(f"not apart from the best{', and the smallest such code' * smallest}", []).append(name)
    for how, which in near.items():
        yield escape(f"{listed(which)} ({how})")


def fronts(entry: Entry, entries: Sequence[Entry]) -> Iterator[Markup]:
    """Yield in which figures all that is as small is worse."""
    ahead = [name for key, (_, name) in RIVALRIES.items() if in_front(entry, entries, key)]
    if ahead:
        yield escape(f"on the front, nothing as small being as good: {listed(ahead)}")


def in_front(entry: Entry, entries: Sequence[Entry], key: str) -> bool:
    """Return whether it is better than all that is as small, apart from it, without leading over everything.

    What is smaller than all others is no front: that nothing as small is as good goes without saying.
    """
    leader, rivals = standing(entries, key), as_small(entry, entries, key)
    if value(entry, key) is None or leader is None or entry in (leader.best, *leader.near):
        return False
    smallest = not any(bits(e) <= bits(entry) for e in entries if e is not entry)
    return not smallest and all(better(entry, rival, key) for rival in rivals)


def sizes(entry: Entry, entries: Sequence[Entry]) -> Iterator[Markup]:
    """Yield whether no code is smaller."""
    smallest = [e for e in entries if bits(e) == min(map(bits, entries))]
    if entry in smallest and len(smallest) < len(entries):
        same = names([e for e in smallest if e is not entry])
        yield Markup("smallest code{}").format(Markup(", as is that of {}").format(same) if same else "")


def abilities(entry: Entry) -> Iterator[Markup]:
    """Yield what can be done with codes of this sort, whatever the figures."""
    code, active = entry.manifest.code, entry.figure("active_fraction")
    if code.levels is not None:
        yield Markup("discrete codes: can be indexed and entropy-coded")
    elif math.prod(code.shape) == DRAWN:
        yield Markup("two numbers: can be drawn as a map")
    if active is not None and active < SPARSE:
        yield escape(f"sparse: an item activates {active:.1%} of the units")


def outdone(entry: Entry, entries: Sequence[Entry]) -> Markup:
    """Return in words that another is as good for no more bits, and which: one for all figures where there is one."""
    rivals = {key: as_small(entry, entries, key) for key in RIVALRIES if value(entry, key) is not None}
    if not rivals:
        return Markup("nothing was measured that could be compared")
    everywhere = [e for e in entries if all(e in group and better(e, entry, key) for key, group in rivals.items())]
    if everywhere:
        best = min(everywhere, key=lambda e: (value(e, "squared_error") or 0.0, bits(e), e.name))
        return Markup("nothing here that {} does not do better for {} bits").format(
            link(best), "fewer" if bits(best) < bits(entry) else "no more"
        )
    beaten: dict[Markup, list[str]] = {}
    level: dict[Markup, list[str]] = {}
    for key, group in rivals.items():
        sign = -1.0 if COLUMN[key].better == "higher" else 1.0
        best = min(group, key=lambda e: (sign * (value(e, key) or 0.0), bits(e), e.name))
        told = beaten if better(best, entry, key) else level
        told.setdefault(link(best), []).append(RIVALRIES[key][1])
    said = [Markup("{} is better in {}").format(who, listed(keys)) for who, keys in beaten.items()]
    said += [Markup("{} is not apart in {}").format(who, listed(keys)) for who, keys in level.items()]
    return Markup("nothing of its own: for no more bits {}").format(Markup("; ").join(said))


def as_small(entry: Entry, entries: Sequence[Entry], key: str) -> list[Entry]:
    """Return the others that have a figure for no more bits; none where it has not the figure itself."""
    if value(entry, key) is None:
        return []
    return [e for e in entries if e is not entry and bits(e) <= bits(entry) and value(e, key) is not None]


def better(one: Entry, other: Entry, key: str) -> bool:
    """Return whether one is better than another in a figure, their intervals apart."""
    first, second = value(one, key), value(other, key)
    if first is None or second is None or not apart(one, other, key):
        return False
    return first > second if COLUMN[key].better == "higher" else first < second


def bits(entry: Entry) -> float:
    """Return what a code costs."""
    return entry.metrics.bits_per_item


def listed(parts: Sequence[str]) -> str:
    """Return `a`, `a and b`, or `a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def names(entries: Sequence[Entry]) -> Markup:
    """Return links to the first few, and how many more there are; empty where there are none."""
    more = len(entries) - NAMED
    return Markup(", ").join(map(link, entries[:NAMED])) + (f" and {more} more" if more > 0 else "")
