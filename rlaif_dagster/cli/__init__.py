"""The `rlaif` command: one small file a command; heavy libraries are imported inside the commands."""
