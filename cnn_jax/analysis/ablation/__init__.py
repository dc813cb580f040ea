"""The tables, figures and page of a sweep."""
