"""From a command to a Ray job: what must hold, which Ray, its words there, its output here, its exit code back.

preflight.py  what must hold before anything expensive starts; doctor.py the same as a table, with the cure for each lack
launch.py     a command's words → a configuration → a job, on a Ray that is given or on a private one
local_ray.py  that private Ray
submit.py     a configuration to a Ray job: its log to the terminal, Ctrl-C to it, its exit code back
job.py        the other side: what every job does around its work
"""
