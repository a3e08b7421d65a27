"""What differs between two states of a project, and which of the differences led to which."""
