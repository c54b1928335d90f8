"""What does the paper print, and what do we get?

``published`` holds the numbers that the paper prints, ``experiment`` its experiment step by step, and ``command`` the
command that trains, plays and writes a row of Table 1. The last two need the training half, the first needs nothing.
"""
