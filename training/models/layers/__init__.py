"""Modules and sampling that several families are made of, in each framework."""
