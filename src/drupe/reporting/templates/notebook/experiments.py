"""## __NUMBER__. __TITLE__

__ABOUT__
"""

run_experiments(__ARGUMENTS__)
