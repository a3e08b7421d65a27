"""The two tiny models of the embedded default and how they were made: training texts, tokenizer, lessons, measures.

Their world is the package `world`.
"""
