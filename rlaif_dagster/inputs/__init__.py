"""The files that a person edits: strict schemas, messages for people, canonical digests."""
