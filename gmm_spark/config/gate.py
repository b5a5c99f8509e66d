"""Rules of the gate, as the YAML has them: `gate: {segment_share: {below: 0.02}}`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from gmm_spark.config.messages import shown

# What figures there are, and what each says.
FIGURES = {
    "rows": "rows of the table",
    "log_likelihood": "mean log density of today's rows under the champion; before, of its own",
    "segment_share": "share of the rows, by their probabilities, of every segment",
    "segment_mean": "mean of every column in every segment, in standard deviations of the "
    "champion's table from its mean",
    "changed": "share of the rows that the champion would give another segment",
    "missing": "share of the rows without a value, of every column",
    "out_of_range": "share of the numbers beyond the lowest and the highest of the champion's",
    "unseen": "share of the values of a category that the champion's table had not",
    "psi": "population stability index of every column",
}


class Rule(BaseModel):
    """Speaks against publishing where all that it says holds of a figure."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    above: float | None = Field(None, allow_inf_nan=False, description="the figure is above")
    below: float | None = Field(None, allow_inf_nan=False, description="the figure is below")
    change: float | None = Field(None, gt=0, description="it has changed by so much at least")
    relative_change: float | None = Field(None, gt=0, description="and by such a share of before")

    @model_validator(mode="after")
    def _can_hold(self) -> Rule:
        if self.above is not None and self.below is not None and self.above >= self.below:
            raise ValueError(
                f"found {{{self.words()}}}, which no figure is at once; expected two rules, in a "
                "list, where either is to speak against publishing"
            )
        return self

    def words(self) -> str:
        """The rule in the words of the settings."""
        said = self.model_dump(exclude_none=True)
        return ", ".join(f"{key}: {value:g}" for key, value in said.items())


def _rules(value: Any) -> Any:
    """One rule, or several, as a list."""
    rules = value if isinstance(value, list | tuple) else [value]
    for rule in rules:
        if not isinstance(rule, Rule) and not (
            isinstance(rule, dict) and rule and rule.keys() <= Rule.model_fields.keys()
        ):
            known = ", ".join(Rule.model_fields)
            raise ValueError(f"found {shown(rule)}; expected a rule of {known}: {{above: 0.25}}")
    return rules


Name = Literal[
    "rows",
    "log_likelihood",
    "segment_share",
    "segment_mean",
    "changed",
    "missing",
    "out_of_range",
    "unseen",
    "psi",
]
Gate = dict[Name, Annotated[list[Rule], BeforeValidator(_rules)]]
