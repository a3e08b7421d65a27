"""Cards: what a model or a data set is and how it was made, in the form that the Hugging Face Hub reads."""
