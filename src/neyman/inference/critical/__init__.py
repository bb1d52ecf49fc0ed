"""Critical values learned over all parameters at once, from toys thrown everywhere."""
