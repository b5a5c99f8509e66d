"""Choosing segments among mixtures: those people can act on, not only the likeliest."""

from gmm_spark.mixture.segmentation.candidates import Proposal, SampleFor
from gmm_spark.mixture.segmentation.choosing import (
    Choice,
    Considered,
    choose,
    sample_of,
)
from gmm_spark.mixture.segmentation.judging import Figures

__all__ = [
    "Choice",
    "Considered",
    "Figures",
    "Proposal",
    "SampleFor",
    "choose",
    "sample_of",
]
