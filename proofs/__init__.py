"""Long proofs, one module a part: `python -m proofs [PART...]`, or `make prove PART=name`.

A part is a module of this package with

- a docstring, whose first line is the title of its table in docs/proofs.md;
- `prove() -> list[dict[str, str]]`: does the work and returns the rows of the table, all with the same columns; an
  exception means that the proof failed, and the table in docs/proofs.md stays as it was;
- `SMALL_TEST`: the test in `make test` that proves the same at its smallest size, as pytest names it.
"""
