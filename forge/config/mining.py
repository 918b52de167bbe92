"""Which commits teach, and what becomes of them. Every drop is counted by reason."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from forge.config.section import Section

PERMISSIVE = (
    "0BSD",
    "Apache-2.0",
    "BlueOak-1.0.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "PSF-2.0",
    "Python-2.0",
    "Unlicense",
    "Zlib",
)
"""SPDX licences under which code may be learnt from and passed on with a notice."""


class MechanicalConfig(Section):
    """What is dropped on sight: no contents are read for it, but where it says so."""

    merges: bool = True
    """Drop merges."""
    bots: bool = True
    """Drop commits by authors whose name contains one of `mining.bots` or whose address matches one of `bot_mails`."""
    bot_mails: tuple[str, ...] = (r"\[bot\]@", r"^(bot|robot|ci|automation|noreply-bot)@", r"^support@dependabot\.com$")
    """Regular expressions, searched in the author's address."""
    bot_messages: tuple[str, ...] = (r"^Bump .+ from .+ to ", r"^\[pre-commit\.ci\]", r"^Update dependency ", r"^chore\(deps")
    """Regular expressions, searched in the message: what a program wrote, whoever committed it."""
    chores: tuple[str, ...] = (
        r"^(bump|bumping|bumped)\b",
        r"^(set|update|updating|prepare|add|write)\b.{0,40}\b(version|release|changelog)\b",
        r"^(prepare|preparing|prep|start|begin)\b.{0,20}\brelease\b|^(release|version) v?\d|^back to (dev|develop)",
        r"^(merge|sync|update) (branch|from|with) |\bnext dev(elopment)? .{0,10}(release|version|cycle)\b",
        r"^(update|raise|increase|lower|set)\b.{0,20}\b(msrv|rust edition|minimum (supported |required )?([\w.]+ )?version)\b",
        r"^(run|ran|apply|applied|running|applying)\b.{0,30}\b(pre-?commit|pyupgrade|black|isort|ruff|2to3|autoflake|cargo f(ix|mt)"
        r"|clippy|rustfmt|go ?fmt|prettier|eslint|rubocop|clang-format|codemods?)\b",
    )
    """Regular expressions, searched in the cleaned message without regard to case: releases and the like, from which nobody learns."""
    reverts: bool = True
    """Drop reverts, and the commits that they take back."""
    cherry_picks: bool = True
    """Drop commits that say that they were picked from another one, and all but one of those with the very same diff."""
    conflicts: bool = True
    """Drop commits that bring in the marks of a merge that was not finished (contents)."""
    generated: bool = True
    """Drop generated and vendored files of a commit, and commits that have no others (contents: a marker in the first lines)."""
    generated_paths: tuple[str, ...] = (
        r"(^|/)(vendor|vendored|_vendor|third_party|thirdparty|node_modules|bower_components|site-packages|dist|build)/",
        r"(_pb2(_grpc)?\.pyi?|\.pb\.go|\.min\.(js|css)|\.lock|-lock\.json|\.snap|\.generated\.\w+|_generated\.\w+)$",
        r"(^|/)(package-lock\.json|yarn\.lock|poetry\.lock|Cargo\.lock|go\.sum|versioneer\.py|_version\.py|ez_setup\.py|get-pip\.py)$",
    )
    """Regular expressions, searched in the path."""
    support_paths: tuple[str, ...] = (
        r"(^|/)(setup|conf|noxfile|toxfile|fabfile|dodo|release|wscript|SConstruct|manage)\.py$",
        r"(^|/)(docs?|documentation|examples?|benchmarks?|bench|asv_bench|scripts?|tools|ci|contrib|packaging|admin|\.[a-z]+)/",
    )
    """Regular expressions, searched in the path: code around the product (packaging, documentation, tooling), which is left out."""
    mass_renames: int = Field(5, ge=1)
    """Drop commits that rename more files than this without changing them."""
    formatting: bool = True
    """Drop commits after which every file means the same as before (contents: syntax trees alike, or text without spaces)."""
    documentation: bool = True
    """Drop commits that change Python's docstrings and comments and no code beside them (contents): no message says what to write."""
    tests_alone: bool = True
    """Drop commits that change tests and no other code: what they should test is seldom said (contents: a Rust file's own tests)."""
    test_paths: tuple[str, ...] = (
        r"(^|/)(__tests__|__mocks__|testdata|spec|specs|androidTest)/|^testing/",
        r"(^|/)tests?\.\w+$|[._-](test|tests|spec)\.\w+$|(^|/)test[-_][^/]*\.\w+$|[a-z](Test|Tests|Spec|IT)\.(java|kt|cs|scala|swift|php)$",
    )
    """Regular expressions, searched in the path: tests of other languages, beside what pytest's conventions call one."""
    additions_alone: bool = True
    """Drop commits all of whose code is in new files: a message of a line does not ask for a whole file."""


