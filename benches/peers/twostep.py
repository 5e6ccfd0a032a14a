"""An imitation of SPSS TwoStep Cluster in what IBM documents of it; README.md says what is imitated and what is not."""

import numpy as np

# A CF tree of SPSS has at most 8 branches a node and 3 levels.
MOST_LEAVES = 512
MOST_CLUSTERS = 15
# A leaf with less than this share of the rows of the largest is noise, where noise is handled.
SPARSE = 0.25
# Change of the BIC, over the first one, that ends the rise of the number of clusters.
LEAST_CHANGE = 0.04
# How much more the largest jump of the distance has to be than the second.
JUMP = 1.15


class Clusters:
    """Counts, sums and sums of squares of numbers, and counts of levels: the cluster features."""

    def __init__(self, n, sums, squares, levels, variances):
        self.n, self.sums, self.squares, self.levels, self.variances = n, sums, squares, levels, variances

    @staticmethod
    def of(labels, k, x, texts, variances):
        def added(values):
            return np.bincount(labels, weights=values, minlength=k)

        def stacked(columns):
            return np.stack([added(column) for column in columns.T], axis=1) if columns.shape[1] else np.zeros((k, 0))

        levels = [stacked((text[:, None] == np.arange(text.max() + 1)).astype(float)) for text in texts]
        return Clusters(added(None), stacked(x), stacked(x * x), levels, variances)

    def take(self, places):
        levels = [counts[places] for counts in self.levels]
        return Clusters(self.n[places], self.sums[places], self.squares[places], levels, self.variances)

    def plus(self, other):
        levels = [a + b for a, b in zip(self.levels, other.levels)]
        return Clusters(self.n + other.n, self.sums + other.sums, self.squares + other.squares, levels, self.variances)

    def scatter(self):
        """Minus the log-likelihood of each cluster (Chiu and others, "A robust and scalable clustering algorithm for
        mixed type attributes in large database environment", KDD 2001), up to constants."""
        n = self.n.clip(1)
        variance = (self.squares / n[:, None] - (self.sums / n[:, None]) ** 2).clip(0)
        scatter = 0.5 * np.log(self.variances + variance).sum(axis=1)
        for counts in self.levels:
            p = counts / n[:, None]
            scatter -= (p * np.log(np.where(p > 0, p, 1.0))).sum(axis=1)
        return self.n * scatter

    def to(self, other):
        """Log-likelihood distance of each to the one beside it in `other`."""
        return self.plus(other).scatter() - self.scatter() - other.scatter()


def twostep(x, texts, k=None, noise=False):
    """Labels of rows with standardized numbers `x` and texts as integers, k of them or as many as the BIC says."""
    # Numbers that are the same all over a cluster have some variance all the same.
    variances = x.var(axis=0)
    leaves = leaves_of(x, texts)
    clusters = Clusters.of(leaves, leaves.max() + 1, x, texts, variances)
    if noise:
        clusters = clusters.take(np.flatnonzero(clusters.n >= SPARSE * clusters.n.max()))
    merges, distances = agglomerate(clusters)
    if k is None:
        k = number_of_clusters(clusters, merges, distances, len(x))
    labels = cut(merges, len(clusters.n), k)
    merged = Clusters(
        np.bincount(labels, weights=clusters.n),
        *(np.stack([part[labels == j].sum(axis=0) for j in range(labels.max() + 1)]) for part in (clusters.sums, clusters.squares)),
        [np.stack([part[labels == j].sum(axis=0) for j in range(labels.max() + 1)]) for part in clusters.levels],
        variances,
    )
    return nearest(merged, x, texts)


