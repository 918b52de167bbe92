"""What a teacher adds to mined rows: instructions, explanations, new problems, scores.

In: rows, what stands around them in their tree, a `Teacher`. Out: the same rows with more in them, each with the error
where the teacher failed it, and what asking took. Never drops a row by itself and never asks for what is not configured.
"""
