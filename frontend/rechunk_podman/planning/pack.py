"""Packing of components into at most K layers with the least expected download.

A layer costs its bytes times the probability that anything in it changes, a mean over scenarios. Clean
layers (layers of the previous image in which nothing changed) may be opened for their fee. Step 1 merges the
pair that adds least until K are left; step 2 moves components, and trades merges for splits, while it helps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rechunk_podman.planning.rates import Array
from rechunk_podman.planning.scenarios import Forecast

GRAIN = 1.0 / 64
"""Bytes; costs are rounded to multiples of this, since the last bits of floats differ between processors."""

LEAST_GAIN = 1.0
"""The fewest bytes per update that a step must save."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class CleanLayer:
    """A layer of the previous image in which nothing changed.

    members: rows of the forecast.
    fee: bytes per update that opening it costs.
    """

    members: tuple[int, ...]
    fee: float


def pack(
    forecast: Forecast, pool: Sequence[int], clean: Sequence[CleanLayer], max_layers: int
) -> list[list[int]]:
    """Return at most `max_layers` groups of rows of the forecast, none empty, with all of `pool` and `clean`.

    A clean layer that is not worth opening for its fee stays a group as it was.
    """
    state = _Groups(forecast, pool, clean)
    state.merge_down(max_layers)
    state.improve(max_layers)
    return state.groups()


