"""What versioning one materialisation costs, over reading and hashing the same bytes once.

    python -m benchmarks.versioning [--repeats 5]

Versioning is everything that happens to an output between the end of its computation and the next stage: it is read
and hashed by both digests, taken into the DVC cache, pinned in `data.dvc` and shown in `data/`. Reusing is what
happens when it is wanted again: every byte is hashed, and `data/` is compared with it. Beside them, in turns, the same
bytes are read and hashed once: by md5, which is the address that DVC gives them, so nothing that uses DVC can do with
less; and by sha256 alone, which is faster where the processor has instructions for it. Three shapes: 3 small files, one
large file, 5,000 small files. Prints medians, on the clock and of processor time (which other programs do not change),
as ratios to the md5.
"""

import argparse
import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from rlaif_dagster.versioning.store import Version, init_store

SHAPES = {
    "3 files of 1 kB": (3, 1_000),
    "1 file of 500 MB": (1, 500_000_000),
    "5,000 files of 1 kB": (5_000, 1_000),
}


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds on the clock, and of processor time in all threads."""

    wall: float
    processor: float

    def __truediv__(self, base: "Spent") -> "Spent":
        return Spent(self.wall / base.wall, self.processor / base.processor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One turn of everything."""

    md5: Spent
    sha256: Spent
    versioned: Spent
    reused: Spent


def write_files(folder: Path, num_files: int, size: int) -> None:
    """Writes files of random bytes, all different."""
    folder.mkdir(parents=True)
    for number in range(num_files):
        (folder / f"{number:04}.bin").write_bytes(os.urandom(size))


def spend(work: Callable[[], object]) -> Spent:
    """Does work and says what it took."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return Spent(time.perf_counter() - wall, time.process_time() - processor)


def hash_once(folder: Path, algorithm: str) -> None:
    """Reads and hashes each file once."""
    for path in sorted(folder.iterdir()):
        with path.open("rb") as stream:
            hashlib.file_digest(stream, algorithm)


def measure(folder: Path, num_files: int, size: int) -> Measured:
    """Versions a folder as a new version of an asset, and reuses it, as `materialise` does."""
    output, store = folder / "output", init_store(folder / "project")
    write_files(output, num_files, size)
    hash_once(output, "md5")  # once unmeasured: the bytes are in memory for all
    md5, sha256 = (spend(lambda name=name: hash_once(output, name)) for name in ("md5", "sha256"))  # type: ignore[misc]
    versions: list[Version] = []

    def show() -> None:
        [version] = versions
        store.pin("asset", version.md5)
        store.publish("asset", version.md5, version.digest, verified=True)

    def add() -> None:
        versions.append(store.add("asset", output, move=True))
        show()

    def reuse() -> None:
        [version] = versions
        store.verify(version.md5, version.digest)
        show()

    return Measured(md5=md5, sha256=sha256, versioned=spend(add), reused=spend(reuse))


def tell(values: list[Spent], form: str) -> str:
    """Medians on the clock, and of processor time."""
    wall, processor = (statistics.median(getattr(v, name) for v in values) for name in ("wall", "processor"))
    return f"{wall:{form}} ({processor:{form}})"


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    table = Table(
        "output",
        "md5 once, s",
        "sha256 once, s",
        "versioned, s",
        "over md5",
        "over sha256",
        "reused, over md5",
    )
    for name, (num_files, size) in SHAPES.items():
        turns = []
        for _ in range(repeats):
            with tempfile.TemporaryDirectory() as folder:
                turns.append(measure(Path(folder), num_files, size))
        table.add_row(
            name,
            tell([turn.md5 for turn in turns], ".4f"),
            tell([turn.sha256 for turn in turns], ".4f"),
            tell([turn.versioned for turn in turns], ".4f"),
            tell([turn.versioned / turn.md5 for turn in turns], ".2f"),
            tell([turn.versioned / turn.sha256 for turn in turns], ".2f"),
            tell([turn.reused / turn.md5 for turn in turns], ".2f"),
        )
    console = Console()
    console.print(table)
    console.print("on the clock (processor time)")


if __name__ == "__main__":
    main()
