"""What a grade asks, and what the answers must be: hidden tests with twins among them.

    functions.py  the test functions of a file: where each stands, the text around them
    twins.py      hidden tests → altered versions that must fail
    alone.py      an answer that is a module of its own, and test code for it → a `Task`
    split.py      files → the side of the exam that each is on, the same for tasks and for training rows
    arrange.py    hidden tests and twins → files as a grading box gets them, and what each id must end as

In: test files as text, exact node ids, a source of chance. Out: `Twin`s, test files, tasks. It runs nothing and reads no file.
"""
