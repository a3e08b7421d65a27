"""The two tiny models of the embedded default and how they were made: training texts, tokenizer, lessons, measures.

The world that they live in is the package `world`.
"""
