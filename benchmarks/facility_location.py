"""Facility location of N embeddings: ours beside apricot's on the matrix of all similarities, in turns.

    python benchmarks/facility_location.py --apricot PYTHON --run RUN --out R.json
    python benchmarks/facility_location.py --rows 200000 --dimensions 12 --repeats 1 --out R.json

PYTHON is that of an environment with apricot-select and scikit-learn, of versions of its own. Both maximise the sum
over rows of the largest (1 + cos) / 2 with a chosen row. apricot is spared its imports and the compilation that it
repeats at every fit; the matrix, without which it cannot begin, is told with and without. What either has chosen is
judged by one function, on exact cosines. Without --run the embeddings are made up: clusters around a common direction.
Without --apricot ours is alone, where the matrix of the peer has no room.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from measure import median, ratio, save

from s2l.files import read_record
from s2l.progress import SILENT
from s2l.provenance import peak_memory
from s2l.proxy.plan import PLAN
from s2l.run_folder import RunFolder
from s2l.scoring.represent import RunRepresentations
from s2l.selection.greedy import facility_location
from s2l.selection.unit import directions

CLUSTERS = 300
BLOCK = 2048
PEER = """
import json, resource, sys, time
from importlib.metadata import version

import numpy as np
from apricot import FacilityLocationSelection

path, rows, optimizer = sys.argv[1:]


def choose(similar, rows):
    start = time.perf_counter()
    chosen = FacilityLocationSelection(rows, metric="precomputed", optimizer=optimizer).fit(similar).ranking
    return chosen, time.perf_counter() - start


choose(np.eye(9), 2)
_, compiling = choose(np.eye(9), 2)
start = time.perf_counter()
units = np.load(path).astype(np.float64)
units /= np.linalg.norm(units, axis=1, keepdims=True)
similar = units @ units.T
similar += 1
similar /= 2
np.maximum(similar, 0, out=similar)
matrix = time.perf_counter() - start
chosen, greedy = choose(similar, int(rows))
print(json.dumps({
    "chosen": chosen.tolist(),
    "matrix": matrix,
    "compiling": compiling,
    "greedy": greedy - compiling,
    "peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    "versions": {name: version(name) for name in ("apricot-select", "numpy", "numba")},
}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--apricot", type=Path, help="python of an environment with apricot-select")
    parser.add_argument("--optimizer", default="lazy", help="apricot's; lazy is its default")
    parser.add_argument("--repeats", type=int, default=3)
    of_embeddings(parser)
    args = parser.parse_args()
    embeddings_ND, told = embeddings(args)
    wanted = round(args.budget * len(embeddings_ND))
    seconds: dict[str, list[float]] = {"ours": []}
    if args.apricot:
        seconds |= {"apricot": [], "apricot_greedy_alone": []}
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / "embeddings.npy"
        np.save(path, embeddings_ND)
        for _ in range(args.repeats):
            gc.collect()
            start = time.perf_counter()
            order_N, _ = facility_location(directions(embeddings_ND), wanted, lambda _rows: None)
            seconds["ours"].append(time.perf_counter() - start)
            if not args.apricot:
                continue
            peer = apricot(args.apricot, path, wanted, args.optimizer)
            seconds["apricot"].append(peer["matrix"] + peer["greedy"])
            seconds["apricot_greedy_alone"].append(peer["greedy"])
    told = {**told, "budget": wanted, "seconds": {name: median(taken) for name, taken in seconds.items()}}
    memory = peak_memory() >> 20
    if not args.apricot:
        save(args.out, {**told, "peak_memory_mib": {"ours": memory}})
        return
    ours, theirs = (covered(embeddings_ND, np.array(chosen)) for chosen in (order_N[:wanted], peer["chosen"]))
    save(
        args.out,
        {
            **told,
            "optimizer": args.optimizer,
            "ratio": ratio(seconds["apricot"], seconds["ours"]),
            "ratio_to_greedy_alone": ratio(seconds["apricot_greedy_alone"], seconds["ours"]),
            "objective": {"ours": ours, "apricot": theirs},
            "relative_difference": (ours - theirs) / theirs,
            "rows_chosen_by_both": len(set(order_N[:wanted].tolist()) & set(peer["chosen"])),
            "seconds_apricot_compiles_at_every_fit": round(peer["compiling"], 2),
            "peak_memory_mib": {"ours": memory, "apricot": peer["peak_memory"] >> 20},
            "versions_of_the_peer": peer["versions"],
        },
    )


def of_embeddings(parser: argparse.ArgumentParser) -> None:
    """Which rows, and how many to choose."""
    parser.add_argument("--run", type=Path, help="a run folder, whose response embeddings are recorded if they are not")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--dimensions", type=int, default=96, help="of made-up embeddings")
    parser.add_argument("--budget", type=float, default=0.11, help="share of the rows")
    parser.add_argument("--out", type=Path, required=True)


def embeddings(args: argparse.Namespace) -> tuple[np.ndarray, dict[str, Any]]:
    """Embeddings of the first rows in id order, float32, and what to tell of them."""
    if args.run is None:
        found_ND, told = made_up(args.rows, args.dimensions), "made up"
    else:
        steps = tuple(read_record(args.run / "proxy" / PLAN)["saves"])
        found_ND = RunRepresentations(RunFolder(args.run), steps, SILENT).embeddings("response", len(steps) - 1)
        found_ND, told = np.array(found_ND[: args.rows]), "a run's, at the last checkpoint"
    return found_ND, {"embeddings": told, "rows": len(found_ND), "dimensions": found_ND.shape[1]}


def made_up(n_rows: int, dimensions: int, seed: int = 0) -> np.ndarray:
    """Clusters of very different sizes around a direction that all rows share, as those of a language model do."""
    rng = np.random.default_rng(seed)
    centres_KD = 2 * rng.standard_normal(dimensions) + rng.standard_normal((CLUSTERS, dimensions))
    cluster_N = rng.choice(CLUSTERS, n_rows, p=rng.dirichlet(np.full(CLUSTERS, 0.5)))
    return (centres_KD[cluster_N] + 0.6 * rng.standard_normal((n_rows, dimensions))).astype(np.float32)


def apricot(python: Path, embeddings_npy: Path, wanted: int, optimizer: str) -> dict[str, Any]:
    """What the peer chooses, and how long it takes, in a process of its own."""
    command = [str(python), "-c", PEER, str(embeddings_npy), str(wanted), optimizer]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the peer failed:\n{done.stderr[-2000:]}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def covered(embeddings_ND: np.ndarray, chosen: np.ndarray) -> float:
    """Mean over all rows of the largest (1 + cos) / 2 with a chosen one, in float64."""
    units_ND = embeddings_ND.astype(np.float64)
    units_ND /= np.linalg.norm(units_ND, axis=1, keepdims=True)
    largest = [
        (units_ND[start : start + BLOCK] @ units_ND[chosen].T).max(axis=1) for start in range(0, len(units_ND), BLOCK)
    ]
    return float((1 + np.concatenate(largest)).mean() / 2)


if __name__ == "__main__":
    main()
