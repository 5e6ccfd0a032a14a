"""Tables of customers with planted groups: what `truth.py` and `boundary.py` hold segments against. See README.md.

The groups differ in latent normal variables with a shared factor ("large customers have more of everything"), and in the
frequencies of levels and flags. Latent values become counts, money, shares, ages and dates, then gaps, errors, outliers,
useless and redundant columns are put on top. As all distributions are known, so is the best that anyone could do on the
complete table: the groups by Bayes' rule, the *ceiling*. Groups are moved apart until the ceiling has the adjusted Rand
index that the level of difficulty names. Everything follows from the seed.
"""

from dataclasses import dataclass, field

import numpy as np

LEVELS = {"easy": 0.97, "middle": 0.88, "hard": 0.72}
# Days since 1970 of the newest date.
TODAY = 20_088
# Truth of a row that was thrown far off: it belongs to no group, and is not scored.
NOWHERE = -1


@dataclass
class Table:
    name: str
    level: str
    k: int
    columns: dict = field(repr=False)
    truth: np.ndarray = field(repr=False)
    # Adjusted Rand index of the groups by Bayes' rule.
    ceiling: float | None
    traits: list


@dataclass
class Groups:
    """The distributions that rows are drawn from, for groups that lie `apart` as far as they were drawn."""

    shares: np.ndarray  # [k]
    means: np.ndarray  # [k, numbers]
    widths: np.ndarray  # [k, numbers]
    loadings: np.ndarray  # [numbers]
    levels: list  # per text [k, levels]: logits that differ by group, and [levels]: those that do not
    flags: list  # per flag the same
    apart: float = 1.0

    @staticmethod
    def draw(rng, k, n_numbers, n_texts, n_flags):
        # The largest group has some 2 to 10 times the rows of the smallest.
        shares = 1.0 / np.arange(1, k + 1) ** rng.uniform(0.3, 1.1)
        relevance = rng.uniform(0.4, 1.2, n_numbers)
        sizes = rng.integers(3, 7, n_texts)
        # In some tables texts and flags say most about the groups, in others next to nothing.
        strength = rng.uniform(0.2, 1.8)
        return Groups(
            shares / shares.sum(),
            rng.normal(size=(k, n_numbers)) * relevance,
            rng.uniform(0.75, 1.3, (k, n_numbers)),
            rng.uniform(0.0, 0.7, n_numbers),
            [(strength * rng.normal(size=(k, size)), 0.8 * rng.normal(size=size)) for size in sizes],
            [(strength * rng.normal(size=(k, 2)), 0.8 * rng.normal(size=2)) for _ in range(n_flags)],
        )

    def probabilities(self, of):
        logits = self.apart * of[0] + of[1]
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        return p / p.sum(axis=1, keepdims=True)

    def rows(self, draws):
        """Latent numbers and levels of rows, from random numbers that do not depend on how far groups are apart."""
        group = np.searchsorted(np.cumsum(self.shares), draws["group"]).clip(0, len(self.shares) - 1)
        own = np.sqrt(1.0 - self.loadings**2)
        noise = draws["factor"][:, None] * self.loadings + draws["noise"] * own
        z = self.apart * self.means[group] + noise * self.widths[group]

        def levels(of, u):
            return (np.cumsum(self.probabilities(of), axis=1)[group] < u[:, None]).sum(axis=1).clip(0, of[1].size - 1)

        both = self.levels + self.flags
        chosen = [levels(of, draws["levels"][:, place]) for place, of in enumerate(both)]
        return group, z, chosen[: len(self.levels)], chosen[len(self.levels) :]

    def by_bayes(self, z, texts, flags):
        """The most probable group of each row."""
        scores = np.tile(np.log(self.shares), (len(z), 1))
        correlation = np.outer(self.loadings, self.loadings) + np.diag(1.0 - self.loadings**2)
        for g, (mean, width) in enumerate(zip(self.means, self.widths)):
            factor = np.linalg.cholesky(correlation * np.outer(width, width))
            white = np.linalg.solve(factor, (z - self.apart * mean).T)
            scores[:, g] -= 0.5 * (white**2).sum(axis=0) + np.log(np.diag(factor)).sum()
        for of, chosen in zip(self.levels + self.flags, texts + flags):
            scores += np.log(self.probabilities(of))[:, chosen].T
        return scores.argmax(axis=1)


