"""The dataset card: README.md of a build, as the Hub reads it, and a person too."""

import json
import shlex
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from data_builders.manifest import Manifest
from data_builders.plan import BuildOptions
from ssl4rl_core.answers import canonical_json
from ssl4rl_core.configs import TaskConfig

_SIZES = (
    (1e3, "n<1K"),
    (1e4, "1K<n<10K"),
    (1e5, "10K<n<100K"),
    (1e6, "100K<n<1M"),
    (1e7, "1M<n<10M"),
    (1e8, "10M<n<100M"),
)


def dataset_card(manifest: Manifest, configs: Sequence[TaskConfig]) -> str:
    """The card as Markdown with YAML front matter."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from data_builders.encoding import EXTENSIONS

    plan = manifest.plan
    samples = sum(total.samples for total in manifest.totals)
    described = [_described(manifest, config) for config in configs]
    loader = PackageLoader("data_builders", package_path="")
    environment = Environment(loader=loader, undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)
    return environment.get_template("card.md.jinja").render(
        plan=plan,
        configs=described,
        samples=samples,
        size=next((name for limit, name in _SIZES if samples < limit), "n>100M"),
        license=_plain(plan.license),
        tags=["ssl4rl", *sorted({config.task.name for config in configs})],
        skips=[(total, _plain(reason), items) for total in manifest.totals for reason, items in total.skips.items()],
        example=_example(manifest),
        extension=EXTENSIONS[plan.options.image_format],
        percent=lambda chance: "by sample" if chance is None else f"{100 * chance:.3g} %",
        versions=", ".join(f"{name} {version}" for name, version in plan.libraries.items()),
        command=rebuild_command(manifest, configs),
    )


def rebuild_command(manifest: Manifest, configs: Sequence[TaskConfig]) -> str:
    """The command line that builds these bytes again; what is at its default is left out."""
    plan = manifest.plan
    words = ["ssl4rl", "build"]
    for config in configs:
        words += ["--task", spec(config)]
    words += ["--source", plan.source, "--out", "DIR"]
    for name, value in plan.options:
        if value != BuildOptions.model_fields[name].default:
            flag = "--" + name.replace("_", "-")
            words += [flag] if value is True else [flag, str(value)]
    return shlex.join(words)


def spec(config: TaskConfig) -> str:
    """A config as a user would name it: "jigsaw:hard?gap=0.1"."""
    # A level with changed params is called after the level it came from: "hard-gap-0-1".
    level = max((level for level in config.task.levels if f"{config.level}-".startswith(f"{level}-")), key=len)
    usual = config.task.levels[level].model_dump(mode="json")
    changes = {
        param: value if isinstance(value, str) else canonical_json(value)
        for param, value in config.params.model_dump(mode="json").items()
        if value != usual[param]
    }
    return f"{config.task.name}:{level}" + (f"?{urlencode(changes)}" if changes else "")


def _described(manifest: Manifest, config: TaskConfig) -> dict[str, Any]:
    totals = [total for total in manifest.totals if total.config == config.name]
    return {
        "name": config.name,
        "about": _plain((type(config.task).__doc__ or "").strip().partition("\n")[0]),
        "chance": manifest.config(config.name)["chance"],
        "totals": totals,
        "splits": [total for total in totals if total.shards],
    }


def _example(manifest: Manifest) -> dict[str, str]:
    """The first split that holds anything, and its tars in webdataset's braces."""
    total = next((total for total in manifest.totals if total.samples), manifest.totals[0])
    mine = (shard for shard in manifest.shards if (shard.config, shard.split) == (total.config, total.split))
    numbers = [shard.shard.partition("-")[2] for shard in mine if shard.samples] or ["00000-of-00001"]
    first, last = numbers[0], numbers[-1]
    braces = first if first == last else "{" + first[:5] + ".." + last[:5] + "}" + first[5:]
    return {"name": total.config, "split": total.split, "numbers": braces}


def _plain(text: str) -> str:
    """Text from elsewhere, so that it stays within its cell or line."""
    return json.dumps(text, ensure_ascii=False)[1:-1].replace("|", "\\|").replace('\\"', '"')
