"""A client for chat completion servers: requests, replies, limits, budgets, and many calls in flight."""
