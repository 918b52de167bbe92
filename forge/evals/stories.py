"""The trajectories to read, as HTML: the statement, each turn, the diff, the verdict."""

from __future__ import annotations

from html import escape

from forge.evals.pages.svg import percent
from forge.evals.summary import RunSummary, Story, StoryTurn
from forge.records import Outcome

KINDS = {
    "success": ("success", "Solved at the first attempt"),
    "turned round": ("turned", "The review turned it round"),
    "failure": ("failure", "A failure"),
}
LONGEST = 4000
"""Characters of one text that are shown."""


def stories(summary: RunSummary) -> str:
    """The section; empty when there is nothing to read."""
    if not summary.stories:
        return ""
    shown = "".join(_story(item, opened=index == 0) for index, item in enumerate(summary.stories))
    return f"<section>\n<h2>To read</h2>\n<p>What the agent was asked, what each stage answered, what came of it.</p>\n{shown}</section>"


def _story(story: Story, *, opened: bool) -> str:
    kind, title = KINDS[story.kind]
    where = f'<span class="note">{escape(story.repo)}, {escape(story.step)}</span>'
    head = f'<span class="chip {kind}">{escape(story.kind)}</span> {title} {where}'
    turns = "".join(_turn(turn) for turn in story.turns)
    return (
        f'<details{" open" if opened else ""}><summary>{head}</summary><div class="inner"><pre>{_cut(story.statement)}</pre>'
        f'<ol class="turns">{turns}</ol><h3>The patch</h3>{diff(story.patch)}'
        f'<p class="verdict">{escape(_verdict(story))}</p></div></details>'
    )


def _turn(turn: StoryTurn) -> str:
    attempt = f", attempt {turn.attempt + 1}" if turn.attempt else ""
    judged = f" on <code>{escape(turn.subject)}</code>" if turn.subject else ""
    score = f", {percent(turn.score)} yes" if turn.score is not None else ""
    unusable = "" if turn.parsed else ", could not be used"
    prompt = f"<details><summary>prompt</summary><pre>{_cut(turn.prompt)}</pre></details>" if turn.prompt else ""
    kind = "" if turn.parsed else ' class="unusable"'
    return (
        f'<li{kind}><h3>{escape(turn.stage.capitalize())}{attempt} <span class="note">'
        f"<code>{escape(turn.model_id)}</code>{judged}{score}{unusable}</span></h3><pre>{_cut(turn.text)}</pre>{prompt}</li>"
    )


def diff(patch: str) -> str:
    """A unified diff with its lines marked."""
    kinds = {"+++": "where", "---": "where", "@@": "where", "+": "plus", "-": "minus", "diff": "where"}
    lines = []
    for line in patch[:LONGEST].splitlines():
        kind = next((kind for start, kind in kinds.items() if line.startswith(start)), "")
        lines.append(f'<span class="{kind}">{escape(line) or " "}</span>')
    return f'<pre class="diff">{"".join(lines)}</pre>' if lines else '<p class="note">No patch was handed in.</p>'


def _verdict(story: Story) -> str:
    seconds = f" {story.seconds:.1f} s." if story.seconds else ""
    if story.outcome is Outcome.SOLVED:
        return f"Every named test passes in a fresh box.{seconds}"
    ids = f" {len(story.failed_ids)} failed, such as {story.failed_ids[0]}." if story.failed_ids else ""
    reason = f" {story.reason}." if story.reason else ""
    return f"Graded in a fresh box: {story.outcome.value}.{reason}{ids}{seconds}"


def _cut(text: str) -> str:
    return escape(text if len(text) <= LONGEST else text[:LONGEST] + "\n…")
