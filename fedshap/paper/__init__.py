"""What does the paper print, and what do we get?

``published`` holds the numbers that the paper prints, ``settings`` those of its experiment, ``experiment`` the
experiment step by step, and ``command`` what trains, plays and writes a row of Table 1. The last two need the training
half, the others need nothing.
"""
