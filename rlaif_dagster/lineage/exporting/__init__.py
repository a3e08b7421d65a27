"""Exporting: one version's lineage in the formats of others, each written with that format's own library."""
