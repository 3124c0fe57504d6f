"""The dataset card: README.md of a build, as the Hub reads it, and a person too."""

import json
import re
import shlex
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

import yaml

from data_builders.manifest import Manifest
from data_builders.plan import BuildOptions, level_of
from data_builders.sources.extras import extra_of
from ssl4rl_core.configs import TaskConfig, param_text
from ssl4rl_core.distributions import CORE, installed
from ssl4rl_core.plugins import registry

_SIZES = (
    (1e3, "n<1K"),
    (1e4, "1K<n<10K"),
    (1e5, "10K<n<100K"),
    (1e6, "100K<n<1M"),
    (1e7, "1M<n<10M"),
    (1e8, "10M<n<100M"),
)
# The Hub takes lower-case identifiers of a list of its own, and refuses a card with another one:
# https://huggingface.co/docs/hub/repositories-licenses. These are the ones that data come under.
_HUB_LICENSES = """
apache-2.0 mit bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear isc zlib unlicense wtfpl mpl-2.0 ms-pl cc cc0-1.0
cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0
cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0
cdla-permissive-2.0 c-uda etalab-2.0 odbl odc-by pddl gfdl gpl-2.0 gpl-3.0 lgpl-2.1 lgpl-3.0 agpl-3.0 eupl-1.1 eupl-1.2
unknown other
"""
_HUB_NAMES = {"odbl-1.0": "odbl", "odc-by-1.0": "odc-by", "pddl-1.0": "pddl", "c-uda-1.0": "c-uda"}
CARD = "README.md"
_FOLDER = "DIR"
_FOLDER_NOTE = f"Here {_FOLDER} is the folder that this file is in.\n"
_SAMPLES_MARK = "<!-- 'ssl4rl push' shows one sample of each task here -->\n"


class Example(NamedTuple):
    """The first config and split that holds anything, and its tars in webdataset's braces."""

    config: str
    split: str
    shards: str
    """ "train-{00000..00011}-of-00012.tar", and "train-{00000,00002}-of-00003.tar" where a tar would be empty."""


def dataset_card(manifest: Manifest, configs: Sequence[TaskConfig]) -> str:
    """The card of a build in a folder, as Markdown with YAML front matter."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from data_builders.encoding import EXTENSIONS

    plan = manifest.plan
    shown = example(manifest)
    loader = PackageLoader("data_builders", package_path="")
    environment = Environment(loader=loader, undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)
    return environment.get_template("card.md.jinja").render(
        front_matter=yaml.safe_dump(_front_matter(manifest, configs), sort_keys=False, allow_unicode=True),
        plan=plan,
        source=_plain(plan.source),
        configs=[_described(manifest, config) for config in configs],
        samples=sum(total.samples for total in manifest.totals),
        license=_plain(plan.license),
        skips=[(total, _plain(reason), items) for total in manifest.totals for reason, items in total.skips.items()],
        samples_mark=_SAMPLES_MARK,
        folder_note=_FOLDER_NOTE,
        datasets_lines=datasets_lines(_FOLDER, shown),
        webdataset_lines=_webdataset_lines(_FOLDER, shown),
        pictures=any(config.task.domain == "image" for config in configs),
        extension=EXTENSIONS[plan.options.image_format],
        percent=lambda chance: "by sample" if chance is None else f"{100 * chance:.3g} %",
        versions=_versions(manifest, configs),
        command=rebuild_command(manifest, configs),
    )


def published_card(card: str, manifest: Manifest, repo: str, url: str, revision: str, samples: str) -> str:
    """A build's card as it stands on the Hub: it loads from there, and shows samples. What else a user wrote stays.

    Args:
        url: where the repository's page is, "https://huggingface.co/datasets/user/name".
        samples: Markdown that shows one sample of each task.
    """
    shown = example(manifest)
    changes = {
        _SAMPLES_MARK: samples,
        _FOLDER_NOTE: "",
        datasets_lines(_FOLDER, shown): datasets_lines(repo, shown, revision),
        _webdataset_lines(_FOLDER, shown): _webdataset_lines(f"{url}/resolve/{revision}", shown),
    }
    for built, published in changes.items():
        card = card.replace(built, published)
    return card


def datasets_lines(where: str, shown: Example, revision: str = "main") -> str:
    """The two lines of Python that load an example with datasets."""
    at = "" if revision == "main" else f', revision="{revision}"'
    return (
        "from datasets import load_dataset\n"
        f'samples = load_dataset("{where}", "{shown.config}", split="{shown.split}"{at})'
    )


def _webdataset_lines(where: str, shown: Example) -> str:
    return (
        "import webdataset\n"
        f'samples = webdataset.WebDataset("{where}/{shown.config}/{shown.shards}", shardshuffle=False).decode("pil")'
    )


def example(manifest: Manifest) -> Example:
    """What the lines that load a build load: its first config and split with a sample."""
    total = next((total for total in manifest.totals if total.samples), manifest.totals[0])
    mine = (shard for shard in manifest.shards if (shard.config, shard.split) == (total.config, total.split))
    names = [shard.shard.split("-") for shard in mine if shard.samples] or [[total.split, "00000", "of", "00001"]]
    return Example(
        total.config, total.split, f"{total.split}-{_braces([name[1] for name in names])}-of-{names[0][3]}.tar"
    )


def _braces(numbers: Sequence[str]) -> str:
    """Ascending numbers in webdataset's braces: a shard that would be empty has no tar, and leaves a gap."""
    runs: list[list[str]] = []
    for number in numbers:
        # Of one width: what pads a range to its longer end would name other files.
        if not runs or int(number) != int(runs[-1][-1]) + 1 or len(number) != len(runs[-1][-1]):
            runs.append([])
        runs[-1].append(number)
    ranges = [run[0] if len(run) == 1 else f"{{{run[0]}..{run[-1]}}}" for run in runs]
    return ranges[0] if len(ranges) == 1 else f"{{{','.join(ranges)}}}"


