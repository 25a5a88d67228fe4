"""k-center of N embeddings: ours beside a plain loop over the chosen rows, in float64, in turns.

    python benchmarks/k_center.py --run RUN --out R.json

For each row that it chooses the loop computes the distance of every row to it, on the very directions that ours reads,
so that the same rows are wanted. It chooses as many as --peer-rows only; both take as long for every row. Without --run
the embeddings are made up.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from facility_location import embeddings, of_embeddings
from measure import in_turns, median, ratio, save

from s2l.selection.greedy import k_center
from s2l.selection.unit import directions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peer-rows", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    of_embeddings(parser)
    args = parser.parse_args()
    embeddings_ND, told = embeddings(args)
    units_ND, wanted = directions(embeddings_ND), round(args.budget * len(embeddings_ND))
    first, found = np.array([0]), {}
    seconds = in_turns(
        {
            "ours": lambda: found.update(ours=k_center(units_ND, first, args.peer_rows, lambda _rows: None)[0]),
            "plain_loop": lambda: found.update(plain_loop=plain_loop(units_ND, 0, args.peer_rows)),
        },
        args.repeats,
    )
    start = time.perf_counter()
    k_center(units_ND, first, wanted, lambda _rows: None)
    save(
        args.out,
        {
            **told,
            "rows_of_both": args.peer_rows,
            "ratio": ratio(seconds["plain_loop"], seconds["ours"]),
            "same_rows": bool(np.array_equal(found["ours"][: args.peer_rows], found["plain_loop"])),
            "seconds": {name: median(taken) for name, taken in seconds.items()},
            "budget": wanted,
            "seconds_of_ours_for_the_budget": round(time.perf_counter() - start, 3),
        },
    )


def plain_loop(units_ND: np.ndarray, first: int, n_rows: int) -> np.ndarray:
    """Farthest-first as one writes it down; ties to the smaller row."""
    vectors_ND = units_ND.astype(np.float64)
    nearest_N = np.full(len(vectors_ND), np.inf)
    chosen = [first]
    while len(chosen) < n_rows:
        nearest_N = np.minimum(nearest_N, np.linalg.norm(vectors_ND - vectors_ND[chosen[-1]], axis=1))
        nearest_N[chosen[-1]] = -1
        chosen.append(int(nearest_N.argmax()))
    return np.array(chosen)


if __name__ == "__main__":
    main()
