"""The families of the practice repositories. The base is never trained on any of them: a test compares the two."""

from __future__ import annotations

from forge.nano.functions import Family

PRACTICE_FAMILIES: tuple[Family, ...] = (
    Family(name="capped-sum", verbs=("fill", "load", "pack"), args=("positives", "int"),
           doc="Sum until the next would pass the cap.", template="""
def {f}({a}, {k}):
    {r} = 0
    for {x} in {a}:
        if {r} + {x} «> {k}||>= {k}||> {k} - {c1}»:
            «break||continue||return {r}»
        {r} += {x}
    return {r}
"""),
    Family(name="running-peak", verbs=("trace", "record", "crest"), args=("ints",),
           doc="The highest so far at every place.", template="""
def {f}({a}):
    {r} = []
    {q} = «0||-{c1}||{c1}»
    for {x} in {a}:
        «{q} = max({q}, {x})||if {x} > {q}:\n            {q} = {x}»
        {r}.append({q}«|| - {c2}»)
    return {r}
"""),
    Family(name="streak", verbs=("streak", "run", "chain"), args=("repeats",), doc="Length of the longest run of equals.", template="""
def {f}({a}):
    {r} = 0
    {q} = 0
    {m} = «None||-1»
    for {x} in {a}:
        {q} = {q} + 1 if {x} == {m} else 1
        {r} = max({r}, {q})
        {m} = {x}
    return {r}«|| * {c1}|| + {c1}»
"""),
    Family(name="tiers", verbs=("tier", "band", "bracket"), args=("int",), doc="The tier that a number falls in.", template="""
def {f}({k}):
    if {k} «<||<=» {c1}:
        return «0||1||{c3}»
    if {k} «<||<=» {c1} + {c2}:
        return «1||{k} - {c1}||{c4}»
    return «2||{k} - {c2}||{k} // 2»
"""),
    Family(name="window", verbs=("window", "smooth", "slide"), args=("positives", "small"),
           doc="Sums over a sliding window.", template="""
def {f}({a}, {k}):
    {r} = []
    for {x} in range(len({a}) - {k} + 1):
        {q} = {a}[{x}:{x} + {k}]
        {r}.append(«sum({q})||max({q}) - min({q})||sum({q}) // {k}»)
    return {r}
"""),
    Family(name="page", verbs=("page", "chunk", "leaf"), args=("ints", "small", "small"), doc="One page of entries.", template="""
def {f}({a}, {k}, {m}):
    {r} = ({k} - 1) * {m}
    {q} = {r} + {m}
    if {r} >= len({a}):
        return []
    return {a}[{r}:{q}]«||[::-1]»
"""),
    Family(name="encode-runs", verbs=("encode", "compress", "squeeze"), args=("word",),
           doc="Letters with how often they repeat.", template="""
def {f}({s}):
    {r} = []
    for {x} in {s}:
        if {r} and {r}[-1][0] == {x}:
            {r}[-1][1] += 1
        else:
            {r}.append([{x}, 1])
    return «{r}||[{y}[1] for {y} in {r}]||len({r})»
"""),
    Family(name="checksum", verbs=("checksum", "verify", "seal"), args=("digits",),
           doc="A weighted sum of digits, folded.", template="""
def {f}({s}):
    {r} = «0||{c1}||1»
    for {x}, {y} in enumerate({s}):
        {r} += ({x} + «1||{c2}») * int({y})
    return {r} % «{c3}||1{c4}||9»
"""),
    Family(name="overlap", verbs=("overlap", "cover", "clash"), args=("pairs", "int"), doc="How many spans hold a point.", template="""
def {f}({a}, {k}):
    {r} = 0
    for {x}, {y} in {a}:
        if {x} <= {k} «<= {y}||< {y}||<= {y} + {c1}»:
            {r} += «1||{y} - {x}||{k} - {x}»
    return {r}
"""),
    Family(name="settle", verbs=("settle", "balance", "clear"), args=("ints", "int"),
           doc="A balance that never falls below zero.", template="""
def {f}({a}, {k}):
    {r} = {k}
    for {x} in {a}:
        {r} «-=||+=» {x}
        if {r} < 0:
            {r} = «0||{c1}||{k}»
    return {r}
"""),
    Family(name="rotate", verbs=("rotate", "turn", "cycle"), args=("ints", "int"), doc="Entries turned by some places.", template="""
def {f}({a}, {k}):
    if not {a}:
        return []
    {r} = {k} % len({a})
    return {a}«[{r}:] + {a}[:{r}]||[-{r}:] + {a}[:-{r}]»
"""),
    Family(name="rank", verbs=("place", "seed", "standing"), args=("ints", "int"), doc="The place a score would take.", template="""
def {f}({a}, {k}):
    {r} = «1||0||{c1}»
    for {x} in {a}:
        if {x} «>||>=» {k}:
            {r} += «1||2»
    return {r}
"""),
    Family(name="bucket", verbs=("bucket", "bin", "spread"), args=("positives", "small"),
           doc="How many fall in each bucket.", template="""
def {f}({a}, {k}):
    {r} = [0] * {k}
    for {x} in {a}:
        {q} = «{x} % {k}||min({x} // {k}, {k} - 1)||{x} // {c1} % {k}»
        {r}[{q}] += «1||{x}»
    return {r}
"""),
    Family(name="penalty", verbs=("charge", "fine", "penalty"), args=("int", "int"), doc="What being late costs.", template="""
def {f}({k}, {m}):
    {r} = {k} - {m}
    if {r} <= «0||{c1}»:
        return 0
    {q} = {c2} + {r} * {c3}
    return «min({q}, {c4}0)||{q}||max({q}, {c4})»
"""),
)  # fmt: skip
