"""The `rlaif` command: one small file for each command. Heavy libraries are imported inside the commands."""
