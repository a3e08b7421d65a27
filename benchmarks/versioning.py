"""What versioning one materialisation costs, over reading and hashing the same bytes once.

    python -m benchmarks.versioning [--repeats 5]

Versioning is everything that happens to an output between the end of its computation and the next stage: it is hashed
by both digests, taken into the DVC cache, pinned in `data.dvc` and shown in `data/`. Beside it, in turns, the same
bytes are read and hashed by sha256, once. Three shapes: 3 small files, one large file, 5,000 small files. Prints the
median of both, and the ratio with its spread.
"""

import argparse
import hashlib
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from rlaif_dagster.versioning.store import init_store

SHAPES = {
    "3 files of 1 kB": (3, 1_000),
    "1 file of 500 MB": (1, 500_000_000),
    "5,000 files of 1 kB": (5_000, 1_000),
}


def write_files(folder: Path, num_files: int, size: int) -> None:
    """Writes files of random bytes, all different."""
    folder.mkdir(parents=True)
    for number in range(num_files):
        (folder / f"{number:04}.bin").write_bytes(os.urandom(size))


def time_hashing(folder: Path) -> float:
    """Reads and hashes each file once; returns seconds."""
    started = time.perf_counter()
    for path in sorted(folder.iterdir()):
        with path.open("rb") as stream:
            hashlib.file_digest(stream, "sha256")
    return time.perf_counter() - started


def time_versioning(root: Path, folder: Path) -> float:
    """Versions a folder as a new version of an asset; returns seconds."""
    store = init_store(root)
    started = time.perf_counter()
    version = store.add("asset", folder)
    store.pin("asset", version.md5)
    store.publish("asset", version.md5, version.digest)
    return time.perf_counter() - started


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    table = Table("output", "hashed once, s", "versioned, s", "ratio (least to most)")
    for name, (num_files, size) in SHAPES.items():
        hashed, versioned = [], []
        for _ in range(repeats):
            with tempfile.TemporaryDirectory() as folder:
                output = Path(folder, "output")
                write_files(output, num_files, size)
                time_hashing(output)  # once unmeasured: the bytes are in memory for both
                hashed.append(time_hashing(output))
                versioned.append(time_versioning(Path(folder, "project"), output))
                shutil.rmtree(output)
        ratios = sorted(cost / base for cost, base in zip(versioned, hashed, strict=True))
        table.add_row(
            name,
            f"{statistics.median(hashed):.4f}",
            f"{statistics.median(versioned):.4f}",
            f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
