"""What training is made of beside its job (`jobs/train.py`); what surrounds it in the loop and the ablation too.

    cli.py          forge train
    plan.py         forge train --plan: memory, disk and time before anything is loaded
    trained.py      shown while it trains, stored when it has
    tagged_rows.py  texts with marked parts → rows

In: rows. Out: adapters in a workspace; training itself is `forge.training`.
"""