class _Groups:
    """Groups of rows while they are merged and improved, as arrays over groups.

    owner: the group of each row.
    alive: True if the group exists.
    clean, fee: True if the group is a clean layer as it was, and the fee for opening it.
    log, stay: the logarithm of the probability that nothing in it changes, per scenario; the probability.
    """

    def __init__(self, forecast: Forecast, pool: Sequence[int], clean: Sequence[CleanLayer]) -> None:
        self.weights = forecast.weights
        self.sizes = forecast.sizes
        self.logs = forecast.stays
        self.owner: Ints = np.full(len(forecast.sizes), -1, dtype=np.int64)
        count = len(pool) + len(clean)
        self.alive = np.ones(count, dtype=bool)
        self.fee = np.zeros(count)
        for group, row in enumerate(pool):
            self.owner[row] = group
        for group, layer in enumerate(clean, start=len(pool)):
            self.owner[list(layer.members)] = group
            self.fee[group] = layer.fee
        self.clean = np.arange(count) >= len(pool)
        self.size = np.zeros(count)
        self.log = np.zeros((count, len(self.weights)))
        held = self.owner >= 0
        np.add.at(self.size, self.owner[held], self.sizes[held])
        np.add.at(self.log, self.owner[held], self.logs[held])
        self.stay = np.exp(self.log)
        self.cost: Array = self.size * (1.0 - self.stay @ self.weights)

    def groups(self) -> list[list[int]]:
        """Return the rows of each group, in order of groups."""
        return [np.flatnonzero(self.owner == group).tolist() for group in np.flatnonzero(self.alive)]

    def merge_down(self, max_layers: int) -> None:
        """Merge the pair that adds least, fees included, until max_layers groups are left."""
        left = int(self.alive.sum())
        if left <= max_layers:
            return
        extra = self._pairs(slice(None))
        nearest: Ints = extra.argmin(axis=1)
        least = extra[np.arange(len(extra)), nearest]
        stale = np.zeros(len(extra), dtype=bool)
        while left > max_layers:
            first = int(least.argmin())
            if stale[first]:
                nearest[first] = extra[first].argmin()
                least[first] = extra[first, nearest[first]]
                stale[first] = False
                continue
            first, second = sorted((first, int(nearest[first])))
            self._join(first, second)
            left -= 1
            extra[second, :] = extra[:, second] = np.inf
            least[second] = np.inf
            row = self._merge_costs(first)
            extra[first, :] = extra[:, first] = row
            nearest[first] = row.argmin()
            least[first] = row[nearest[first]]
            stale[first] = False
            # a row whose nearest group is gone keeps its value as a lower bound until its turn
            stale |= self.alive & ((nearest == first) | (nearest == second)) & (np.arange(len(row)) != first)
            better = self.alive & (row < least)
            nearest[better], least[better] = first, row[better]
            stale &= ~better

    def _pairs(self, groups: Ints | slice) -> Array:
        """Return the bytes that merging each pair of `groups` adds; infinite on the diagonal."""
        stay, size = self.stay[groups], self.size[groups]
        price = (self.fee * self.clean - self.cost)[groups]
        # in place: for thousands of groups this is most of the planner's memory
        extra: Array = (stay * self.weights) @ stay.T
        np.subtract(1.0, extra, out=extra)
        extra *= size[:, None] + size[None, :]
        extra += price[:, None]
        extra += price[None, :]
        np.fill_diagonal(extra, np.inf)
        return _grid(extra, out=extra)

    def _merge_costs(self, group: int) -> Array:
        """Return the bytes that merging `group` with each other adds; infinite for itself and the dead."""
        together = self.stay @ (self.weights * self.stay[group])
        row = (self.size + self.size[group]) * (1.0 - together) - self.cost - self.cost[group]
        row += self.fee * self.clean + self.fee[group] * self.clean[group]
        row[~self.alive] = np.inf
        row[group] = np.inf
        return _grid(row)

    def _join(self, first: int, second: int) -> None:
        self.owner[self.owner == second] = first
        self.alive[second] = False
        self.clean[first] = False
        self.refresh(first)

    def refresh(self, group: int) -> None:
        """Compute the values of a group from its members."""
        rows = self.owner == group
        self.size[group] = self.sizes[rows].sum()
        self.log[group] = self.logs[rows].sum(axis=0)
        self.stay[group] = np.exp(self.log[group])
        self.cost[group] = self.size[group] * (1.0 - self.stay[group] @ self.weights)

    def improve(self, max_layers: int) -> None:
        """Move single components while that helps; then trade the cheapest merge for the best split."""
        moves = _Moves(self)
        for _ in range(8 * len(moves.rows) + 64):
            if moves.step():
                continue
            if not self._trade(moves, max_layers):
                break

    def _trade(self, moves: _Moves, max_layers: int) -> bool:
        """Give one component a layer of its own; if none is free, merge the cheapest pair for it.

        Return False if that is not worth it.
        """
        row, gain = moves.best_split()
        if row < 0 or gain <= LEAST_GAIN:
            return False
        source = int(self.owner[row])
        if int(self.alive.sum()) < max_layers:
            target = self._new_group()
        else:
            alive = np.flatnonzero(self.alive)
            extra = self._pairs(alive)
            at = np.flatnonzero(alive == source)
            extra[at, :] = extra[:, at] = np.inf
            best = int(extra.argmin())
            if len(alive) < 3 or extra.flat[best] + LEAST_GAIN >= gain:
                return False
            first, second = sorted((int(alive[best // len(alive)]), int(alive[best % len(alive)])))
            self._join(first, second)
            moves.update(first, second)
            target = second
        self.alive[target] = True
        self.owner[row] = target
        self.clean[[source, target]] = False
        self.refresh(source)
        self.refresh(target)
        moves.update(source, target)
        return True

    def _new_group(self) -> int:
        dead = np.flatnonzero(~self.alive)
        if len(dead):
            return int(dead[0])
        self.alive = np.append(self.alive, False)
        self.clean = np.append(self.clean, False)
        self.fee = np.append(self.fee, 0.0)
        self.size = np.append(self.size, 0.0)
        self.cost = np.append(self.cost, 0.0)
        self.log = np.vstack([self.log, np.zeros(self.log.shape[1])])
        self.stay = np.vstack([self.stay, np.ones(self.stay.shape[1])])
        return len(self.alive) - 1


class _Moves:
    """The bytes that moving each component to each other group adds, updated with each move.

    enter[i, j]: bytes added if row i enters group j.
    leave: bytes saved if the row leaves its group.
    target, least: the column of the least `enter` of each row, and that value.
    """

    def __init__(self, state: _Groups) -> None:
        self.state = state
        self.rows: Ints = np.flatnonzero(state.owner >= 0)
        self.alone = _grid(state.sizes[self.rows] * (1.0 - np.exp(state.logs[self.rows]) @ state.weights))
        self.weighted = np.exp(state.logs[self.rows]) * state.weights
        alive = np.flatnonzero(state.alive)
        self.groups: list[int] = alive.tolist()
        self.column = {group: column for column, group in enumerate(self.groups)}
        self.enter = np.full((len(self.rows), len(alive) + 1), np.inf)
        size = state.sizes[self.rows][:, None] + state.size[alive]
        change = size * (1.0 - self.weighted @ state.stay[alive].T) - state.cost[alive]
        self.enter[:, :-1] = _grid(change + (state.fee * state.clean)[alive])
        owner = state.owner[self.rows]
        self.enter[np.arange(len(self.rows)), np.searchsorted(alive, owner)] = np.inf
        self.leave = self._saved(self.rows, owner)
        self.target: Ints = self.enter.argmin(axis=1)
        self.least: Array = self.enter.min(axis=1)

    def _column_of(self, group: int) -> int:
        if group not in self.column:
            if len(self.groups) == self.enter.shape[1]:
                self.enter = np.column_stack([self.enter, np.full(len(self.rows), np.inf)])
            self.column[group] = len(self.groups)
            self.groups.append(group)
        return self.column[group]

    def update(self, *groups: int) -> None:
        """Update the values that depend on groups whose members have changed."""
        columns = [self._column_of(group) for group in groups]
        for group in groups:
            self._enter(group)
            self._leave(group)
        stale = np.isin(self.target, columns)
        fresh = self.enter[stale]
        self.target[stale] = fresh.argmin(axis=1)
        self.least[stale] = fresh.min(axis=1)
        for column in columns:
            better = self.enter[:, column] < self.least
            self.target[better] = column
            self.least[better] = self.enter[better, column]

    def _enter(self, group: int) -> None:
        state = self.state
        column = self._column_of(group)
        if not state.alive[group]:
            self.enter[:, column] = np.inf
            return
        size = state.size[group] + state.sizes[self.rows]
        change = size * (1.0 - self.weighted @ state.stay[group]) - state.cost[group]
        self.enter[:, column] = _grid(change + state.fee[group] * state.clean[group])
        self.enter[state.owner[self.rows] == group, column] = np.inf

    def _leave(self, group: int) -> None:
        inside = np.flatnonzero(self.state.owner[self.rows] == group)
        self.leave[inside] = self._saved(self.rows[inside], np.full(len(inside), group, dtype=np.int64))

    def _saved(self, rows: Ints, owner: Ints) -> Array:
        """Return the bytes per update that are saved if each of `rows` leaves its group."""
        state = self.state
        stay = np.exp(np.minimum(state.log[owner] - state.logs[rows], 0.0)) @ state.weights
        # a group of one is empty afterwards, but a difference of sums may not be exactly 0
        crowd = np.bincount(state.owner[self.rows], minlength=len(state.alive))
        left = np.where(crowd[owner] > 1, (state.size[owner] - state.sizes[rows]) * (1.0 - stay), 0.0)
        return _grid(state.cost[owner] - (state.fee * state.clean)[owner] - left)

    def step(self) -> bool:
        """Make the best move. Return False if none is worth it."""
        state = self.state
        change = self.least - self.leave
        at = int(change.argmin())
        if not change[at] <= -LEAST_GAIN:
            return False
        row, target = int(self.rows[at]), self.groups[int(self.target[at])]
        source = int(state.owner[row])
        state.owner[row] = target
        state.clean[[source, target]] = False
        if not (state.owner == source).any():
            state.alive[source] = False
        state.refresh(source)
        state.refresh(target)
        self.update(source, target)
        return True

    def best_split(self) -> tuple[int, float]:
        """Return the row that saves most as a layer of its own, and how much; (-1, 0) if none does."""
        gain = self.leave - self.alone
        crowd = np.bincount(self.state.owner[self.rows], minlength=len(self.state.alive))
        gain[crowd[self.state.owner[self.rows]] < 2] = -np.inf
        if not len(gain):
            return -1, 0.0
        best = int(gain.argmax())
        return int(self.rows[best]), float(gain[best])


def _grid(values: Array, out: Array | None = None) -> Array:
    scaled = np.divide(values, GRAIN, out=out)
    np.round(scaled, out=scaled)
    scaled *= GRAIN
    return scaled
