"""A recipe says what it means, and every mistake in one is a line that names the place."""

import pytest

from ssl4rl_core.errors import UsageError
from ssl4rl_core.training.recipe import FormatStart, Recipe, load_recipe, parse_recipe

GOOD = """\
model: Qwen/Qwen2.5-VL-3B-Instruct
data:
  build: builds/photos
tasks:
  - rotation:easy
  - {task: jigsaw, weight: 2}
grpo:
  learning_rate: 1e-6
  max_steps: 100
output: runs/one
"""


def test_names_alone_stand_for_blocks():
    recipe = parse_recipe(GOOD)
    assert recipe.model.name == "Qwen/Qwen2.5-VL-3B-Instruct"
    assert [(task.task, task.weight) for task in recipe.tasks] == [("rotation:easy", 1.0), ("jigsaw", 2.0)]
    assert (recipe.rewards.answer, recipe.rewards.format) == (1.0, 0.1)


def test_a_recipe_written_out_reads_back_the_same():
    recipe = parse_recipe(GOOD)
    assert parse_recipe(recipe.to_yaml()).model_dump() == recipe.model_dump()


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("output: runs/one", "outptu: runs/one", 10, ("outptu", "did you mean 'output'")),
        ("  build: builds/photos", "  biuld: builds/photos", 3, ("data.biuld", "did you mean 'build'")),
        ("weight: 2", "wieght: 2", 6, ("tasks.1.wieght", "did you mean 'weight'")),
        ("weight: 2", "weight: -2", 6, ("tasks.1.weight", "greater than 0")),
        ("  build: builds/photos", "  build: a\n  source: folder:b", 2, ("data", "either build or source")),
        ("  build: builds/photos", "  build: a\n  variants: 3", 2, ("data", "variants")),
        ("  max_steps: 100", "  max_steps: 100\n  max_steps: 200", 10, ("max_steps", "given twice")),
        ("grpo:", "grpo: [", 9, ("not YAML",)),
    ],
)
def test_a_mistake_is_one_line_naming_file_line_and_key(tmp_path, old, new, line, says):
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(UsageError) as caught:
        load_recipe(path)
    message = str(caught.value)
    assert message.startswith(f"{path}, line {line}")
    assert all(part in message for part in says)
    assert "\n" not in message


def test_a_missing_key_is_named():
    with pytest.raises(UsageError, match="recipe, output: this key is missing"):
        parse_recipe(GOOD.replace("output: runs/one\n", ""))


def test_a_key_with_nothing_behind_it_is_as_if_it_were_not_there():
    text = GOOD.replace("output", "evaluate:\nrewards:\n  format:\ncurriculum:\ngrpo:\nseed:\noutput", 1)
    recipe = parse_recipe(text.replace("grpo:\n  learning_rate: 1e-6\n  max_steps: 100\n", ""))
    usual = parse_recipe(GOOD, changes=["grpo={}"])
    assert recipe.model_dump() == usual.model_dump()
    assert parse_recipe(GOOD, changes=["tasks=null"]).tasks == []


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("output: runs/one", "output:", "mine.yaml, line 10, output: this key is missing, or has nothing behind it"),
        ("data:\n  build: builds/photos", "data:", "mine.yaml, line 2, data: this key is missing, or has nothing"),
        ("output", "evaluate: 3\noutput", "mine.yaml, line 10, evaluate: a block of keys belongs here, not 3"),
        ("{task: jigsaw, weight: 2}", "", "mine.yaml, line 6, tasks.1: a block of keys belongs here, not nothing"),
        ("output", "evalaute:\noutput", "mine.yaml, line 10, evalaute: there is no such key; did you mean 'evaluate'"),
    ],
)
def test_a_block_that_is_none_is_named(old, new, says):
    with pytest.raises(UsageError) as caught:
        parse_recipe(GOOD.replace(old, new), "mine.yaml")
    assert str(caught.value).startswith(says) and "\n" not in str(caught.value)


def test_a_missing_file_is_named():
    with pytest.raises(UsageError, match=r"nowhere\.yaml: No such file"):
        load_recipe("nowhere.yaml")


def test_a_source_needs_tasks():
    with pytest.raises(UsageError, match="tasks: name at least one"):
        parse_recipe("model: m\ndata: {source: 'folder:a'}\noutput: o\n")


