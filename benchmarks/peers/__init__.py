"""The same chain on other frameworks, each in a process of its own and written as its documentation shows it."""
