"""The ledger in; what the next round does, what it learns from and whether it is promoted out.

    machine.py    the states of a round, in order; everything that is done goes through `hands.py`
    steps.py      which rollouts each part of a round is made of, under the names of `names.py`
    past.py       what the ledger says about the rounds so far; spent.py: what they cost

and the decisions, pure functions each:

    plan.py       the next round: train, let a teacher act, search the agent's settings, stop
    curriculum.py which training tasks are sampled, and how often
    bootstrap.py  whether the agent may learn from itself yet, stage by stage; easier.py  the tasks to plant where not
    select.py     which successes teach; lend.py: which other tasks they solve; pairs.py: solved against failed answers
    plateau.py    whether it is still learning, and the next lever if not
    scaffold.py   which settings of the agent are tried, and which are best
    gate.py       whether the new replaces the old

`world.py` is a made-up world in which all of it can be tried without a model. Never runs a model, a box or a trainer itself.
"""
