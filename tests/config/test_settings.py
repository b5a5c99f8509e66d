"""Settings: where a value comes from, and what a mistake says."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from gmm_spark import GaussianMixture
from gmm_spark.config import (
    JOBS,
    ChurnSettings,
    EvaluateSettings,
    InputSettings,
    JobSettings,
    ScoreSettings,
    TrainSettings,
    expression_name,
    in_keys,
    load_settings,
    without_secrets,
)
from gmm_spark.errors import ConfigurationError
from gmm_spark.mixture.spec import SETTINGS, SPEC
from tests.mixture.test_spec import inside, outside

ROOT = Path(__file__).parents[2]
LEAST = ["--input.path", "lake/customers", "--columns", "a,b", "--output", "out"]
YAML = "input: {path: lake/customers}\ncolumns: [a, b]\noutput: out\n"


@pytest.fixture(autouse=True)
def _no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("GMM_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def config(tmp_path: Path):
    def write(text: str) -> str:
        path = tmp_path / "job.yaml"
        path.write_text(text, "utf-8")
        return str(path)

    return write


def problem(argv: list[str], kind: type[JobSettings] = TrainSettings) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(kind, argv)
    return str(caught.value)


def test_defaults_are_those_of_the_library() -> None:
    settings = load_settings(TrainSettings, LEAST)
    assert settings.columns == ["a", "b"]
    assert settings.input.path == "lake/customers"
    assert settings.input.format is None  # by the ending of the path
    assert not settings.searches
    assert not settings.overwrite
    library = GaussianMixture()
    for each in SETTINGS:
        if each.job_key is not None and not each.is_column:
            found = getattr(settings, each.job_key)
            # What a job leaves out is left to the library.
            assert found == (library.getOrDefault(each.name) if found is not None else None)
            assert (found is None) == (each.job_default is None)


@pytest.mark.parametrize(
    "setting",
    [each for each in SPEC if each.job_key and each.kind != "model"],
    ids=lambda each: each.job_key,
)
def test_a_job_takes_what_a_fit_takes(config, setting) -> None:
    """One bound, one list of choices: for the file, and for the session."""

    def loaded(value):
        text = YAML + f"{setting.job_key}: {json.dumps(value).replace('NaN', '.nan')}\n"
        return load_settings(TrainSettings, ["--config", config(text.replace("Infinity", ".inf"))])

    for value in inside(setting):
        assert getattr(loaded(value), setting.job_key) == value
    for value in outside(setting):
        with pytest.raises(ConfigurationError, match=f"^{setting.job_key}: found"):
            loaded(value)


def test_a_flag_wins_over_the_environment_over_the_file_over_the_default(
    config, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_file = ["--config", config(YAML + "k: 3\n")]
    assert load_settings(TrainSettings, LEAST).k == 2
    assert load_settings(TrainSettings, in_file).k == 3
    monkeypatch.setenv("GMM_K", "4")
    assert load_settings(TrainSettings, in_file).k == 4
    assert load_settings(TrainSettings, [*in_file, "--k", "5"]).k == 5
    assert load_settings(TrainSettings, [*in_file, "--k=6"]).k == 6


def test_a_nested_key_is_taken_alone_from_each_place(
    config, monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = ["--config", config(YAML + "seed: 1\n"), "--input.options", '{"sep": ";"}']
    monkeypatch.setenv("GMM_INPUT__FORMAT", "csv")
    settings = load_settings(TrainSettings, argv)
    assert settings.input.path == "lake/customers"
    assert settings.input.format == "csv"
    assert settings.input.options == {"sep": ";"}


def test_a_key_with_null_is_one_that_was_left_out(config) -> None:
    least = load_settings(TrainSettings, ["--config", config(YAML)])
    optional = [
        name
        for name, field in TrainSettings.model_fields.items()
        if not field.is_required() and name not in ("config", "columns")
    ]
    text = YAML.replace("customers}", "customers, table: null, format: , options: {sep: null}}")
    path = config(text + "".join(f"{name}: null\n" for name in optional))
    assert load_settings(TrainSettings, ["--config", path]) == least
    scored = "input: {path: lake/customers, filters: null}\nmodel: m\noutput: out\n"
    expected = load_settings(ScoreSettings, ["--config", config(scored)])
    path = config(scored + "missing: null\nkeep_columns:\nprofile: ~\nmode: null\n")
    assert load_settings(ScoreSettings, ["--config", path]) == expected


def test_null_on_the_command_line_takes_back_what_the_file_says(config, monkeypatch) -> None:
    path = config(YAML + "k: 7\nweight_column: w\nseed: 5\n")
    monkeypatch.setenv("GMM_SEED", "null")
    flags = ["--k", "null", "--weight_column", "null"]
    settings = load_settings(TrainSettings, ["--config", path, *flags])
    assert (settings.k, settings.weight_column, settings.seed) == (2, None, None)


def test_null_for_what_is_needed(config) -> None:
    assert "model: found nothing" in problem(
        ["--config", config("input: {path: a}\nmodel: null\noutput: out\n")], ScoreSettings
    )


def test_the_file_may_be_named_in_the_environment(config, monkeypatch) -> None:
    monkeypatch.setenv("GMM_CONFIG", config(YAML + "k: 7\n"))
    assert load_settings(TrainSettings, []).k == 7


def test_values_as_people_write_them(config) -> None:
    text = YAML + ("tol: 1e-9\nrun_date: 2026-11-01\ncovariance_floor: 0\noverwrite: yes\n")
    settings = load_settings(TrainSettings, ["--config", config(text)])
    assert settings.tol == 1e-9
    assert settings.run_date == "2026-11-01"
    assert settings.covariance_floor == 0
    assert settings.overwrite


SEVERAL = [2, 3, 4]


@pytest.mark.parametrize("written", ["[2, 3, 4]", "2,3,4", "2, 3, 4"])
def test_several_k_in_each_place(config, monkeypatch, written) -> None:
    settings = load_settings(TrainSettings, [*LEAST, "--k", written])
    assert settings.k == SEVERAL
    assert settings.searches
    assert load_settings(TrainSettings, ["--config", config(YAML + f"k: {written}")]).k == SEVERAL
    monkeypatch.setenv("GMM_K", written)
    assert load_settings(TrainSettings, LEAST).k == SEVERAL


@pytest.mark.parametrize("written", ['["diag", "EII"]', "diag,EII"])
def test_several_structures_in_each_place(config, monkeypatch, written) -> None:
    expected = ["diag", "EII"]
    settings = load_settings(TrainSettings, [*LEAST, "--covariance_type", written])
    assert (settings.k, settings.covariance_type, settings.searches) == (2, expected, True)
    in_file = ["--config", config(YAML + f"covariance_type: {written}")]
    assert load_settings(TrainSettings, in_file).covariance_type == expected
    monkeypatch.setenv("GMM_COVARIANCE_TYPE", written)
    assert load_settings(TrainSettings, LEAST).covariance_type == expected


def test_one_flag_replaces_several_in_the_file_and_several_flags_add_up(config) -> None:
    in_file = ["--config", config(YAML + "k: [2, 3]\ncovariance_type: [diag]\n")]
    settings = load_settings(TrainSettings, [*in_file, "--k", "4"])
    assert (settings.k, settings.covariance_type, settings.searches) == (4, "diag", False)
    assert load_settings(TrainSettings, [*in_file, "--k", "5", "--k", "6"]).k == [5, 6]


@pytest.mark.parametrize("key", ["initial_model", "initial_label_column"])
@pytest.mark.parametrize(
    ("more", "several"),
    [
        (["--k", "2,3"], "several values of k"),
        (["--covariance_type", "diag,EII"], "several values of covariance_type"),
        (["--criterion", "segmentation"], "criterion segmentation"),
    ],
)
def test_a_start_is_of_one_k_and_structure(key, more, several) -> None:
    text = problem([*LEAST, f"--{key}", "m", *more])
    assert text.startswith(f"{key}: found {several} as well; expected one")
    assert "\n" not in text


def test_filters_and_lists_on_the_command_line() -> None:
    argv = [*LEAST[:2], *LEAST[4:], "--columns", '["a", "round(b, 2) as c"]']
    settings = load_settings(
        TrainSettings, [*argv, "--input.filters", '[["month", "=", "2026-01"]]', "--no-overwrite"]
    )
    assert settings.columns == ["a", "round(b, 2) as c"]
    assert settings.input.filters == [("month", "=", "2026-01")]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("k: four", "k: found 'four'; expected an integer"),
        ("k: 3.5", "k: found 3.5; expected an integer"),
        ("k: 0", "k: found 0; expected greater than or equal to 1"),
        ("k: [2, x]", "k[1]: found 'x'; expected an integer"),
        ("k: [2, 0]", "k[1]: found 0; expected greater than or equal to 1"),
        ("k: []", "k: found []; expected at least one value"),
        ("covariance_type: ful", "covariance_type: found 'ful'; expected 'full', 'tied'"),
        ("covariance_type: [full, ful]", "covariance_type[1]: found 'ful'; expected 'full'"),
        ("covariance_type: []", "covariance_type: found []; expected at least one value"),
        (
            "criterion: BIC",
            "criterion: found 'BIC'; expected 'bic', 'aic', 'icl', 'heldout' or 'segmentation'",
        ),
        ("acceleration: fast", "acceleration: found 'fast'; expected 'anderson' or 'none'"),
        ("tol: .nan", "tol: found nan; expected greater than or equal to 0"),
        ("covariance_floor: some", "covariance_floor: found 'some'; expected 'auto' or a number"),
        ("overwrite: perhaps", "overwrite: found 'perhaps'; expected true or false"),
        ("missing: drop", "missing: found 'drop'; expected 'error', 'skip' or 'marginalize'"),
        ("covariance_tipe: full", "covariance_tipe: unknown key; did you mean covariance_type?"),
        ("zzz: 1", "zzz: unknown key; --help lists the known ones"),
        ("input: lake", "input: found 'lake'; expected keys and values"),
        ("input: {paht: lake}", "input.paht: unknown key; did you mean input.path?"),
        ("input: {path: a, table: b}", "input: found both; expected either path or table"),
        ("input: {format: csv}", "input: found neither; expected either path or table"),
        ("columns: a", "columns: found 'a'; expected a list"),
        ("columns: [a, 3]", "columns[1]: found 3; expected a string"),
        (
            "columns: []",
            "columns: found neither; expected columns, categorical_columns or",
        ),
        (
            "vector_column: v",
            "columns: found both; expected columns, categorical_columns or",
        ),
        ("config: other.yaml", "config: found in "),
    ],
)
def test_a_mistake_in_the_file_is_one_line_that_names_the_key(config, more, expected) -> None:
    key = more.split(":")[0]
    kept = "".join(line + "\n" for line in YAML.splitlines() if not line.startswith(key))
    text = problem(["--config", config(kept + more + "\n")])
    assert text.startswith(expected)
    assert "\n" not in text


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--kk", "4"], "kk: unknown flag --kk; did you mean --k?"),
        (["--input.pth", "x"], "input.pth: unknown flag --input.pth; did you mean --input.path?"),
        (["--k"], "k: found no value after it; expected one"),
        (["--k", "four"], "k: found 'four'; expected an integer"),
        (["stray"], "stray: found on the command line; expected flags and their values"),
        (["--max", "5"], "max: unknown flag --max"),
        (["--columns", "a", "b"], "columns: found 'b' after its value; expected a list as one wor"),
        (["--columns", "[a"], "columns: found '[a'; expected a list: a,b or JSON"),
        (["--input.options", "sep"], "input.options: found 'sep'; expected keys and values"),
        (["--overwrite", "perhaps"], "overwrite: found 'perhaps'; expected true or false"),
        (["--no-overwrite=true"], "no-overwrite: found 'true'; expected no value"),
        (["--no-seed"], "no-seed: unknown flag --no-seed"),
    ],
)
def test_a_mistake_on_the_command_line(argv, expected) -> None:
    text = problem([*LEAST, *argv])
    assert text.startswith(expected)
    assert "\n" not in text


def test_an_expression_keeps_its_comma_on_the_command_line(config) -> None:
    argv = [*LEAST[:2], *LEAST[4:], "--columns", "round(a, 2) as b,c", "--columns", "d"]
    assert load_settings(TrainSettings, argv).columns == ["round(a, 2) as b", "c", "d"]
    # YAML cuts it, which is noticed.
    path = config(YAML.replace("[a, b]", "[round(a, 2) as b]"))
    assert "cut at a comma; expected JSON" in problem(["--config", path])


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("GMM_KK", "4", "GMM_KK: unknown environment variable; did you mean GMM_K?"),
        ("GMM_K", "four", "k: found 'four'; expected an integer"),
        ("GMM_COLUMNS", '["a"', "GMM_COLUMNS: found '[\"a\"'; expected a list: a,b or JSON"),
        ("GMM_NOISE", "maybe", "noise: found 'maybe'; expected true or false"),
        ("GMM_CONFIG", "/no/such.yaml", "config: found no readable file /no/such.yaml"),
    ],
)
def test_a_mistake_in_the_environment(monkeypatch, name, value, expected) -> None:
    monkeypatch.setenv(name, value)
    text = problem(LEAST)
    assert text.startswith(expected)
    assert "\n" not in text


def test_a_key_of_the_other_job_in_the_environment_is_no_mistake(monkeypatch) -> None:
    monkeypatch.setenv("GMM_MODEL", "out/model")
    assert load_settings(TrainSettings, LEAST).k == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("k: [1,\n", "is not YAML, line 2: expected the node content, but"),
        ("seed: 1\n\tk: 2\n", "is not YAML, line 2: found character '\\t'"),
        ("- k\n", "expected lines of the form key: value"),
        ("\x00", "is not YAML"),
        ("k: 3\nseed: 1\nk: 4\n", "k: found twice, in lines 1 and 3 of "),
        ("input.path: a\ninput: {path: b}\n", "input.path: found twice in "),
        ("input: {path: a, path: b}\n", "path: found twice, in lines 1 and 1 of "),
        ("k: &a [*a]\n", "line 1: found unconstructable recursive node"),
        ("run_date: 2026-13-45\n", "found '2026-13-45', which is no timestamp; put text into"),
        ("k: 1\n---\nk: 2\n", "line 2: found another document; expected one"),
        ("k: " + "[" * 5000, "is nested too deeply"),
    ],
)
def test_a_file_that_is_no_settings(config, text, expected) -> None:
    found = problem(["--config", config(text)])
    assert expected in found
    assert "\n" not in found


@pytest.mark.parametrize(
    ("said", "of_keys"),
    [
        ("k is 2, but initialModel has 4 components", "k is 2, but initial_model has 4 components"),
        ("'a' is in inputCols and in countCols", "'a' is in columns and in count_columns"),
        ("inputCols, countCols or dateCols", "columns, count_columns or date_columns"),
        ("raise numInit, maxIter or tol", "raise num_init, max_iter or tol"),
        ("null, and set missing='marginalize'", "null, and set missing: marginalize"),
        ("(1 more of this kind in summary.warnings)", "(1 more of this kind in manifest.json)"),
        ("no column 'maxIter'; it has: numInit, b", "no column 'maxIter'; it has: numInit, b"),
        ("tenure='abc', aColumn, /a/maxIter", "tenure='abc', aColumn, /a/maxIter"),
    ],
)
def test_params_of_the_library_are_said_by_their_keys(said, of_keys) -> None:
    assert in_keys(said) == of_keys


def test_no_file_and_a_directory_for_a_file(tmp_path: Path) -> None:
    assert "no readable file" in problem(["--config", str(tmp_path / "none.yaml")])
    assert "no readable file" in problem(["--config", str(tmp_path)])


def test_several_mistakes_are_a_line_each() -> None:
    lines = problem(["--k", "x", "--tol", "y", "--input.path", "p", "--columns", "a"]).splitlines()
    assert [line.split(":")[0] for line in lines] == ["output", "k", "tol"]


def test_what_is_required_is_asked_for_by_flag_variable_and_key() -> None:
    lines = problem([]).splitlines()
    assert lines[0].startswith("input.path: found nothing; expected a value (--input.path, GMM_IN")
    assert lines[1].startswith("output: found nothing; expected a value (--output, GMM_OUTPUT")


def test_two_starts_are_one_too_many() -> None:
    text = problem([*LEAST, "--initial_model", "m", "--initial_label_column", "c"])
    assert text == "initial_model: found initial_label_column as well; expected one start, not two"


def test_partitions_by_run_date_need_one() -> None:
    argv = ["--input.path", "p", "--output", "o", "--model", "m", "--partition_by", "run_date"]
    assert problem(argv, ScoreSettings).startswith("run_date: found nothing")
    assert load_settings(ScoreSettings, [*argv, "--run_date", "2026-11-01"]).run_date


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (["--overwrite"], True),
        (["--overwrite", "true"], True),
        (["--overwrite", "no"], False),
        (["--overwrite=false"], False),
        (["--overwrite", "1"], True),
        (["--no-overwrite"], False),
        (["--overwrite", "--no-overwrite"], False),
        (["--overwrite", "null"], False),
    ],
)
def test_a_switch_takes_a_value_or_none(config, written, expected) -> None:
    in_file = ["--config", config(YAML + f"overwrite: {'no' if expected else 'null'}\n")]
    assert load_settings(TrainSettings, [*in_file, *written, "--k", "3"]).overwrite is expected
    assert load_settings(TrainSettings, [*in_file, "--k", "3", *written]).overwrite is expected


def test_switches_lists_and_mappings_in_the_environment(monkeypatch) -> None:
    for name, value in {
        "GMM_NOISE": "true", "gmm_overwrite": "yes", "GMM_COUNT_COLUMNS": "calls,visits",
        "GMM_INPUT__OPTIONS": "sep=;", "GMM_INPUT__FILTERS": "month in ('a', 'b')", "GMM_SEED": "",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    settings = load_settings(TrainSettings, [*LEAST, "--input.options", '{"header": true}'])
    assert (settings.noise, settings.overwrite, settings.seed) == (True, True, None)
    assert settings.count_columns == ["calls", "visits"]
    assert settings.input.options == {"sep": ";", "header": True}
    assert settings.input.filters == [("month", "in", ["a", "b"])]


def test_a_value_may_begin_with_a_dash() -> None:
    assert load_settings(TrainSettings, [*LEAST, "--seed", "-5"]).seed == -5


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("tenure > 3", [("tenure", ">", 3)]),
        ("tenure>=-3.5e1", [("tenure", ">=", -35.0)]),
        ("churn = 'yes'", [("churn", "=", "yes")]),
        ('churn <> "it\'s"', [("churn", "!=", "it's")]),
        ("name = 'it''s > a, b'", [("name", "=", "it's > a, b")]),
        ("left = TRUE", [("left", "=", True)]),
        ("month in ('2026-01','2026-02')", [("month", "in", ["2026-01", "2026-02"])]),
        ("k NOT  IN (1, 2)", [("k", "not in", [1, 2])]),
        ("`Total (as billed)` <= 3", [("Total (as billed)", "<=", 3)]),
        ("days in arrears == 3", [("days in arrears", "==", 3)]),
        ("a > 1 and b = 'x and y'", [("a", ">", 1), ("b", "=", "x and y")]),
    ],
)
def test_filters_as_people_write_them(config, monkeypatch, written, expected) -> None:
    flags = [*LEAST, "--input.filters", written]
    assert load_settings(TrainSettings, flags).input.filters == expected
    twice = load_settings(TrainSettings, [*flags, "--input.filters", "z != 1"]).input.filters
    assert twice == [*expected, ("z", "!=", 1)]
    for value in (json.dumps(written), json.dumps([written])):
        text = YAML.replace("customers}", f"customers, filters: {value}}}")
        assert load_settings(TrainSettings, ["--config", config(text)]).input.filters == expected
    monkeypatch.setenv("GMM_INPUT__FILTERS", written)
    assert load_settings(ScoreSettings, [*LEAST, "--model", "m"]).input.filters == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("tenure", "found 'tenure'; expected a column, one of = != < <= > >= in, not in, and a"),
        ("tenure > ", "found 'tenure >'; expected a column"),
        ("> 3", "found '> 3'; expected a column"),
        ("tenure > limit", "found 'limit' in 'tenure > limit'; expected a number, true, false, or"),
        ("a > 3 or b > 3", "found '3 or b > 3' in 'a > 3 or b > 3'; expected a number"),
        ("day > 2026-01-01", "found '2026-01-01' in 'day > 2026-01-01'; expected a number"),
        (
            "month in 'a'",
            "found \"month in 'a'\"; expected values in brackets: month in ('a', 'b')",
        ),
        ("churn is null", "found 'churn is null'; expected a column"),
        ('[["month", "in", 3]]', "found 3 for month in; expected a list"),
        ('[["month", "=", ["a"]]]', "found ['a'] for month =; expected one value"),
        ('[["month", "like", "a"]]', "found 'like'; expected '=', '==', '!='"),
        ('[["month", "="]]', "found too few values; expected [column, operator, value]"),
    ],
)
def test_a_mistake_in_a_filter_names_the_key(written, expected) -> None:
    text = problem([*LEAST, "--input.filters", written])
    assert re.match(r"input\.filters(\[0\])?: ", text)
    assert text.partition(": ")[2].startswith(expected)
    assert "\n" not in text


@pytest.mark.parametrize("kind", JOBS.values())
def test_help_lists_every_key_and_ends_with_0(kind, capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        load_settings(kind, ["--help"], prog="job.py")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for key in kind.model_fields:
        assert key == "input" or f"-{key} " in text


@pytest.mark.parametrize("kind", JOBS.values())
def test_help_speaks_of_lists_and_numbers(kind, capsys) -> None:
    with pytest.raises(SystemExit):
        load_settings(kind, ["--config", "none.yaml", "--help"], prog="job.py")
    text = capsys.readouterr().out
    assert "usage: job.py" in text
    words = r"\b(str|int|float|bool|dict|tuple|Any|None|Optional|Union|Literal|factory)\b|\w\[\w"
    assert re.findall(words, text) == []
    assert max(map(len, text.splitlines())) <= 100
    if kind is TrainSettings:
        said = " ".join(text.split())
        assert "--k a whole number, or a list of them number of segments" in said
        assert "--input.format parquet | csv | json | orc | avro | delta | iceberg " in said
        assert "--overwrite [true or false] replace an earlier result" in said
        assert "under output (default false)" in said
        assert "--columns a list columns, or SQL" in said
        assert "(default full): full | tied | diag" in said


FILES = [
    (TrainSettings, "train.yaml"),
    (ScoreSettings, "score.yaml"),
    (EvaluateSettings, "evaluate.yaml"),
    (ChurnSettings, "churn.yaml"),
]
TABLES = ["telco_churn", "online_retail", "iranian_churn", "mlc_churn", "online_shoppers"]
_EXAMPLE = re.compile(r"^(?P<indent> *)# (?P<line>[a-z_]+: .+)$")


@pytest.mark.parametrize(("kind", "name"), FILES)
def test_the_files_that_come_with_the_project_are_valid(kind, name) -> None:
    load_settings(kind, ["--config", str(ROOT / "conf" / name)])


@pytest.mark.parametrize("name", TABLES)
def test_the_runs_of_known_tables_are_short_and_say_where_the_table_is(name) -> None:
    path = ROOT / "conf" / f"{name}.yaml"
    lines = path.read_text("utf-8").splitlines()
    assert len(lines) <= 10
    assert "The table: " in " ".join(lines)
    settings = load_settings(ChurnSettings, ["--config", str(path), "--input.path", "there.csv"])
    assert settings.input.path == "there.csv"
    assert settings.output == f"output/{name}"
    left_out = load_settings(ChurnSettings, ["--input.path", "there.csv"])
    chosen = "k", "columns", "covariance_type", "seed", "min_segment_share", "missing"
    assert all(getattr(settings, key) == getattr(left_out, key) for key in chosen)


@pytest.mark.parametrize(("kind", "name"), FILES)
def test_they_show_every_key_and_every_example_in_them_counts(config, kind, name) -> None:
    lines = (ROOT / "conf" / name).read_text("utf-8").splitlines()
    # A table of transactions has these, and no id.
    transactions = {"customer", "time", "amount", "quantity", "basket", "churn_after_days"}
    goes = {"vector_column": r"(categorical|count)_columns:"}
    goes |= dict.fromkeys(transactions, r"(id|outcome):")
    comes = dict.fromkeys(transactions, r"# (customer|time):")
    comes |= dict.fromkeys(("publish_as", "refit", "gate", "force"), r"# keep_versions:")
    comes |= {"half_life": r"# (keep_versions|refit|run_date):"}
    of_a_table = r"# (run_date|scores_table|scores_format):"
    comes |= dict.fromkeys(("scores_table", "scores_format"), of_a_table)
    examples = [i for i, line in enumerate(lines) if _EXAMPLE.match(line)]
    shown = {line.split(":")[0].strip(" #") for line in lines if re.match(r"[ #]*[a-z_]+: ", line)}
    known = {*kind.model_fields, *InputSettings.model_fields} - {"config", "input"}
    assert known <= shown, known - shown
    instead = {
        "table": "path", "vector_column": "columns", "initial_label_column": "initial_model",
        "partition_by": "run_date",
    }  # fmt: skip
    for place in examples:
        found = _EXAMPLE.match(lines[place])
        key = found["line"].split(":")[0]
        changed = list(lines)
        changed[place] = found["indent"] + found["line"]
        # What it stands for goes, and what it needs comes.
        for i, line in enumerate(lines):
            if line.strip(" #").startswith(f"{instead.get(key)}: "):
                changed[i] = line.replace("# ", "", 1) if key == "partition_by" else ""
            elif key == "outcome_column" and line.startswith("criterion:"):
                changed[i] = "criterion: segmentation"
            elif re.match(comes.get(key, "$^"), line):
                changed[i] = line.removeprefix("# ")
            elif re.match(goes.get(key, "$^"), line):
                changed[i] = ""
        settings = load_settings(kind, ["--config", config("\n".join(changed))])
        value = getattr(settings.input if found["indent"] else settings, key)
        assert value not in (None, [], {}), key


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("total", None),
        ("total as t", "t"),
        ("log1p(total) AS log_total", "log_total"),
        ("cast(x as int) as `two words`", "two words"),
        ("Total (as billed)", None),
    ],
)
def test_the_name_of_an_expression(column, name) -> None:
    assert expression_name(column) == name


def test_credentials_stay_out_of_the_manifest() -> None:
    argv = [
        "--input.path", "s3://key:pa55@bucket/x", "--columns", "a", "--output", "out",
        "--input.options", '{"fs.s3a.secret.key": "pa55", "sep": ";"}',
    ]  # fmt: skip
    values = without_secrets(load_settings(TrainSettings, argv))
    assert "pa55" not in str(values)
    assert values["input"]["path"] == "s3://***@bucket/x"
    assert values["input"]["options"]["sep"] == ";"


def churn(*argv: str) -> ChurnSettings:
    return load_settings(ChurnSettings, ["--input.path", "lake/customers.csv", *argv])


def test_of_a_churn_run_all_but_the_path_may_be_left_out() -> None:
    settings = churn()
    assert settings.output == "output/customers"
    assert settings.k == [3, 4, 5, 6, 7, 8]
    assert settings.columns == []
    assert settings.missing == "marginalize"
    assert (settings.id, settings.outcome, settings.customer) == (None, None, None)
    assert problem([], ChurnSettings).startswith("input.path: found nothing; expected a value")


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("input: {path: lake/customers/}", "customers"),
        ("input: {path: 's3://lake/customers.csv.gz'}", "customers"),
        ("input: {path: 'lake/month=2026-01/*'}", "month=2026-01"),
        ("input.path: lake/the customers.parquet", "the_customers"),
        ("input: {table: lake.customers}", "customers"),
        ("input.path: '*'", "churn"),
    ],
)
def test_where_results_go_when_nothing_is_said(config, source, output) -> None:
    settings = load_settings(ChurnSettings, ["--config", config(source + "\noutput: null\n")])
    assert settings.output == f"output/{output}"


@pytest.mark.parametrize("written", ["3..6", "3, 4..6", "[3, 4, 5, 6]", "3,4,5,6"])
def test_numbers_of_segments_are_a_list_or_a_range(config, monkeypatch, written) -> None:
    assert churn("--k", written).k == [3, 4, 5, 6]
    path = config(f"input.path: a\nk: {written}\n")
    assert load_settings(ChurnSettings, ["--config", path]).k == [3, 4, 5, 6]
    monkeypatch.setenv("GMM_K", written)
    assert churn().k == [3, 4, 5, 6]


def test_one_number_of_segments_and_one_structure(config) -> None:
    path = config("input.path: a\nk: 4\ncovariance_type: diag\ncolumns: auto\n")
    settings = load_settings(ChurnSettings, ["--config", path])
    assert (settings.k, settings.covariance_type, settings.columns) == ([4], ["diag"], [])
    assert churn("--columns", "auto").columns == []
    assert churn("--columns", "a,b").columns == ["a", "b"]


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--k", "6..3"], "k: found '6..3'; expected a range as 3..8, the lower end first"),
        (["--k", "1"], "k[0]: found '1'; expected greater than or equal to 2"),
        (["--k", "three"], "k[0]: found 'three'; expected an integer"),
        (["--covariance_type", "ful"], "covariance_type[0]: found 'ful'; expected 'full', "),
        (["--amount", "paid"], "customer: found nothing, but amount; expected a column, too"),
        (["--churn_after_days", "9"], "customer: found nothing, but churn_after_days; expected"),
        (["--time", "day"], "customer: found nothing, but time; expected a column, too"),
        (["--customer", "c"], "time: found nothing, but customer; expected a column, too"),
        (
            ["--customer", "c", "--time", "t", "--id", "i"],
            "id: found 'i'; expected nothing beside customer",
        ),
        (
            ["--customer", "c", "--time", "t", "--churn_after_days", "30", "--outcome", "left"],
            "churn_after_days: found outcome as well; expected one of them",
        ),
        (["--churn_after_days", "0"], "churn_after_days: found '0'; expected greater than 0"),
        (["--min_segment_share", "0.5"], "min_segment_share: found '0.5'; expected less than 0.5"),
    ],
)
def test_a_mistake_in_a_churn_run(argv, expected) -> None:
    text = problem(["--input.path", "p", *argv], ChurnSettings)
    assert text.startswith(expected)
    assert "\n" not in text


def test_a_key_may_be_written_in_a_file_as_in_a_flag(config) -> None:
    text = "input.path: lake\ninput: {format: csv}\ninput.options.sep: ';'\n"
    settings = load_settings(ChurnSettings, ["--config", config(text)])
    assert (settings.input.path, settings.input.format) == ("lake", "csv")
    assert settings.input.options == {"sep": ";"}
    assert "input.paht: unknown key; did you mean input.path?" in problem(
        ["--config", config("input.paht: lake\n")], ChurnSettings
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--gate", '{"psi": {"above": 0.2}}'], "gate: found no keep_versions"),
        (["--refit", "keep"], "refit: found no keep_versions"),
        (["--force"], "force: found no keep_versions"),
        (["--publish_as", "challenger"], "publish_as: found no keep_versions"),
        (["--keep_versions", "0"], "keep_versions: found"),
        (["--keep_versions", "3", "--gate", '{"size": {"above": 1}}'], "gate: found 'size'"),
        (
            ["--keep_versions", "3", "--gate", '{"psi": {}}'],
            "gate.psi: found {}; expected a rule of above",
        ),
        (
            ["--keep_versions", "3", "--gate", '{"psi": 0.2}'],
            "gate.psi: found 0.2; expected a rule",
        ),
        (
            ["--keep_versions", "3", "--gate", '{"psi": {"over": 1}}'],
            "gate.psi: found {'over': 1}; expected a rule",
        ),
        # A gate that is never against anything.
        (
            ["--keep_versions", "3", "--gate", '{"psi": {"above": 0.1, "below": 0.1}}'],
            "gate.psi: found {above: 0.1, below: 0.1}, which no figure is at once; expected two",
        ),
        (["--keep_versions", "3", "--publish_as", "winner"], "publish_as: found 'winner'"),
        (["--output", ""], "output: found ''; expected text"),
    ],
)
def test_settings_of_versions_that_say_nothing_useful_are_refused(words, said) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(ChurnSettings, ["--input.path", "t", *words])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--scores_table", "t", "--scores_format", "delta"], "run_date: found nothing, but"),
        (["--scores_table", "t", "--run_date", "d"], "scores_format: found nothing; expected"),
        (["--scores_format", "iceberg", "--run_date", "d"], "scores_table: found nothing; expect"),
        (["--scores_format", "hudi"], "scores_format: found 'hudi'; expected 'delta' or 'iceberg'"),
    ],
)
def test_a_table_of_scores_needs_its_format_and_a_date(words: list[str], expected: str) -> None:
    given = ["--input.path", "p", "--model", "m", "--output", "o"]
    with pytest.raises(ConfigurationError, match=expected):
        load_settings(ScoreSettings, [*given, *words])
