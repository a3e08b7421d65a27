"""The Dagster layer: assets, checks, resources and jobs as thin adapters over `graph` and `lineage`."""
