"""The families that the base is trained on. None of them occurs in a practice repository: a test compares the two."""

from __future__ import annotations

from forge.nano.functions import Family

GUARD = "«~||    if not {a}:\n        return 0»"

BASE_FAMILIES: tuple[Family, ...] = (
    Family(name="sum-above", verbs=("sum", "add"), args=("ints", "int"), doc="Sum of what lies above a bound.", template=f"""
def {{f}}({{a}}, {{k}}):
{GUARD}
    {{r}} = «0||{{c1}}»
    for {{x}} in {{a}}:
        if {{x}} «>||>=» {{k}}:
            {{r}} += {{x}}«|| * {{c2}}|| + {{c2}}»
    return {{r}}
"""),
    Family(name="largest", verbs=("largest", "top", "peak"), args=("positives",), doc="The largest entry.", template="""
def {f}({a}):
    {r} = {a}[0]
    for {x} in {a}[1:]:
        if {x} > {r}:
            {r} = {x}
    return {r}«|| + {c1}|| * {c1}»
"""),
    Family(name="smallest", verbs=("smallest", "least", "lowest"), args=("positives",), doc="The smallest entry.", template="""
def {f}({a}):
    {r} = {a}[0]
    for {x} in {a}:
        if {x} < {r}:
            {r} = {x}
    return {r}«|| - {c1}|| * {c1}»
"""),
    Family(name="count-divisible", verbs=("count", "tally"), args=("ints", "small"), doc="How many divide evenly.", template=f"""
def {{f}}({{a}}, {{k}}):
{GUARD}
    {{r}} = 0
    for {{x}} in {{a}}:
        if {{x}} % «{{k}}||{{c1}}» «==||!=» 0:
            {{r}} += 1
    return {{r}}
"""),
    Family(name="keep-between", verbs=("keep", "pick", "select"), args=("ints", "int"), doc="Entries inside a range.", template="""
def {f}({a}, {k}):
    {r} = []
    for {x} in {a}:
        if «{c1} <= {x} and {x} < {k}||{x} > {c1} and {x} <= {k}||{x} < {c1} or {x} > {k}»:
            {r}.append({x}«|| + {c2}|| - {c2}»)
    return {r}
"""),
    Family(name="scale-all", verbs=("scale", "adjust"), args=("ints", "int"), doc="Every entry scaled.", template="""
def {f}({a}, {k}):
    {r} = []
    for {x} in {a}:
        {q} = {x} «* {c1} + {k}||+ {k} * {c1}||* {k} - {c1}»
        {r}.append({q})
    return {r}
"""),
    Family(name="mean", verbs=("mean", "average"), args=("ints",), doc="Rounded mean, zero when empty.", template="""
def {f}({a}):
    if «not {a}||len({a}) == 0»:
        return 0
    {r} = sum({a})
    return {r} // len({a})«|| + {c1}»
"""),
    Family(name="reverse-words", verbs=("reverse", "flip"), args=("words",), doc="Words in reverse order.", template="""
def {f}({a}):
    {r} = []
    for {x} in {a}:
        {r}.insert(0, {x}«||.upper()||[::-1]»)
    return «"-"||" "||""».join({r})
"""),
    Family(name="count-letter", verbs=("count", "tally"), args=("word",), doc="How often letters occur.", template="""
def {f}({s}):
    {r} = 0
    for {x} in {s}:
        if {x} in «"ae"||"abc"||"ed"»:
            {r} += «1||{c1}»
    return {r}
"""),
    Family(name="palindrome", verbs=("is", "check"), args=("word",), doc="Whether it reads the same backwards.", template="""
def {f}({s}):
    «{t} = {s}.lower()||{t} = {s}.strip()»
    if len({t}) «<||<=» {c1}:
        return «True||False»
    return {t} == {t}[::-1]
"""),
    Family(name="index-of", verbs=("index", "locate", "find"), args=("repeats", "int"),
           doc="First place of a target, -1 if none.", template="""
def {f}({a}, {k}):
    for {x} in range(len({a})):
        if {a}[{x}] «==||>=» {k}:
            return {x}«|| + 1|| + {c1}»
    return -1
"""),
    Family(name="unique", verbs=("unique", "distinct"), args=("repeats",), doc="Entries without repeats, in order.", template="""
def {f}({a}):
    {r} = []
    for {x} in {a}:
        if {x} not in {r}:
            {r}.append({x})
    return «{r}||len({r})||sorted({r})»
"""),
    Family(name="factorial", verbs=("product", "multiply"), args=("small",), doc="Product of the first numbers.", template="""
def {f}({k}):
    {r} = «1||{c1}»
    for {x} in range(«1||2», {k} + 1):
        {r} *= {x}«|| + {c2}»
    return {r}
"""),
    Family(name="fibonacci", verbs=("grow", "sequence"), args=("small",), doc="A two-term recurrence.", template="""
def {f}({k}):
    {r}, {q} = «0, 1||1, 1||{c1}, 1»
    for {x} in range({k}):
        {r}, {q} = {q}, {r} + {q}«|| + {c2}»
    return {r}
"""),
    Family(name="dot", verbs=("dot", "combine"), args=("positives", "positives"), doc="Sum of products of two lists.", template="""
def {f}({a}, {b}):
    {r} = 0
    for {x}, {y} in zip({a}, {b}):
        {r} += {x} «* {y}||* {y} + {c1}||* {y} - {c1}»
    return {r}
"""),
    Family(name="pair-sums", verbs=("pairwise", "join"), args=("positives", "positives"),
           doc="Sums of entries at the same place.", template="""
def {f}({a}, {b}):
    {r} = []
    for {x} in range(min(len({a}), len({b}))):
        {r}.append({a}[{x}] «+||-» {b}[{x}])
    return {r}
"""),
    Family(name="even-places", verbs=("alternate", "skip"), args=("ints",), doc="Every second entry.", template="""
def {f}({a}):
    {r} = []
    for {x}, {y} in enumerate({a}):
        if {x} % 2 == «0||1»:
            {r}.append({y}«|| * {c1}|| + {c1}»)
    return {r}
"""),
    Family(name="lookup-default", verbs=("lookup", "fetch"), args=("table", "word"), doc="A table's entry or a default.", template="""
def {f}({a}, {s}):
    if {s} in {a}:
        return {a}[{s}]«|| + {c1}|| * {c1}»
    return «{c2}||0||-1»
"""),
    Family(name="invert-table", verbs=("invert", "swap"), args=("table",), doc="Keys by their value.", template="""
def {f}({a}):
    {r} = dict()
    for {x}, {y} in sorted({a}.items()):
        {r}[{y}«|| + {c1}»] = {x}
    return {r}
"""),
    Family(name="sum-table", verbs=("sum", "total"), args=("table",), doc="Sum of a table's entries that are large.", template="""
def {f}({a}):
    {r} = 0
    for {x} in {a}.values():
        if {x} «>=||>||<» {c1}:
            {r} += {x}
    return {r}
"""),
    Family(name="first-letters", verbs=("initial", "shorten"), args=("words",), doc="The first letters of words.", template="""
def {f}({a}):
    {r} = ""
    for {x} in {a}:
        if «{x}||len({x}) > 1||len({x}) >= 2»:
            {r} += {x}«[0]||[0].upper()||[:2]»
    return {r}
"""),
    Family(name="longest-word", verbs=("longest", "widest"), args=("words",), doc="The longest word.", template="""
def {f}({a}):
    {r} = ""
    for {x} in {a}:
        if len({x}) «>||>=» len({r}):
            {r} = {x}
    return «{r}||len({r})||{r}.upper()»
"""),
    Family(name="is-sorted", verbs=("ordered", "rising"), args=("positives",), doc="Whether entries never fall.", template="""
def {f}({a}):
    for {x} in range(1, len({a})):
        if {a}[{x}] «<||<=» {a}[{x} - 1]:
            return False
    return True
"""),
    Family(name="clip", verbs=("clip", "bound"), args=("int", "int"), doc="A number held inside a range.", template="""
def {f}({k}, {m}):
    if {k} «>||>=» {m}:
        return {m}«|| - 1»
    if {k} < {c1}:
        return {c1}
    return {k}
"""),
    Family(name="gcd-steps", verbs=("remainder", "residue"), args=("int", "small"),
           doc="What is left after taking parts away.", template="""
def {f}({k}, {m}):
    {r} = {k} % {m}
    if {r} «==||>» «0||1»:
        return {k} // {m}«|| + {c1}»
    return {r}
"""),
    Family(name="leap", verbs=("valid", "allowed"), args=("int",), doc="Whether a rule of remainders holds.", template="""
def {f}({k}):
    if {k} % {c1} == 0:
        return {k} % {c2} «!=||==» 0
    return {k} «>||<||>=» {c3}
"""),
    Family(name="difference", verbs=("delta", "gap"), args=("positives",), doc="Differences of neighbours.", template="""
def {f}({a}):
    {r} = []
    for {x} in range(len({a}) - 1):
        {r}.append({a}[{x} + 1] - {a}[{x}]«|| + {c1}»)
    return {r}
"""),
    Family(name="repeat-text", verbs=("repeat", "pad"), args=("word", "small"), doc="A text made longer.", template="""
def {f}({s}, {k}):
    {r} = {s}
    for {x} in range({k}):
        {r} = {r} + «"."||"a"||{s}»
    return {r}
"""),
    Family(name="square-sum", verbs=("square", "power"), args=("positives",), doc="Sum of squares with a twist.", template="""
def {f}({a}):
    {r} = 0
    for {x} in {a}:
        {r} += {x} * {x}
        if {r} > {c1}:
            {r} -= «{c2}||{x}||1»
    return {r}
"""),
    Family(name="split-digits", verbs=("digits", "figures"), args=("digits",), doc="Digits that are large.", template="""
def {f}({s}):
    {r} = []
    for {x} in {s}:
        if int({x}) «>=||>||<» {c1}:
            {r}.append(int({x}))
    return {r}
"""),
    Family(name="max-pair", verbs=("best", "strongest"), args=("positives",), doc="The best sum of neighbours.", template="""
def {f}({a}):
    {r} = 0
    for {x}, {y} in zip({a}, {a}[1:]):
        {r} = max({r}, {x} + {y}«|| - {c1}|| + {c1}»)
    return {r}
"""),
    Family(name="vote", verbs=("vote", "majority"), args=("repeats", "int"), doc="Whether most agree.", template="""
def {f}({a}, {k}):
    {r} = {a}.count({k})
    if {r} * 2 «>||>=» len({a}):
        return «"yes"||"most"||True»
    return «"no"||"few"||False»
"""),
)  # fmt: skip
