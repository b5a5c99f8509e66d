"""The log of a run, as it is kept for the file beside the manifest."""

from __future__ import annotations

import logging
import re

from gmm_spark.runs.log import library_log

_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def test_what_the_library_says_is_kept_with_its_time() -> None:
    library = logging.getLogger("gmm_spark.training")
    with library_log() as log:
        library.info("pass %d", 3)
        library.debug("of no use")
        logging.getLogger("other").warning("of somebody else")
        log.add("12 rows\nin 3 segments")
        log.add("input: no rows", logging.ERROR)
    library.warning("after the run")
    assert re.fullmatch(
        f"{_TIME} INFO pass 3\n{_TIME} INFO 12 rows\nin 3 segments\n{_TIME} ERROR input: no rows\n",
        log.text,
    )


def test_the_time_is_that_of_the_record_in_utc() -> None:
    with library_log() as log:
        record = logging.makeLogRecord({"msg": "then", "levelname": "INFO"})
        record.created, record.msecs = 1_800_000_000.25, 250.0
        log.handle(record)
    assert log.text == "2027-01-15T08:00:00.250Z INFO then\n"


def test_a_traceback_is_kept() -> None:
    with library_log() as log:
        try:
            raise KeyError("x")
        except KeyError as error:
            logging.getLogger("gmm_spark").error("unexpected", exc_info=error)
    assert "Traceback (most recent call last)" in log.text
    assert log.text.endswith("KeyError: 'x'\n")


def test_passwords_of_addresses_are_not() -> None:
    with library_log() as log:
        log.add("reading s3://key:secret@bucket/table, then hdfs://lake/table")
    assert "reading s3://***@bucket/table, then hdfs://lake/table\n" in log.text
