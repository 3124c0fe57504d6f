"""An exporter of one's own: questions as JSON lines, pictures as files beside them.

    ssl4rl --plugin examples/extensions/jsonl_exporter.py export jsonl runs/photos --out runs/photos-jsonl

Every field of its options becomes a flag of its command.
"""

import json
from pathlib import Path

from ssl4rl_core import Field, hookimpl
from ssl4rl_core.exporters import Advance, ExportedFile, Exporter, ExportOptions, StoredSamples
from ssl4rl_core.samples import Split

SPLITS: tuple[Split, ...] = ("train", "test")


class JsonLinesOptions(ExportOptions):
    answers: bool = Field(default=True, description="Write the right answers too.")


class JsonLines(Exporter[JsonLinesOptions]):
    """Questions as JSON lines, with pictures as files: for scripts, and for people to read."""

    name = "jsonl"
    options_type = JsonLinesOptions

    def export(
        self, samples: StoredSamples, out: Path, options: JsonLinesOptions, advance: Advance
    ) -> list[ExportedFile]:
        (out / "pictures").mkdir()
        files = []
        for split in SPLITS:
            path = out / f"{split}.jsonl"
            with path.open("w", encoding="utf-8") as file:
                for config in samples.configs:
                    for index in range(samples.size(config, split)):
                        line = self._line(samples, out, config, split, index, options)
                        file.write(json.dumps(line, ensure_ascii=False) + "\n")
                        advance(1)
            files.append(ExportedFile(path, sum(samples.size(config, split) for config in samples.configs)))
        return files

    def _line(
        self, samples: StoredSamples, out: Path, config: str, split: Split, index: int, options: JsonLinesOptions
    ) -> dict[str, object]:
        record, pictures = samples.stored(config, split, index)
        names = []
        for number, picture in enumerate(pictures):
            # What a picture is, its first bytes say: a build has one kind throughout.
            ending = "jpg" if picture.startswith(b"\xff\xd8") else "png" if picture.startswith(b"\x89PNG") else "webp"
            names.append(f"pictures/{config}-{split}-{index}-{number}.{ending}")
            (out / names[-1]).write_bytes(picture)
        answer = {"answer": record.answer_text} if options.answers else {}
        return {"config": config, "item": record.item, "question": record.question, **answer, "pictures": names}


@hookimpl
def ssl4rl_exporters() -> list[type[Exporter]]:
    return [JsonLines]
