"""Where INT8 loses accuracy, what it costs to get it back, and the search for the best deal."""
