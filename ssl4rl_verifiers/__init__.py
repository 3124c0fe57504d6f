"""The module by which verifiers finds the environment: `vf-eval ssl4rl_verifiers`. See `ssl4rl_core.integrations`."""

from ssl4rl_core.integrations.verifiers import OneTurn, OneTurnEnv, Questions, load_environment

__all__ = ["OneTurn", "OneTurnEnv", "Questions", "load_environment"]
