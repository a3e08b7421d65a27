"""The commands of `rlaif`, one a module, found by listing this package.

Each module defines `COMMAND`. All of them are imported whenever `rlaif` starts, so what a command needs is imported
inside its function. A long one has its work in a module of `cli/`.
"""
