"""Copies: crops that show the same photograph, and so must stay on one side of a split.

:mod:`~drupe.data.copies.copy_rule` holds the rule that makes two crops copies of one another: the
same bytes, the same pixels after a quarter turn or a flip, or a near duplicate. Near duplicates are
searched for in :mod:`~drupe.data.copies.near_duplicates`, cut into comparable windows by
:mod:`~drupe.data.copies.patches`, and confirmed or refused in :mod:`~drupe.data.copies.alignment`.
"""
