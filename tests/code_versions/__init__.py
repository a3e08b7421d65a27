"""A stage's code cannot change in silence: its `code_version` is part of the recipe by which results are reused.

`<stage>.json` beside this file holds the stage's code version, a short digest of each definition that its code
reaches, and the reason of the last acknowledgement. After a change, `python -m tests.code_versions STAGE --reason TEXT`
writes the file again. See "Code versions" in CONTRIBUTING.md.
"""
