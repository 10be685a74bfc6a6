"""Reads tables of any format, and says where in a file something is wrong."""
