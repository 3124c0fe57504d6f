"""The tasks for lighteval, against the real package: its registry, its pipeline, its vision models."""

# The package cannot be installed beside verifiers, whose pins contradict it.
# pyright: reportMissingImports=false

import importlib.metadata
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("lighteval.tasks.registry", reason="needs the package lighteval, which no extra brings")

from lighteval.logging.evaluation_tracker import EvaluationTracker
from lighteval.metrics import apply_metric
from lighteval.models.abstract_model import LightevalModel, ModelConfig
from lighteval.models.model_output import ModelResponse
from lighteval.models.transformers.vlm_transformers_model import VLMTransformersModelConfig
from lighteval.pipeline import ParallelismManager, Pipeline, PipelineParameters
from lighteval.tasks.lighteval_task import LightevalTask
from lighteval.tasks.registry import Registry
from lighteval.tasks.requests import Doc, SamplingMethod
from lighteval.utils.cache_management import SampleCache, cached

from data_builders.builder import build
from data_builders.reader import BuiltSamples
from ssl4rl_core.errors import UsageError
from ssl4rl_core.integrations.lighteval import tasks
from ssl4rl_core.plugins import registry
from ssl4rl_core.samples import Record, Sample
from ssl4rl_core.testing.adversaries import completions
from ssl4rl_core.testing.memory import synthetic_picture
from ssl4rl_core.training.rewards import Judge, reward_functions
from ssl4rl_core.verification import truth

if not {"rotation", "jigsaw"} <= set(registry().tasks):
    pytest.skip("needs the plugins rotation and jigsaw", allow_module_level=True)

TILES = "jigsaw:easy?form=tiles"
CONFIGS = ["rotation-easy", "jigsaw-easy-form-tiles"]
FORMAT = registry().format("think_answer")
REWARDS = ("answer", "format")


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> str:
    folder: Path = tmp_path_factory.mktemp("photos")
    for number in range(12):
        synthetic_picture(number, 120, 120).save(folder / f"{number}.png")
    return f"folder:{folder}"


