"""SelfCodeAlign (arXiv 2410.24198): functions in, generation rows that a base has made and proven for itself out.

    seeds.py      which functions of mined rows seed an instruction, every other one counted by reason
    invent.py     a seed → concepts → an instruction of a drawn category and difficulty
    answer.py     what a model answers → code, tests, and the answers that do nothing, which the tests have to fail
    aligner.py    one seed from end to end: asked, run in boxes, one of the answers that pass drawn
    select.py     the whole set: near duplicates, benchmarks and held-out tasks
    teach.py      what is kept → rows of the generation stage, as if a stub had been filled in
    card.py       counts of all of it
    folder.py     where it lies
    prompts/      what is asked

Code runs behind `forge.seams.Grader` only; who answers is a function. What is held out seeds nothing.
"""
