"""The version store: the only package that uses DVC and git.

`store` is the entry point (add, pin, publish, verify, view, fetch, push); `project` prepares a folder for it; `tree`,
`objects`, `pin`, `remote` and `scratch` are its parts, and `git` reads the commit of a run.
"""