def draw_rows(rng, n, groups):
    return {
        "group": rng.random(n),
        "factor": rng.normal(size=n),
        "noise": rng.normal(size=(n, groups.means.shape[1])),
        "levels": rng.random((n, len(groups.levels) + len(groups.flags))),
    }


def move_apart(groups, draws, ceiling):
    """Sets how far the groups are apart, so that Bayes' rule finds them with this adjusted Rand index."""
    from sklearn.metrics import adjusted_rand_score

    low, high, found = 0.0, 16.0, 0.0
    for _ in range(14):
        groups.apart = (low + high) / 2
        group, z, texts, flags = groups.rows(draws)
        found = adjusted_rand_score(group, groups.by_bayes(z, texts, flags))
        low, high = (groups.apart, high) if found < ceiling else (low, groups.apart)
    return found


# What latent numbers become


def as_count(rng):
    level, width = rng.uniform(0.5, 3.0), rng.uniform(0.6, 1.2)
    return lambda z: np.floor(np.exp(level + width * z))


def as_money(rng):
    level, width = rng.uniform(3.0, 6.0), rng.uniform(0.8, 1.4)
    return lambda z: np.round(np.exp(level + width * z), 2)


def as_share(rng):
    level, width = rng.uniform(-1.5, 1.0), rng.uniform(0.6, 1.2)
    return lambda z: 1.0 / (1.0 + np.exp(-level - width * z))


def as_level(rng):
    mean, width = rng.uniform(20.0, 60.0), rng.uniform(3.0, 15.0)
    return lambda z: np.round(mean + width * z)


def as_date(rng):
    mean, width = rng.uniform(800.0, 2000.0), rng.uniform(200.0, 500.0)
    return lambda z: TODAY - np.round(np.maximum(mean + width * z, 0.0))


KINDS = {"count": as_count, "money": as_money, "share": as_share, "level": as_level, "date": as_date}
# Bare counts and amounts are what most columns of a customer table are.
MIX = ["count", "money", "share", "level", "count", "money", "count", "date", "money", "share"]


class Columns:
    """The columns of one table: values, and where they are missing."""

    def __init__(self, n):
        self.n, self.numbers, self.texts, self.flags, self.missing = n, {}, {}, {}, {}

    def leave_out(self, name, rows):
        self.missing[name] = self.missing.get(name, np.zeros(self.n, bool)) | rows

    def arrow(self, ids, rng):
        """As they go into the file, in random order."""
        import pyarrow as pa

        def array(name, values, kind):
            return pa.array(values, kind, mask=self.missing.get(name))

        made = {}
        for name, values in self.numbers.items():
            if name.startswith("date"):
                made[name] = array(name, values.astype(np.int32), pa.date32())
            elif name.startswith(("count", "level")):
                made[name] = array(name, values.astype(np.int64), pa.int64())
            else:
                made[name] = array(name, values, pa.float64())
        made |= {name: array(name, values, pa.string()) for name, values in self.texts.items()}
        made |= {name: array(name, values, pa.bool_()) for name, values in self.flags.items()}
        names = list(made)
        rng.shuffle(names)
        contracts = [f"C-{number:07d}" for number in rng.permutation(10 * self.n)[: self.n]]
        return {"account_id": pa.array(ids, pa.int64()), "contract": contracts, **{name: made[name] for name in names}}


def level_names(rng, n):
    words = ["north", "south", "basic", "plus", "web", "shop", "gold", "silver", "monthly", "yearly", "unknown", "other"]
    return rng.permutation(words)[:n]


def add_useless(columns, rng, n_useless):
    for number in range(n_useless):
        kind = rng.choice(["count", "money", "share", "level", "text", "flag"])
        name = f"{kind}_useless{number}"
        if kind == "text":
            size = rng.integers(2, 7)
            columns.texts[name] = level_names(rng, size)[rng.choice(size, columns.n, p=rng.dirichlet(np.ones(size)))]
        elif kind == "flag":
            columns.flags[name] = rng.random(columns.n) < rng.uniform(0.05, 0.95)
        else:
            columns.numbers[name] = KINDS[kind](rng)(rng.normal(size=columns.n))


