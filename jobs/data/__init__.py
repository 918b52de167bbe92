"""`forge data`: reading, comparing and exporting mined sets.

In: the folder of a mined set. Out: text in the terminal, or files in a format of the field. Never changes the set.
"""
