"""The audit: compares ledger, store, `data.dvc`, `data/` and Dagster's event log; changes nothing."""
