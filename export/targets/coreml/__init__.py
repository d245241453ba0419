"""Core ML: the target, what computes in which precision, and an interpreter that verifies it where no Mac is."""