@pytest.fixture(scope="module")
def built(photos, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("built") / "build"
    build(["rotation:easy", TILES], photos, out, test_fraction=0.5)
    return out


@pytest.fixture(scope="module", autouse=True)
def alone(tmp_path_factory) -> Iterator[None]:
    """None of lighteval's own tasks, of which some ask the network when they are imported; nothing kept in the home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Registry, "_load_from_files", staticmethod(lambda files, prefix: {}))
        patch.setattr(Registry, "_load_from_subdirs", staticmethod(lambda folders: {}))
        patch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))
        yield


def tasks_file(folder: Path, built: Path, **options: Any) -> str:
    """What a user writes."""
    file = folder / "questions.py"
    arguments = "".join(f", {name}={value!r}" for name, value in options.items())
    file.write_text(
        f"from ssl4rl_core.integrations.lighteval import tasks\nTASKS_TABLE = tasks({str(built)!r}{arguments})\n"
    )
    return str(file)


@pytest.fixture(scope="module")
def loaded(built, tmp_path_factory) -> dict[str, LightevalTask]:
    found = Registry(tasks="ssl4rl", custom_tasks=tasks_file(tmp_path_factory.mktemp("file"), built)).load_tasks()
    LightevalTask.load_datasets(found)
    return found


@pytest.fixture(scope="module")
def asked(loaded) -> list[tuple[LightevalTask, Doc]]:
    return [(task, doc) for task in loaded.values() for doc in task.get_docs()]


def by_item(built: Path, config: str) -> dict[str, Sample]:
    samples = BuiltSamples(built)
    each = [samples.sample(config, "test", number) for number in range(samples.size(config, "test"))]
    return {sample.record.item: sample for sample in each}


def record_of(doc: Doc) -> Record:
    return Record(**(doc.specific or {})["record"])


def test_lighteval_finds_the_tasks_and_asks_each_question_once(loaded, asked, built):
    assert set(loaded) == {f"ssl4rl:{config}|0" for config in CONFIGS}
    for config in CONFIGS:
        docs = {record_of(doc).item: doc for task, doc in asked if task.name == f"ssl4rl:{config}"}
        samples = by_item(built, config)
        assert len(docs) == len(samples) >= 3
        for item, sample in samples.items():
            assert record_of(docs[item]) == sample.record
            shown = [picture.tobytes() for picture in docs[item].images or []]
            assert shown == [picture.tobytes() for picture in sample.images]


def test_the_words_of_a_question_whose_pictures_come_after_it(asked):
    [turned, tiles] = [next(doc for task, doc in asked if task.name == f"ssl4rl:{config}") for config in CONFIGS]
    assert turned.query.startswith("This picture was upright and has been turned")
    assert turned.query.endswith("one of 0, 90, 180, 270, inside <answer> </answer>.")
    # Where a picture is spoken of amid the text, in the words that the composite layout has for it.
    assert tiles.query.startswith(
        "Tile 1: [picture 1]\nTile 2: [picture 2]\nTile 3: [picture 3]\nTile 4: [picture 4]\nA picture"
    )
    assert len(tiles.images or []) == 4


def trained_on(record: Record, text: str) -> list[float]:
    """The rewards that TRL gets from us in `ssl4rl train`."""
    judge = Judge(FORMAT, registry())
    return [reward(completion_ids=[[0]], record=[record])[0] for reward in reward_functions(judge, lambda ids: text)]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_the_metrics_are_the_trainer_s_rewards(data, asked):
    task, doc = data.draw(st.sampled_from(asked))
    record = record_of(doc)
    answer, _ = truth(record, registry())
    right = FORMAT.wrap(answer.text(), "hm")
    text = data.draw(st.one_of(st.just(right), st.text(), completions(answer, FORMAT)))
    # With one string, as its vision models say it, and after it took the reasoning out.
    for said in ([text], text):
        response = ModelResponse(text=said, text_post_processed=["other"])  # pyright: ignore[reportArgumentType]
        [scores] = apply_metric([response], [doc], list(task.metrics))
        each = trained_on(record, text)
        assert scores == {"answer": each[0], "format": each[1], "chance": record.chance}
    if text == right:
        assert each == [1.0, 1.0]


def test_reasoning_that_a_server_took_out_counts(asked):
    task, doc = asked[0]
    response = ModelResponse(text=[f"<answer>{record_of(doc).answer_text}</answer>"], reasonings=["hm"])
    assert apply_metric([response], [doc], list(task.metrics))[0]["answer"] == 1
    response.reasonings = []
    assert apply_metric([response], [doc], list(task.metrics))[0]["answer"] == 0


def test_several_completions_of_a_question_count_alike(asked):
    task, doc = asked[0]
    right = FORMAT.wrap(record_of(doc).answer_text)
    [scores] = apply_metric([ModelResponse(text=[right, "no", "no", right])], [doc], list(task.metrics))
    assert (scores["answer"], scores["format"]) == (0.5, 0.5)


class Oracle(LightevalModel):
    """Knows the answers to the items of which the number is even, and answers as lighteval's own models do."""

    def __init__(self, folder: Path) -> None:
        self.config = ModelConfig(model_name="oracle", cache_dir=str(folder))
        self._cache = SampleCache(self.config)

    tokenizer = add_special_tokens = max_length = property(lambda self: None)  # pyright: ignore

    @cached(SamplingMethod.GENERATIVE)
    def greedy_until(self, docs: list[Doc]) -> list[ModelResponse]:
        return [ModelResponse(text=[self.say(record_of(doc))]) for doc in docs]

    @staticmethod
    def say(record: Record) -> str:
        knows = int(Path(record.item).stem) % 2 == 0
        return FORMAT.wrap(record.answer_text, "hm") if knows else "<think>hm</think>"

    def loglikelihood(self, docs: list[Doc]) -> list[ModelResponse]:
        raise NotImplementedError

    loglikelihood_rolling = loglikelihood


def evaluated(folder: Path, file: str, names: str, **model: Any) -> Pipeline:
    pipeline = Pipeline(
        tasks=names,
        pipeline_parameters=PipelineParameters(launcher_type=ParallelismManager.NONE, custom_tasks_directory=file),
        evaluation_tracker=EvaluationTracker(output_dir=str(folder / "out"), save_details=True),
        **model,
    )
    pipeline.evaluate()
    pipeline.save_and_push_results()
    return pipeline


needs_pipeline = pytest.mark.skipif(
    int(importlib.metadata.version("xxhash").split(".")[0]) >= 4, reason="lighteval 0.13 hashes text with xxhash < 4"
)


@needs_pipeline
def test_an_evaluation_by_lighteval(built, tmp_path):
    file = tasks_file(tmp_path, built)
    evaluated(tmp_path, file, "ssl4rl:rotation-easy", model=Oracle(tmp_path / "cache"))
    # What is on disk for the user. The second time, the answers come out of lighteval's cache.
    evaluated(tmp_path, file, "ssl4rl:rotation-easy", model=Oracle(tmp_path / "cache"))
    records = [sample.record for sample in by_item(built, "rotation-easy").values()]
    each = [trained_on(record, Oracle.say(record)) for record in records]
    means = {name: sum(scores) / len(each) for name, scores in zip(REWARDS, zip(*each, strict=True), strict=True)}
    assert 0 < means["answer"] < 1
    written = [json.loads(path.read_text()) for path in sorted((tmp_path / "out").rglob("results_*.json"))]
    assert len(written) == 2
    for result in written:
        scores = result["results"]["ssl4rl:rotation-easy|0"]
        assert {name: scores[name] for name in REWARDS} == pytest.approx(means)
        assert scores["chance"] == 0.25


@needs_pipeline
def test_a_vision_model_sees_every_picture(built, tmp_path):
    from ssl4rl_core.testing.tiny import tiny_vlm

    questions = [sample.record.question for config in CONFIGS for sample in by_item(built, config).values()]
    vlm = tiny_vlm(tmp_path / "vlm", questions, pixels=28, hidden=32, layers=1)
    model = VLMTransformersModelConfig(
        model_name=str(vlm),
        device="cpu",
        batch_size=2,
        cache_dir=str(tmp_path / "cache"),
        generation_parameters={"min_new_tokens": 1},  # pyright: ignore[reportArgumentType]
    )
    pipeline = evaluated(tmp_path, tasks_file(tmp_path, built, max_tokens=4), "ssl4rl", model_config=model)
    details = pipeline.get_details()
    for config, pictures in zip(CONFIGS, (1, 4), strict=True):
        answered = details[f"ssl4rl:{config}|0"]
        assert {record_of(each.doc).item for each in answered} == set(by_item(built, config))
        for each in answered:
            said: Any = each.model_response
            assert said.input.count("<|image_pad|>") == pictures
            assert [each.metric[name] for name in REWARDS] == trained_on(record_of(each.doc), said.text)


def test_answers_to_another_build_in_the_same_folder_are_not_taken_for_answers_to_this_one(photos, tmp_path):
    def keys(seed: int) -> list[str]:
        (tmp_path / str(seed)).mkdir(exist_ok=True)
        build(["rotation:easy"], photos, tmp_path / str(seed) / "build", test_fraction=0.5, seed=seed)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(tmp_path / str(seed))
            found = Registry(tasks="ssl4rl:rotation-easy", custom_tasks=tasks_file(tmp_path, Path("build")))
            cache = SampleCache(ModelConfig(model_name="m", cache_dir=str(tmp_path / "cache")))
            cache._init_registry(found)
            return [cache.get_task_id("ssl4rl:rotation-easy|0", SamplingMethod.GENERATIVE).task_hash]

    assert keys(0) == keys(0) != keys(1)


@pytest.mark.parametrize(
    ("folder", "options"),
    [("none", {}), ("build", {"configs": ["link:easy"]}), ("build", {"format": "odd"})],
)
def test_what_is_not_there_is_refused(built, folder, options):
    with pytest.raises(UsageError):
        tasks(built.parent / folder, **options)


def test_a_split_without_samples_is_refused(photos, tmp_path):
    build(["rotation:easy"], photos, tmp_path / "build", test_fraction=0)
    with pytest.raises(UsageError, match="no test samples of rotation-easy"):
        tasks(tmp_path / "build")
    assert [task.evaluation_splits for task in tasks(tmp_path / "build", split="train")] == [("train",)]
