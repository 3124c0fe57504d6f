"""`ssl4rl export parquet`: one table for each config and split, as `datasets`, the Hub and data frames read it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_builders.card import hub_license
from data_builders.exporters.parquet_files import ParquetFiles
from data_builders.selection import SPLITS
from ssl4rl_core.exporters import Advance, ExportedFile, Exporter, ExportOptions, StoredSamples
from ssl4rl_core.samples import Record, Split

if TYPE_CHECKING:
    from datasets import Features


class Parquet(Exporter[ExportOptions]):
    """Parquet tables for datasets, the Hub and data frames: `images`, and the fields of the record.

    OUT/CONFIG/train.parquet and OUT/CONFIG/test.parquet, in several files each where they are large, and a README.md
    that makes `datasets.load_dataset(OUT, CONFIG)` find them. Pictures keep the bytes that they have in the build.
    """

    name = "parquet"

    def export(self, samples: StoredSamples, out: Path, options: ExportOptions, advance: Advance) -> list[ExportedFile]:
        """Write the tables and the README.md; raises as reading the samples does."""
        files: list[ExportedFile] = []
        for config in samples.configs:
            for split in SPLITS:
                files += _table(samples, config, split, out / config, advance)
        readme = out / "README.md"
        readme.write_text(_readme(samples), encoding="utf-8")
        return [*files, ExportedFile(readme, 0)]


def _table(samples: StoredSamples, config: str, split: Split, folder: Path, advance: Advance) -> list[ExportedFile]:
    with ParquetFiles(folder, split, features().arrow_schema) as table:
        for index in range(samples.size(config, split)):
            record, pictures = samples.stored(config, split, index)
            images = [{"bytes": picture, "path": None} for picture in pictures]
            table.add({"images": images, **record.model_dump()}, sum(map(len, pictures)))
            advance(1)
        return table.finish()


def features() -> "Features":
    """The columns, the same for every task: `images`, a list of pictures, and the record's fields."""
    from datasets import Features, Image, List, Value

    fields = {name: Value(_TYPES.get(field.annotation, "string")) for name, field in Record.model_fields.items()}
    return Features({"images": List(Image()), **fields})


_TYPES: dict[Any, str] = {int: "int64", float: "float64"}


def _readme(samples: StoredSamples) -> str:
    import yaml

    sizes = {
        config: {split: samples.size(config, split) for split in SPLITS if samples.size(config, split)}
        for config in samples.configs
    }
    front: dict[str, Any] = {**hub_license(samples.license), "tags": ["ssl4rl"]}
    front["configs"] = [
        {
            "config_name": config,
            "data_files": [{"split": split, "path": f"{config}/{split}*.parquet"} for split in splits],
        }
        for config, splits in sizes.items()
        if splits
    ]
    first = front["configs"][0]["config_name"]
    lines = [f"| {config} | {split} | {count} |" for config, splits in sizes.items() for split, count in splits.items()]
    table = "\n".join(["| config | split | samples |", "|---|---|---:|", *lines])
    return (
        f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n\n"
        "# Questions with checkable answers\n\n"
        f"Made by ssl4rl and exported with `ssl4rl export parquet`.\n\n{table}\n\n"
        "```python\nfrom datasets import load_dataset\n"
        f'samples = load_dataset("DIR", "{first}")\n```\n'
    )
