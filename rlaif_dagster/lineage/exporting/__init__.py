"""Exports one version's lineage in standard formats, each written with that format's own library."""
