"""What words in a message mean, for messages of no known shape and for the catalog's states."""
