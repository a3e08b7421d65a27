"""The package's own judge providers, one file each. `pyproject.toml` lists them as entry points."""
