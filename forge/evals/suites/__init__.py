"""Public coding suites: rows as they are published in, problems, answers and scores out.

    problem.py        what a problem is: what is asked, and one of three exams
    row.py            fields of a row, read strictly
    extract.py        code in a model's text
    unit_tests.py     published test code → a `Task` with hidden tests and twins
    programs.py       programs that are given input; what they print is compared outside the box
    case_runner.py    what of that runs inside
    code_match.py     a written line against the one that was there
    humaneval.py      HumanEval, HumanEvalFix
    mbpp.py  bigcodebench.py  livecodebench.py  crosscodeeval.py
    hidden_tests.py   LiveCodeBench's packed private tests, read without unpickling
    registry.py       the suites by name
    scores.py         samples → the published metrics, with intervals
    examiner.py       asks a model and examines its answer in boxes; `on_ray.py` spreads that

A problem's tests, its gold solution and its expected outputs never reach the model that is asked. Answers run in boxes
only (`forge.seams.SandboxProvider`). Agents are evaluated elsewhere: they need repositories.
"""
