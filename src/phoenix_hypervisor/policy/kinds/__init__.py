"""The kinds of question: each module owns the fields, the reading and the evaluation of its kinds.

A new kind is a module here with `FORMS`, and its name in `queries.MODULES`.
"""
