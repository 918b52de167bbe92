"""`forge data export` and `forge data mix`: a set, or a mixture of public ones, in a format of the field."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rich.console import Console

from forge.errors import ConfigError
from forge.mining.formats import FORMATS
from forge.mining.formats.format import Format
from forge.mining.public.load import Exercises, from_hub, load
from forge.mining.public.mix import Mixture, Recipe, Share, mix
from jobs.data.rows import examples_in, rows_of


class Source(Share):
    """A share and where its exercises are: a file or folder, or the hub when there is none."""

    path: str | None = None
    set: str | None = None
    """Which public set the file is, where its columns do not tell."""


class MixFile(BaseModel):
    """What a recipe's file says."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    total: int = Field(ge=1)
    seed: int = 0
    sources: dict[str, Source] = Field(min_length=1)


def format_named(name: str) -> Format:
    """The format. Raises `ConfigError` that names them all."""
    if name not in FORMATS:
        known = "\n".join(f"  {form.name:<18} {form.help}" for form in FORMATS.values())
        raise ConfigError(f"there is no format {name}; the formats are\n{known}")
    return FORMATS[name]


def export(root: Path, form: Format, folder: Path, stage: str | None, console: Console) -> None:
    """Write the rows of a set, or those of one of its stages, and print what was written."""
    _written(form.write(rows_of(root) if stage is None else examples_in(root, stage), folder), console)


def export_mixture(recipe: Path, form: Format, folder: Path, console: Console) -> Mixture:
    """Mix public sets as a file says, write the mixture, and print what was taken of each."""
    wanted = read_recipe(recipe)
    sources = {name: _exercises(name, source, recipe.parent) for name, source in wanted.sources.items()}
    found = mix(sources, _recipe(wanted))
    for name, taken in found.counts.items():
        console.print(f"  {name:<28} {taken.taken:>9,} taken of {taken.read:,} read, {taken.wanted:,} wanted", highlight=False)
        for reason, number in (*sources[name].refused.items(), *taken.dropped.items()):
            console.print(f"  {'':<28} {number:>9,} left out: {reason}", highlight=False)
    _written(form.write(found, folder), console)
    return found


def read_recipe(path: Path) -> MixFile:
    """A recipe from YAML. Raises `ConfigError` with one sentence."""
    try:
        return MixFile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read the recipe {path}: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"{path}: {where}: {first['msg']}; give total and sources, each with path (or the hub's name as its own) and weight"
        ) from error


def _recipe(file: MixFile) -> Recipe:
    shares = {name: Share.model_validate(source.model_dump(exclude={"path", "set"})) for name, source in file.sources.items()}
    return Recipe(total=file.total, seed=file.seed, shares=shares)


def _exercises(name: str, source: Source, folder: Path) -> Exercises:
    if source.path is None:
        return from_hub(source.set or name)
    path = Path(source.path).expanduser()
    return load(path if path.is_absolute() else folder / path, source.set)


def _written(files: list[Path], console: Console) -> None:
    for file in files:
        console.print(f"  {file}", highlight=False, soft_wrap=True)
