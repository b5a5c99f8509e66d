"""The session that a run makes where there is none."""

from __future__ import annotations

from pathlib import Path

from gmm_spark.runs import session

ROOT = Path(__file__).parents[2]


def test_a_job_from_plain_python_has_the_settings_of_the_file() -> None:
    lines = (ROOT / "conf" / "spark-defaults.conf").read_text("utf-8").splitlines()
    in_file = dict(line.split() for line in lines if line and not line.startswith("#"))
    # Spark's own default, in the file for those who read it.
    assert in_file.pop("spark.python.worker.reuse") == "true"
    assert in_file.pop("spark.driver.extraClassPath") == "conf"
    expected = dict(session._PLAIN_PYTHON)
    packaged = Path(expected.pop("spark.driver.extraClassPath"))
    assert in_file == expected
    # A wheel has no conf/ beside it: the file of the log is in the package, too.
    assert packaged.is_relative_to(Path(session.__file__).parent)
    for path in packaged.iterdir():
        assert path.read_bytes() == (ROOT / "conf" / path.name).read_bytes()
    assert (packaged / "log4j2.properties").is_file()
