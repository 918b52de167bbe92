"""The composition root: the `forge` command and the scripts that run as Ray jobs.

In: a command line or a config. Out: a run, its exit code, and sentences for a person. Only here are implementations
chosen and wired to seams; nothing imports `jobs`, and no decision about data or models is taken here.

    cli.py        the `forge` command: its groups and options lie in the rooms, each as cli.py
    improve.py  mine.py  train.py  align.py  evaluate.py  ablate.py  endpoint.py    the Ray jobs, `python -m jobs.NAME CONFIG [key=value …]`
    wiring.py     which implementation stands behind each seam
    explain.py    every config key with its meaning; nano.py  the base again from its recipe

    launching/    from a command to a Ray job: what must hold, a private Ray, the job's output and exit code; forge doctor
    loop/         forge improve: the phases and rounds, the endpoint of a run, what a run says at its end
    mining/       forge mine
    training/     forge train, and what surrounds training everywhere
    ablation/     forge ablate: each way to train, from the same batches, on the same tasks
    alignment/    forge align
    evaluation/   forge evaluate: one module a kind of suite
    serving/      forge serve, forge keys; what an endpoint is told to load, and whether it answers as training saw
    solving/      forge solve, forge mcp: the agent, and the packages its tests run with
    status/       forge status: a run seen from outside, while it goes on
    tasks/        forge tasks: derive, inject, import, export, verify
    adapters/     forge adapters: list, compare, promote, go back, clear away; forge export
    data/         forge data: mined sets read, compared, exported
"""
