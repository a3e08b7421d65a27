"""The audit: holds ledger, store, `data.dvc`, `data/` and Dagster's event log against each other; changes nothing."""