class MessagesConfig(Section):
    """What counts as a message that says what was done. Poor ones are written anew from structure or by the teacher."""

    verb_object: bool = True
    """A message must begin with a verb and its direct object (`fix the parser`), by part-of-speech tags."""
    tagger: Literal["auto", "spacy", "nltk", "words"] = "auto"
    """Where the tags come from. `auto`: spaCy's model, else NLTK's tagger, else TextBlob's lexicon, whichever is installed."""
    vague: tuple[str, ...] = (
        r"\b(wip|work in progress|preliminary|checkpoint|still needs?|first (pass|draft|cut|version)|starting to|for now)\b",
        r"\b(oops|oups|whoops|argh|ugh|lol|time to|hopefully|should be enough|almost|real close|proof of concept|progress|credits?)\b",
        r"\b(stuff|things|misc|miscellaneous|various|slightly|a (little )?bit|somewhat|a (couple|few)|other (changes|fixes))\b",
        r"\b(minor|small|some|more|general|random|little) (\w+ )?(fix|fixes|fixups?|changes?|tweaks?|edits?|clean-?ups?|updates?)\b",
        r"^(clean|cleaning|cleaned|tidy|polish|round|rounding)\w*( up| out)?( \w+){0,2}$",
        r"^(address|apply|incorporate)\w* .{0,20}\b(review|comments?|feedback|suggestions?)\b",
        r"\b(mostly|kinda|sort of) work\w*\b|^work(in|ing)? on\b|^wrap(ping)? (back|up)\b",
        r"^(make|making) .{0,40}\b(happy|pass|green|work)$",
        r"^(debug|continu|rearrang|experiment|play|try|tri|investigat|propos|re-?work|restructur)\w*\b",
        r"\b(newsfragments?|news fragment|changelog|release notes?)\b|\bsome\b.{0,20}\b(code|docs?|tests?|comments?)\b",
        r"^fix\w* .{0,20}\b(lints?|linter|flake8|pep8|pylint|ruff|mypy|clippy|eslint|tslint|golint|golangci|gofmt|rustfmt|rubocop)\b",
        r"^fix\w* .{0,20}\b(build|ci|travis|coverage|typos?)\b|^(add|expand|improve|increase|configure|extend)\w* .{0,20}\bcoverage\b",
        r"^(update|extend|improve|expand|tweak|reword|adjust|fix)\w* .{0,20}\b(usage|help|help texts?|man ?pages?|docstrings?|readme)$",
        r"^(add|remove|delete|drop|update|improve|fix)\w* .{0,20}\bcomments?$|\b(last|previous|next) commit\b",
        r"^(improve|change|enhance|update|adjust)\w* (the )?(\S+ ){1,2}"
        r"(options?|behaviou?r|logic|code|handling|implementation|function|method|class)$",
        r"\b(wonky|hacky|ugly|messy|crappy|moot)\b|^update [\w./-]+\.\w+$",
    )
    """Regular expressions, searched in a message's first line without regard to case: nobody can act on what says no more."""
    languages: tuple[str, ...] = ("en",)
    """ISO 639-1 codes of languages that messages may be in; none given: any."""


class OutliersConfig(Section):
    """Rows outside these percentiles of the whole set are dropped, as in CommitChronicle (arXiv 2308.07655)."""

    message_low: float = Field(0.0, ge=0.0, lt=0.5)
    """Shortest messages that are dropped, as a share of all; lengths are in characters."""
    message_high: float = Field(0.99, gt=0.5, le=1.0)
    """Longer messages than this share of all are dropped."""
    diff_low: float = Field(0.0, ge=0.0, lt=0.5)
    """Smallest diffs that are dropped, as a share of all; sizes are in characters."""
    diff_high: float = Field(0.99, gt=0.5, le=1.0)
    """Larger diffs than this share of all are dropped."""
    at_least: int = Field(200, ge=1)
    """Sets with fewer rows have no percentiles worth the name and lose none."""


class DuplicatesConfig(Section):
    """Rows whose normalised diffs are alike, over all repositories; of each group the oldest stays."""

    exact: bool = True
    """The very same diff but for spaces, and …"""
    near: bool = True
    """… nearly the same one, by MinHash over shingles of tokens."""
    similarity: float = Field(0.85, gt=0.0, le=1.0)
    """Estimated Jaccard similarity from which on two diffs are near duplicates."""
    permutations: int = Field(128, ge=16, le=512)
    """Hash functions of a MinHash: the error of the estimate falls with their square root."""
    shingle: int = Field(5, ge=1)
    """Tokens in one shingle."""


