"""How `--preset authors` and the paper's setting differ on one run's losses; and beside the authors' own sampler.

    python benchmarks/authors_preset.py --run RUN
    python benchmarks/authors_preset.py --run RUN --authors CLONE

The first tells how many rows subsets share: of the paper's setting, of each difference alone, and of the preset. With
a clone of BigML-CS-UCLA/S2L its sampler runs on the same losses, and what it takes from each source and cluster stands
beside what the preset takes from the same clusters; then the rows without a loss are put in as the authors do. Sources
of fewer rows than clusters are left out there: at a budget that does not take them whole, its k-means refuses them.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from itertools import pairwise, permutations
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import faiss
import numpy as np
import torch
from authors import authors_module
from jaxtyping import Bool, Float, Int

from s2l.flags import PRESETS
from s2l.pipeline import finished, recall
from s2l.progress import SILENT
from s2l.selection.budget import parse_budget, resolve
from s2l.selection.draw import queue_up
from s2l.selection.kmeans import Clustering
from s2l.selection.methods import get
from s2l.selection.methods.s2l import CLUSTERS, small_together
from s2l.selection.select import line_up
from s2l.types import Plan, Recorded, Trajectories

AUTHORS = PRESETS["authors"]["set"]
BANDS = (0, 300, 500, 700, 10_000)
"""Sources with so many rows or more are told together."""


@dataclass(frozen=True)
class Way:
    """A way to draw: options of the method, and whether sources share the budget first."""

    options: Mapping[str, Any]
    balanced: bool = False
    method: str = "s2l"


def ways() -> dict[str, Way]:
    """The paper's, each difference alone, the preset, and the preset without each."""
    alone = {f"{name}={value}": Way({name: value}) for name, value in AUTHORS.items()}
    without = {f"preset without {name}": Way({n: v for n, v in AUTHORS.items() if n != name}, True) for name in AUTHORS}
    return {
        "paper": Way({}),
        "balance=source": Way({}, True),
        **alone,
        "sample=20": Way({"sample": 20}),
        "balance, inside": Way({"inside": "source"}, True),
        "preset": Way(AUTHORS, True),
        "preset without balance": Way(AUTHORS),
        **without,
        "random": Way({}, method="random"),
        "random, balanced": Way({}, True, "random"),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--authors", type=Path, help="clone of BigML-CS-UCLA/S2L")
    parser.add_argument("--budgets", default="5%,11%,25%")
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    with finished(args.run) as (folder, made):
        rows, recorded, _ = recall(folder, made, SILENT)
        sizes = [resolve(parse_budget(b), read=len(rows), scorable=len(recorded)) for b in args.budgets.split(",")]
        if args.authors is None:
            tell_overlaps(recorded, sizes, args.seeds)
            return
        recorded, left_out = of_large_sources(recorded)
        excluded_N = rows.source_N[rows.excluded_N]
        excluded_N = excluded_N[np.isin(excluded_N, recorded.source_N)]
        sizes = [round(size * len(recorded) / (len(recorded) + left_out)) for size in sizes]
        print(f"{left_out} rows are of sources of fewer than {CLUSTERS} rows, and left out")
        with TemporaryDirectory() as scratch:
            where = f"file://{scratch}/rendezvous"
            torch.distributed.init_process_group("gloo", init_method=where, rank=0, world_size=1)
            sampler = authors_module("schedules.s2l", args.authors, Path(scratch))
            beside_the_authors(sampler, recorded, excluded_N, sizes, args.seeds)
            torch.distributed.destroy_process_group()


def of_large_sources(recorded: Recorded) -> tuple[Recorded, int]:
    """The rows of sources with as many rows as clusters, and how many others there are."""
    at = np.flatnonzero(np.bincount(recorded.source_N)[recorded.source_N] >= CLUSTERS)
    whole = recorded.trajectories
    part = Trajectories(whole.ids[at], whole.steps, whole.tokens_N[at], {"nll": whole.sums["nll"][at]})
    lengths_N, source_N = recorded.lengths_N[at], recorded.source_N[at]
    return Recorded(part, source_N, recorded.sources, lengths_N), len(recorded) - len(at)


def drawn(recorded: Recorded, way: Way, sizes: Sequence[int], seed: int) -> list[Bool[np.ndarray, " N"]]:
    """The rows kept at each budget."""
    method = get(way.method)
    strata_N = recorded.source_N if way.balanced else None
    queues = line_up(recorded, method, method.parse(way.options), seed, strata_N=strata_N).queues
    return [queues.take(size) for size in sizes]


def shared(one_N: Bool[np.ndarray, " N"], other_N: Bool[np.ndarray, " N"]) -> float:
    """Rows in both, % of the first."""
    return 100 * float((one_N & other_N).sum() / max(1, one_N.sum()))


def across_seeds(ones: Sequence[Any], others: Sequence[Any]) -> float:
    """`shared`, mean over pairs of different seeds."""
    return float(np.mean([shared(ones[i], others[j]) for i, j in permutations(range(len(ones)), 2)]))


def tell_overlaps(recorded: Recorded, sizes: Sequence[int], seeds: int) -> None:
    """Overlap of every way with the paper's and the preset's at each budget; then by size of the source."""
    kept = {
        name: [drawn(recorded, way, sizes, seed) for seed in range(seeds)]
        for name, way in ways().items()
    }  # fmt: skip
    last_N = recorded.trajectories.losses_NT[:, -1]
    for at, size in enumerate(sizes):
        of = {name: [subsets[at] for subsets in by_seed] for name, by_seed in kept.items()}
        print(
            f"\n{size:,} rows: % shared with the paper's subset (same seed, other seeds) and the preset's (the same);"
        )
        print(f"by chance {100 * size / len(recorded):.1f}; tokens, %; loss at the end\n")
        for name, subsets in of.items():
            both = [
                f"{np.mean([shared(*pair) for pair in zip(subsets, of[goal], strict=True)]):6.1f}"
                f"{across_seeds(subsets, of[goal]):6.1f}"
                for goal in ("paper", "preset")
            ]
            tokens = 100 * np.mean([recorded.lengths_N[kept_N].sum() for kept_N in subsets]) / recorded.lengths_N.sum()
            loss = np.mean([last_N[kept_N].mean() for kept_N in subsets])
            print(f"{name:26}{''.join(both)}{tokens:8.1f}{loss:8.2f}")
        by_source(recorded, of["paper"], of["preset"])
    tell_clusters(recorded, sizes)


def by_source(recorded: Recorded, paper: Sequence[Any], preset: Sequence[Any]) -> None:
    """Rows that the paper's setting and the preset take of sources by size, and what they share of them."""
    sizes_S = np.bincount(recorded.source_N)
    print("\nsources of            sources   rows   paper  preset   shared %   by chance")
    for low, high in pairwise(BANDS):
        band_N = (sizes_S >= low)[recorded.source_N] & (sizes_S < high)[recorded.source_N]
        ours, theirs = ([kept_N & band_N for kept_N in way] for way in (paper, preset))
        counts = [np.mean([kept_N.sum() for kept_N in way]) for way in (ours, theirs)]
        chance_S = np.bincount(recorded.source_N[theirs[0]], minlength=len(sizes_S)) / np.maximum(1, sizes_S)
        chance = 100 * float(np.mean(chance_S[recorded.source_N[ours[0]]]))
        line = f"{low:>6} to {high - 1:<10,}{((sizes_S >= low) & (sizes_S < high)).sum():8}{band_N.sum():8,}"
        print(line + "".join(f"{count:8.0f}" for count in counts) + f"{across_seeds(ours, theirs):11.1f}{chance:12.1f}")


def tell_clusters(recorded: Recorded, sizes: Sequence[int]) -> None:
    """How the clusters of the paper's setting and of the preset share each budget."""
    for name in ("paper", "preset"):
        way, method = ways()[name], get("s2l")
        strata_N = recorded.source_N if way.balanced else None
        planned = line_up(recorded, method, method.parse(way.options), 0, strata_N=strata_N)
        queues = planned.queues
        large_J = ~queues.last_J
        print(f"\n{name}: {planned.plan.facts['clusters']} clusters, median {np.median(queues.sizes_J):.0f} rows")
        print(f"rows in clusters set aside: {queues.sizes_J[~large_J].sum()}")
        for size in sizes:
            taken_J = queues.share(size)
            none, whole = (taken_J[large_J] == 0).sum(), (taken_J == queues.sizes_J)[large_J].sum()
            told = f"{none} of {large_J.sum()} clusters give no row, {whole} are taken whole"
            print(f"{size:6,} rows: {told}, set aside and drawn {taken_J[~large_J].sum()}")


@dataclass(frozen=True)
class Drawn:
    """What the authors' sampler took. label_N: its clusters inside each source; -1 where it took the source whole."""

    kept_N: Bool[np.ndarray, " N"]
    label_N: Int[np.ndarray, " N"]


def sampled(
    module: ModuleType, losses_NT: Float[np.ndarray, "N T"], source_N: Int[np.ndarray, " N"], size: int, seed: int
) -> Drawn:
    """The authors' sampler on these losses; its random draw seeded, which they do not."""
    fits: list[tuple[Any, Any]] = []

    class Watched(faiss.Kmeans):  # type: ignore[misc]
        def __init__(self, *args: Any, **how: Any) -> None:
            super().__init__(*args, **how | {"verbose": False})

        def train(self, features: Any) -> Any:
            fits.append((features, self))
            return super().train(features)

    sampler = module.S2L.__new__(module.S2L)
    vars(sampler).update(
        sources=source_N, losses=torch.tensor(losses_NT, dtype=torch.float32), n_components=CLUSTERS,
        init_label_num=size, labeled_idx=torch.zeros(len(source_N), dtype=torch.bool),
    )  # fmt: skip
    plain, faiss.Kmeans = faiss.Kmeans, Watched
    faiss.omp_set_num_threads(1)
    np.random.seed(seed)
    try:
        with redirect_stdout(io.StringIO()):
            sampler.initialize_labeled_data()
    finally:
        faiss.Kmeans = plain
    label_N = np.full(len(source_N), -1)
    for features, fit in fits:
        (rows,) = (rows for rows in of_sources(source_N) if np.array_equal(sampler.losses[rows].numpy(), features))
        label_N[rows] = fit.index.search(features, 1)[1][:, 0]
    return Drawn(sampler.labeled_idx.numpy(), label_N)


def of_sources(source_N: Int[np.ndarray, " N"]) -> Iterator[Int[np.ndarray, " n"]]:
    """The rows of each source."""
    return (np.flatnonzero(source_N == source) for source in np.unique(source_N))


def of_same_clusters(recorded: Recorded, theirs: Drawn, size: int) -> Bool[np.ndarray, " N"]:
    """What the preset takes, were these the clusters."""
    pairs = np.stack([recorded.source_N, theirs.label_N])
    label_N = np.unique(pairs, axis=1, return_inverse=True)[1].ravel()
    sizes_K, nothing = np.bincount(label_N), np.zeros(len(label_N))
    clustering = Clustering(label_N, nothing, np.zeros((len(sizes_K), 1)), sizes_K, 0.0, 1, "iterations")
    group_N, last_N = small_together(clustering, recorded.source_N)
    plan = Plan(group_N, nothing, nothing, last_N=last_N)
    return queue_up(plan, recorded.trajectories.ids, strata_N=recorded.source_N).take(size)


def beside_the_authors(
    module: ModuleType, recorded: Recorded, excluded_N: Int[np.ndarray, " n"], sizes: Sequence[int], seeds: int
) -> None:
    """Agreement of counts by source and cluster; rows shared with the preset; rows without a loss in their subset."""
    losses_NT = recorded.trajectories.losses_NT
    with_zeros = np.concatenate([losses_NT, np.zeros((len(excluded_N), losses_NT.shape[1]))])
    sources = np.concatenate([recorded.source_N, excluded_N])
    preset = [drawn(recorded, ways()["preset"], sizes, seed) for seed in range(seeds)]
    for at, size in enumerate(sizes):
        theirs = [sampled(module, losses_NT, recorded.source_N, size, seed) for seed in range(seeds)]
        same = [compared(recorded, draw, of_same_clusters(recorded, draw, size)) for draw in theirs]
        ours = [by_seed[at] for by_seed in preset]
        kept = [draw.kept_N for draw in theirs]
        print(f"\n{size:,} rows, {seeds} seeds; theirs has {sum(kept[0])}")
        for line in dict.fromkeys(same):
            print(line)
        print(f"shared, %: theirs with the preset {across_seeds(kept, ours):.1f}, ", end="")
        print(
            f"theirs with itself {across_seeds(kept, kept):.1f}, the preset with itself {across_seeds(ours, ours):.1f}"
        )
        without_loss = sampled(module, with_zeros, sources, size, 0).kept_N[len(recorded) :].sum()
        print(f"of {len(excluded_N)} rows without a loss theirs takes {without_loss}")


def compared(recorded: Recorded, theirs: Drawn, ours_N: Bool[np.ndarray, " N"]) -> str:
    """How many sources, clusters and sizes of clusters give as many rows in both."""
    equal = {"sources": [0, 0], "clusters of 3 rows or more": [0, 0], "the same but for order among equals": [0, 0]}

    def note(what: str, same: bool, of: int = 1) -> None:
        equal[what][0] += same * of
        equal[what][1] += of

    for rows in of_sources(recorded.source_N):
        note("sources", ours_N[rows].sum() == theirs.kept_N[rows].sum())
        labels = theirs.label_N[rows]
        pairs: dict[int, list[tuple[int, int]]] = {}
        for label in np.unique(labels):
            members = rows[labels == label]
            if len(members) > 2:
                counts = int(ours_N[members].sum()), int(theirs.kept_N[members].sum())
                note("clusters of 3 rows or more", counts[0] == counts[1])
                pairs.setdefault(len(members), []).append(counts)
        for counts_of_size in pairs.values():
            ours, other = (sorted(side) for side in zip(*counts_of_size, strict=True))
            note("the same but for order among equals", ours == other, len(counts_of_size))
    return "as many rows: " + ", ".join(f"{what} {same} of {of}" for what, (same, of) in equal.items())


if __name__ == "__main__":
    main()
