"""The input files: strict schemas, messages for people, canonical digests."""
