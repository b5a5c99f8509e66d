"""What Spark says, in one line."""

from __future__ import annotations

import pytest

from gmm_spark.errors import spark_message


@pytest.mark.parametrize(
    ("java", "said"),
    [
        (
            ': org.apache.hadoop.fs.UnsupportedFileSystemException: No FileSystem for scheme "s3"',
            'No FileSystem for scheme "s3"',
        ),
        (": java.lang.Exception: header flag: true or false", "header flag: true or false"),
        (": java.lang.NullPointerException", "NullPointerException"),
        ("Py4JError: it is gone", "Py4JError: it is gone"),
    ],
)
def test_an_error_of_java_is_said_in_its_words(java, said) -> None:
    text = f"An error occurred while calling o12.load.\n{java}\n\tat org.a.B.c(B.scala:3)\n"
    assert spark_message(Exception(text)) == ("", said)
