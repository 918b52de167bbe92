"""The composition root: the `forge` command and the scripts that run as Ray jobs.

In: a command line or a config. Out: a run, its exit code, and sentences for a person. Only here are implementations
chosen and wired to seams; nothing imports `jobs`, and no decision about data or models is taken here.

    cli.py        the `forge` command
    preflight.py  what must hold before anything expensive starts
    local_ray.py  a private Ray for a run that is given none
    submit.py     a config to a Ray job: its log to the terminal, Ctrl-C to it, its exit code back
    doctor.py     what this machine has and lacks, with the cure
    improve.py    the job itself: the whole loop
    loop.py       its phases in order: prepare.py before the rounds, rollouts.py in them, canary.py before an evaluation
    ablate.py     the ablation's job: which rows; arms.py  each way to train, from the same batches, on the same tasks
    context.py    what the phases share; wiring.py  which implementation stands behind each seam
    status/       forge status: a run seen from outside, while it goes on
    summary.py    what a finished run says: the record of the report, and the table
    tasks/        forge tasks: import, export, verify
    adapters/     forge adapters: list, compare, promote, go back, clear away; forge export
    endpoint.py   forge serve; solve.py forge solve, solver.py its agent, surroundings.py the packages its tests run with
    mine.py, train.py, align.py, evaluate.py  the other jobs, each with its command in *_cli.py
    explain.py    every config key with its meaning; nano.py  the base again from its recipe
"""
