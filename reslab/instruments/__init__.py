"""What is measured on a model from outside."""