def rebuild_command(manifest: Manifest, configs: Sequence[TaskConfig]) -> str:
    """The command line that builds these bytes again; what is at its default is left out."""
    plan = manifest.plan
    words = ["ssl4rl", "build"]
    for config in configs:
        words += ["--task", spec(config)]
    words += ["--source", plan.source, "--out", _FOLDER]
    for name, value in plan.options:
        if value != BuildOptions.model_fields[name].default:
            flag = "--" + name.replace("_", "-")
            words += [flag] if value is True else [flag, str(value)]
    return shlex.join(words)


def spec(config: TaskConfig) -> str:
    """A config as a user would name it: "jigsaw:hard?gap=0.1"."""
    level = level_of(config)
    usual = config.task.levels[level].model_dump(mode="json")
    changes = {
        param: param_text(value)
        for param, value in config.params.model_dump(mode="json").items()
        if value != usual[param]
    }
    return f"{config.task.name}:{level}" + (f"?{urlencode(changes)}" if changes else "")


def _front_matter(manifest: Manifest, configs: Sequence[TaskConfig]) -> dict[str, Any]:
    samples = sum(total.samples for total in manifest.totals)
    categories = {"image": "visual-question-answering"}
    return {
        **hub_license(manifest.plan.license),
        "task_categories": sorted({categories.get(config.task.domain, "question-answering") for config in configs}),
        "tags": ["ssl4rl", *sorted({config.task.name for config in configs})],
        "size_categories": [next((name for limit, name in _SIZES if samples < limit), "n>100M")],
        "configs": [
            {
                "config_name": config.name,
                "data_files": [
                    {"split": total.split, "path": f"{config.name}/{total.split}-*.tar"}
                    for total in manifest.totals
                    if total.config == config.name and total.shards
                ],
            }
            for config in configs
            if any(total.shards for total in manifest.totals if total.config == config.name)
        ],
    }


def hub_license(spdx: str) -> dict[str, str]:
    """The front matter that states a licence by its SPDX identifier, in the Hub's words; nothing where it is empty."""
    if not spdx:
        return {}
    lower = spdx.lower()
    hubs = _HUB_NAMES.get(lower, lower)
    if hubs in _HUB_LICENSES.split():
        return {"license": hubs}
    return {"license": "other", "license_name": re.sub(r"[^a-z0-9.]+", "-", lower).strip("-") or "other"}


def _described(manifest: Manifest, config: TaskConfig) -> dict[str, Any]:
    return {
        "name": config.name,
        "about": _plain((type(config.task).__doc__ or "").strip().partition("\n")[0]),
        "chance": manifest.config(config.name)["chance"],
        "totals": [total for total in manifest.totals if total.config == config.name],
    }


def _versions(manifest: Manifest, configs: Sequence[TaskConfig]) -> str:
    """What to install for the same bytes, as a shell takes it; what a file or a session brought has no distribution."""
    plan, known = manifest.plan, registry()
    extra = extra_of(plan.source)
    versions = {f"ssl4rl-core[{extra}]" if extra else "ssl4rl-core": plan.ssl4rl}
    of_source = known.origin("source", plan.source.partition(":")[0])
    for distribution in sorted({of_source, *(known.origin("task", config.task.name) for config in configs)} - {CORE}):
        if found := installed(distribution):
            versions[distribution] = found.version
    versions.update(plan.libraries)
    return shlex.join(f"{name}=={version}" for name, version in versions.items())


def _plain(text: str) -> str:
    """Text from elsewhere, so that it stays within its cell or line."""
    return json.dumps(text, ensure_ascii=False)[1:-1].replace("|", "\\|").replace('\\"', '"')