class ContaminationConfig(Section):
    """Rows that share n-grams with a benchmark are dropped and counted by benchmark."""

    sets: tuple[str, ...] = ()
    """Files (.jsonl, .json, .parquet), `datasets` folders or hub names of benchmarks and held-out tasks; a known name
    (humaneval, mbpp, livecodebench, bigcodebench, swe-bench) is looked up on the hub."""
    ngram: int = Field(13, ge=4)
    """Tokens in one n-gram; 13 is GPT-3's choice (arXiv 2005.14165, appendix C)."""
    share: float = Field(0.05, ge=0.0, lt=1.0)
    """Share of a row's n-grams that may be in a set; with 0 a single one drops the row. Code repeats itself more than prose does."""


class PrivacyConfig(Section):
    """Secrets (detect-secrets) and personal data in messages and sources."""

    secrets: Literal["drop", "redact", "keep"] = "drop"
    """What becomes of rows in which a secret was found."""
    personal: Literal["drop", "redact", "keep"] = "redact"
    """Addresses, telephone numbers and network addresses; authors' names and addresses are never in a row."""


class LicencesConfig(Section):
    """Licences by repository and by file (SPDX identifiers; a file's own `SPDX-License-Identifier` comes first)."""

    allow: tuple[str, ...] = PERMISSIVE
    """Rows under any other licence are dropped; `*` allows all."""
    unknown: Literal["drop", "keep"] = "drop"
    """What becomes of rows whose repository shows no licence that is known."""


class SplitConfig(Section):
    """Which rows are held out, so that nothing on one side gives the other away."""

    by: Literal["files", "repository", "time"] = "files"
    """`files`: files touched together stay together, by the hash that tasks are split by."""
    heldout: float = Field(0.0, ge=0.0, lt=1.0)
    """Share held out; with `time` the newest."""


class EnrichConfig(Section):
    """What the configured teacher adds. Without a teacher nothing is asked, whatever is set here."""

    instructions: Literal["poor", "all", "none"] = "poor"
    """Which rows get an instruction written from the diff and its surroundings: those whose message says little, all, none."""
    issues: str | None = None
    """File of the repository's issues, as `gh issue list --state all --json number,title,body` writes it; shown to the teacher
    beside the changes that name them."""
    explain: bool = False
    """Ask for the reasoning behind analysis and plan. It is in the rows; stage rows have it when `agent.prompt_style` is explained."""
    seeds: int = Field(0, ge=0)
    """New problems at most that are made up from diffs (OSS-Instruct, arXiv 2312.02120)."""
    judge: bool = False
    """Have rows scored, and …"""
    least_score: float = Field(0.0, ge=0.0, le=1.0)
    """… drop those below this score."""
    labels: str | None = None
    """File of rows that a person has labelled, against which the judge is calibrated (arXiv 2311.09476)."""


class MiningConfig(Section):
    """Which commits become rows."""

    max_files: int = Field(10, ge=1)
    """Commits that change more files are dropped."""
    max_changed_lines: int = Field(200, ge=1)
    """Commits whose diff has more changed lines are dropped."""
    min_message_words: int = Field(3, ge=0)
    """Messages with fewer words are poor: the statement is then written from the changed symbols and the examples in
    the tests that the commit adds; without such examples nothing says what was asked, and the commit is dropped."""
    bots: tuple[str, ...] = ("bot", "dependabot", "renovate", "github-actions")
    """Author names that contain one of these words are bots."""
    negatives: int = Field(3, ge=0)
    """Irrelevant symbols judged beside each relevant one."""
    near_negatives: int = Field(0, ge=0)
    """Further irrelevant symbols judged beside each relevant one: those with the nearest text, of its file and of others by turns."""
    offered: int = Field(6, ge=1)
    """Symbols that retrieval offers to analysis, as `agent.candidates` does in a rollout."""
    wrong_attempts: int = Field(1, ge=0, le=8)
    """Wrong edits made for each change: review learns from the first, planning and generation see one more rejected in each
    further row."""
    half_done: int = Field(0, ge=0, le=8)
    """First parts of each edit that review learns to send back, where the edit has parts that parse."""
    reader: Literal["git", "pydriller"] = "git"
    """Who reads commits: git's own listings, or PyDriller, which reads the same a hundred times slower."""
    languages: tuple[str, ...] = ()
    """Programming languages to keep, such as python; all that are known when none is given. Stage rows are Python's."""
    newest: int | None = Field(None, ge=1)
    """Commits of each repository at most, newest first; all of them when not given."""
    mechanical: MechanicalConfig = MechanicalConfig()
    messages: MessagesConfig = MessagesConfig()
    outliers: OutliersConfig = OutliersConfig()
    duplicates: DuplicatesConfig = DuplicatesConfig()
    contamination: ContaminationConfig = ContaminationConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    licences: LicencesConfig = LicencesConfig()
    split: SplitConfig = SplitConfig()
    enrich: EnrichConfig = EnrichConfig()
