"""What environments of other trainers are given to ask."""

import pytest

from ssl4rl_core.errors import UsageError
from ssl4rl_core.integrations.in_turn import InTurn
from ssl4rl_core.plugins import registry
from ssl4rl_core.training.recipe import DataSettings

pytest.importorskip("sklearn", reason="needs the extra 'embedded'")

if "multiple-choice" not in registry().tasks:
    pytest.skip("needs the plugin multiple-choice", allow_module_level=True)


def test_a_downstream_task_is_asked_of_what_is_held_out_and_never_trained_on():
    data, tasks = DataSettings(source="embedded:digits"), ["multiple-choice:published"]
    assert len(InTurn(data, tasks, "test", "think_answer")) > 100
    with pytest.raises(UsageError, match="multiple-choice is a downstream task and never a reward"):
        InTurn(data, tasks, "train", "think_answer")
