"""The options of a source, `?name=value&...` in its spec: validated, with every error in one line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlencode

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, ValidationError

from data_builders.sources.files import expanded
from ssl4rl_core.configs import suggestion
from ssl4rl_core.errors import UsageError
from ssl4rl_core.pydantic_errors import first_problem

LocalFile = Annotated[str, AfterValidator(expanded), PlainSerializer(lambda path: Path(path).name)]
"""A file of this machine, published by its name alone; empty for none."""


class SourceOptions(BaseModel):
    """What every source takes; a source with more options subclasses it.

    Options that say where things lie, and not which, are declared with `exclude=True`: they are not published.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    license: str = Field(default="", exclude=True, description="SPDX identifier of the pictures' licence")

    @classmethod
    def read(cls, scheme: str, options: Mapping[str, str]) -> Self:
        """The options of a spec.

        Raises:
            UsageError: an option is not known, or its value does not fit.
        """
        for name in options:
            if name not in cls.model_fields:
                raise UsageError(f"{scheme} sources have no option {name!r}{suggestion(name, cls.model_fields)}")
        try:
            return cls.model_validate_strings(dict(options))
        except ValidationError as error:
            raise UsageError(f"{scheme} option {first_problem(error)}") from error

    def choice(self) -> str:
        """The options that choose among what there is, as a spec has them; empty where all are as usual."""
        chosen = self.model_dump(mode="json", exclude_defaults=True)
        words = {name: value if isinstance(value, str) else str(value).lower() for name, value in chosen.items()}
        return f"?{urlencode(words, safe=',./')}" if words else ""
