"""A client of chat completion servers: requests, replies, limits and budgets, and many calls under way at once."""
