"""TAPNext and TAPNext++."""