def add_redundant(columns, rng, n_redundant):
    """Such as revenue with and without tax: another column times a number, and a little noise."""
    amounts = [name for name in columns.numbers if name.startswith("money")]
    for number in range(n_redundant if amounts else 0):
        of = columns.numbers[rng.choice(amounts)]
        noisy = of * rng.uniform(0.2, 5.0) * np.exp(0.05 * rng.normal(size=columns.n))
        columns.numbers[f"money_again{number}"] = np.round(noisy, 2)


def add_gaps(columns, rng, group, share):
    """At random in half of the columns, and in one column mostly in one group."""
    names = [*columns.numbers, *columns.texts]
    for name in names:
        if rng.random() < 0.5:
            columns.leave_out(name, rng.random(columns.n) < rng.uniform(0.2, 2.0) * share)
    of_group = rng.choice(group.max() + 1)
    columns.leave_out(rng.choice(names), (group == of_group) & (rng.random(columns.n) < 0.5))


def add_faults(columns, rng, share):
    """Half of these rows have one wrong number; the others are wrong all over, and belong nowhere."""
    faulty = rng.random(columns.n) < share
    thrown = faulty & (rng.random(columns.n) < 0.5)
    names = list(columns.numbers)
    which = rng.integers(len(names), size=columns.n)
    for place, name in enumerate(names):
        values = columns.numbers[name]
        if name.startswith("date"):
            continue
        wrong = faulty & ~thrown & (which == place)
        how = rng.choice(["hundredfold", "code"])
        values[wrong] = values[wrong] * 100 if how == "hundredfold" else -999
        spread = np.quantile(np.abs(values), 0.9)
        values[thrown] = np.round(spread * np.exp(1.5 * rng.normal(size=thrown.sum())), 2)
    return thrown


def planted(number, seed):
    """Table `number` of the set that belongs to `seed`; from 1000 on, tables without groups."""
    rng = np.random.default_rng([seed, number])
    without = number >= 1000
    k = 1 if without else 2 + number % 7
    level = "none" if without else list(LEVELS)[number // 2 % 3]
    n = int(rng.choice([1000, 2000, 4000]))
    n_numbers, n_texts, n_flags = int(rng.integers(4, 11)), int(rng.integers(0, 4)), int(rng.integers(0, 3))
    groups = Groups.draw(rng, k, n_numbers, n_texts, n_flags)
    draws = draw_rows(rng, n, groups)
    ceiling = None if without else move_apart(groups, draws, LEVELS[level])
    group, z, texts, flags = groups.rows(draws)
    columns = Columns(n)
    first = rng.integers(len(MIX))
    for j in range(n_numbers):
        kind = MIX[(first + j) % len(MIX)]
        columns.numbers[f"{kind}{j}"] = KINDS[kind](rng)(z[:, j])
    for j, chosen in enumerate(texts):
        columns.texts[f"text{j}"] = level_names(rng, groups.levels[j][1].size)[chosen]
    for j, chosen in enumerate(flags):
        columns.flags[f"flag{j}"] = chosen == 1
    traits = put_on_top(columns, rng, group, flags)
    share = float(rng.choice([0.0, 0.01, 0.03]))
    thrown = add_faults(columns, rng, share)
    traits += ["faults"] * (share > 0)
    truth = np.where(thrown, NOWHERE, group)
    made = columns.arrow(rng.permutation(9 * n)[:n] + 100_000, rng)
    return Table(f"{'crowd' if without else 'planted'} {number}", level, k, made, truth, ceiling, traits)


def put_on_top(columns, rng, group, flags):
    """Zeros, useless and redundant columns, gaps; says which of these."""
    traits = []
    amounts = [name for name in columns.numbers if name.startswith("money")]
    if flags and amounts and rng.random() < 0.5:
        # Those without the product pay nothing for it.
        columns.numbers[amounts[0]][flags[0] == 0] = 0.0
        traits.append("zeros")
    if n_useless := int(rng.choice([0, 0, 1, 2, 4])):
        add_useless(columns, rng, n_useless)
        traits.append("useless")
    if n_redundant := int(rng.choice([0, 0, 1, 2])):
        add_redundant(columns, rng, n_redundant)
        traits.append("redundant")
    if gaps := float(rng.choice([0.0, 0.02, 0.08])):
        add_gaps(columns, rng, group, gaps)
        traits.append("gaps")
    return traits
