"""Looking at labels blind: what is shown, what was answered, the page, and what follows from it.

:mod:`~drupe.labels.review.queue` draws what is shown, :mod:`~drupe.labels.review.answers` keeps
what was answered, :mod:`~drupe.labels.review.session` leads one reviewer through it.
"""