def test_changes_are_read_as_yaml_and_errors_name_them():
    recipe = parse_recipe(GOOD, changes=["grpo.max_steps=20", "model.dtype=bfloat16", "evaluate.limit=4"])
    assert recipe.grpo["max_steps"] == 20
    assert recipe.model.name == "Qwen/Qwen2.5-VL-3B-Instruct"
    assert (recipe.model.dtype, recipe.evaluate.limit) == ("bfloat16", 4)
    with pytest.raises(UsageError, match=r"--set evaluate\.limit: "):
        parse_recipe(GOOD, changes=["evaluate.limit=0"])
    with pytest.raises(UsageError, match="KEY=VALUE"):
        parse_recipe(GOOD, changes=["grpo"])


def test_a_mistake_in_a_change_is_not_looked_for_in_the_file():
    for change, says in [
        (
            "tasks=[rotation, {task: jigsaw, wieght: 2}]",
            "--set tasks, tasks.1.wieght: there is no such key; did you mean",
        ),
        ("data={biuld: a}", "--set data, data.biuld: there is no such key; did you mean 'build'"),
    ]:
        with pytest.raises(UsageError) as caught:
            parse_recipe(GOOD, changes=[change])
        assert str(caught.value).startswith(says)


def test_an_alias_within_itself_is_one_line():
    with pytest.raises(UsageError, match=r"^mine\.yaml: an alias .* stands within what it names"):
        parse_recipe("model: m\ndata: &a [*a]\noutput: o\n", "mine.yaml")


def test_a_build_is_asked_as_it_is_wherever_it_is_named():
    mixed = GOOD.replace("build: builds/photos", "source: folder:photos")
    of_its_own = "tasks=[rotation, {task: jigsaw, data: {build: builds/tiles}}]"
    for text, changes, says in [
        (GOOD, ["evaluate.variants=2"], "--set evaluate.variants: the build builds/photos has fixed"),
        (mixed, [of_its_own, "evaluate.balance=true"], "--set evaluate.balance: the build builds/tiles has fixed"),
    ]:
        with pytest.raises(UsageError) as caught:
            parse_recipe(text, changes=changes)
        assert str(caught.value).startswith(says)
    elsewhere = "tasks=[{task: rotation, data: {source: 'folder:photos'}}]"
    assert parse_recipe(GOOD, changes=[elsewhere, "evaluate.variants=2"]).evaluate.variants == 2


def test_settings_of_trl_are_checked_by_trl_and_named(tmp_path):
    from ssl4rl_core.training.settings import grpo_config

    def config(text: str):
        return grpo_config(parse_recipe(GOOD.replace("  max_steps: 100", text), "mine.yaml"))

    assert config("  num_generations: 4").learning_rate == 1e-6  # which YAML reads as text
    for text, says in [
        ("  num_generatoins: 4", "mine.yaml, line 9, grpo.num_generatoins: .*did you mean 'num_generations'"),
        ("  beta: much", "mine.yaml, line 9, grpo.beta: .*'much'"),
        ("  num_generations: 1", "mine.yaml, line 7, grpo: .*at least 2 generations"),
        ("  seed: 3", "mine.yaml, line 9, grpo.seed: set 'seed' at the top"),
        ("  eval_on_start: true", "mine.yaml, line 9, grpo.eval_on_start: set 'evaluate'"),
        ("  generation_batch_size: 12", "mine.yaml, line 9, grpo.generation_batch_size: "),
    ]:
        with pytest.raises(UsageError, match=says):
            config(text)


def test_settings_of_lora_are_checked_and_named():
    from ssl4rl_core.training.settings import lora_config

    lora = lora_config(parse_recipe(GOOD + "peft:\n  r: 4\n  target_modules: all-linear\n"))
    assert lora is not None
    assert lora.r == 4
    with pytest.raises(UsageError, match=r"recipe, line 12, peft\.rank: LoraConfig has no field"):
        lora_config(parse_recipe(GOOD + "peft:\n  rank: 4\n"))


def test_recipes_that_ship_are_valid(request):
    from ssl4rl_core.training.settings import grpo_config, lora_config

    recipes = sorted((request.config.rootpath / "recipes").glob("*.yaml"))
    assert recipes
    for path in recipes:
        recipe: Recipe = load_recipe(path, ["grpo.bf16=false"])
        # The default is for models that have learned something; these begin with random weights.
        if recipe.format_start is not None:
            assert recipe.format_start.learning_rate == 1e-3 > 10 * FormatStart().learning_rate
        config = grpo_config(recipe)
        # Twenty epochs of a model of 3B would leave some terabytes.
        assert config.save_strategy == "no" or config.save_total_limit == 2
        # Resumed in the middle of a batch, a run begins that batch anew.
        passes = (config.steps_per_generation or 1) * config.num_iterations
        assert config.save_strategy == "no" or config.save_steps * config.gradient_accumulation_steps % passes == 0
        lora_config(recipe)
