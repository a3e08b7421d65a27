"""The commands of `rlaif`, one per module, found by listing this package.

Each module defines `COMMAND`. All modules are imported whenever `rlaif` starts, so a command imports what it needs
inside its function. The code of a long command is in a module of `cli/`.
"""
