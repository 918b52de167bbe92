"""Examples or preferences in, LoRA adapters out: one adapter per stage, each trained from the frozen base.

    base.py         finds a base, hashes its weights, refuses what is no base
    rows.py         examples to token ids and answer masks; the split by lineage
    pairs.py        preferences to token ids
    run.py          one run of a job: early stopping, checkpoints, resume, less at once when memory ends, the saved adapter
    methods.py      the ways to train: sft.py (supervised), dpo.py (preferences)
    sweep.py        which settings suit a stage; packed.py trains several adapters side by side
    plan.py         what a job will take, before anything is loaded
    artefact.py     the adapter folder: written whole, with its result and its canary
    batches.py      batches of rows of nearly equal length
    tail.py         the last layer on answer positions only, on CPU
    callbacks.py    progress, the last evaluation, refusal of a loss that is not a number
    trl.py          the PEFT backend: any CPU, or CUDA without Unsloth
    unsloth.py      the Unsloth backend, imported only where CUDA is
    pick.py         which backend a machine gets
    logprobs.py     log-probabilities as training computes them, to check an endpoint against
    progress.py     what a run tells while it goes on
    desk.py         where jobs wait for the worker and news for the driver
    on_ray.py       one Ray Train worker that trains job after job
    random_base.py  a base that knows nothing, for tests and benchmarks

It never writes to a base, never merges, and never cuts a row: rows that are too long are dropped and counted.
"""