def leaves_of(x, texts):
    """The leaf of each row in a tree that is built anew with a larger threshold while it has too many leaves."""
    from sklearn.cluster import Birch

    # Two rows with different levels are as far apart as two whose numbers differ by 1.
    levels = [(text[:, None] == np.arange(text.max() + 1)) * np.sqrt(0.5) for text in texts]
    together = np.hstack([x, *levels])
    threshold = 0.5
    while True:
        tree = Birch(threshold=threshold, branching_factor=8, n_clusters=None).fit(together)
        if len(tree.subcluster_centers_) <= MOST_LEAVES:
            return np.unique(tree.labels_, return_inverse=True)[1]
        threshold *= 1.3


def agglomerate(clusters):
    """The pairs that are merged, in turn, and how far apart they were."""
    m = len(clusters.n)
    clusters = clusters.take(np.arange(m))
    scatter = clusters.scatter()
    distance = np.full((m, m), np.inf)
    for i in range(m - 1):
        others = np.arange(i + 1, m)
        distance[i, others] = to_others(clusters, scatter, i, others)
        distance[others, i] = distance[i, others]
    alive = np.ones(m, bool)
    merges, distances = [], []
    for _ in range(m - 1):
        a, b = np.unravel_index(distance.argmin(), distance.shape)
        merges.append((a, b))
        distances.append(distance[a, b])
        clusters.n[a] += clusters.n[b]
        for part in (clusters.sums, clusters.squares, *clusters.levels):
            part[a] += part[b]
        scatter[a] = clusters.take([a]).scatter()[0]
        alive[b] = False
        distance[b], distance[:, b] = np.inf, np.inf
        others = np.flatnonzero(alive & (np.arange(m) != a))
        if len(others):
            distance[a, others] = to_others(clusters, scatter, a, others)
            distance[others, a] = distance[a, others]
    return merges, distances


def to_others(clusters, scatter, one, others):
    both = clusters.take(others).plus(clusters.take([one]))
    return both.scatter() - scatter[others] - scatter[one]


def cut(merges, m, k):
    """Labels of the leaves when k clusters are left."""
    into = np.arange(m)
    for a, b in merges[: max(m - k, 0)]:
        into[into == b] = a
    return np.unique(into, return_inverse=True)[1]


def number_of_clusters(clusters, merges, distances, n_rows):
    """By the BIC, then by the jump of the distance (J. Bacher and others, "SPSS TwoStep Cluster: a first evaluation",
    2004, have the rule)."""
    m = len(clusters.n)
    if m < 3:
        return m
    most = min(MOST_CLUSTERS, m - 1)
    per_cluster = 2 * clusters.sums.shape[1] + sum(counts.shape[1] - 1 for counts in clusters.levels)
    # Merging two clusters adds their distance to the scatter: with j clusters it is the total less the last j - 1.
    fewest = np.array(distances[::-1])
    total = clusters.scatter().sum() + sum(distances)
    scatter = np.array([total - fewest[: j - 1].sum() for j in range(1, most + 2)])
    bic = 2.0 * scatter + np.arange(1, most + 2) * per_cluster * np.log(n_rows)
    change = bic[:-1] - bic[1:]
    if change[0] < 0:
        return 1
    small = np.flatnonzero(change / change[0] < LEAST_CHANGE)
    first = int(small[0]) + 1 if len(small) else most
    if first <= 2:
        return first
    # fewest[j - 2] is the distance at which j clusters become j - 1.
    jumps = {j: fewest[j - 2] / max(fewest[j - 1], 1e-300) for j in range(2, first + 1) if j - 1 < len(fewest)}
    ranked = sorted(jumps, key=lambda j: -jumps[j])
    if len(ranked) == 1 or jumps[ranked[0]] > JUMP * jumps[ranked[1]]:
        return ranked[0]
    return max(ranked[:2])


def nearest(clusters, x, texts):
    """Every row to the cluster with the least log-likelihood distance."""
    rows = Clusters.of(np.arange(len(x)), len(x), x, texts, clusters.variances)
    distances = [
        rows.to(clusters.take(np.full(len(x), j)))
        for j in range(len(clusters.n))
    ]
    return np.stack(distances, axis=1).argmin(axis=1)
