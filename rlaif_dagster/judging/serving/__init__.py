"""Judges behind an OpenAI-compatible server, and the engine that calls them."""
