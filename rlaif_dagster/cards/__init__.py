"""Cards: say what a model or a data set is and how it was made, in the format of the Hugging Face Hub."""
