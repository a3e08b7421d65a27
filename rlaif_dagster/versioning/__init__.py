"""The version store: the only room that knows DVC and git.

`store` is the door (add, pin, publish, verify, view, fetch, push); `project` prepares a folder for it;
`tree`, `objects`, `pin`, `remote` and `scratch` are its parts, and `git` reads the commit that a run
stands on.
"""
