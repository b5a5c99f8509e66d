"""Files by path or URI."""

from __future__ import annotations

from pathlib import Path

from gmm_spark.storage import files


def test_uris_and_paths_name_the_same_place(tmp_path: Path) -> None:
    files.write_text(str(tmp_path / "a"), "text")
    assert files.read_text(f"file://{tmp_path}/a") == "text"
    assert files.exists(f"file:{tmp_path}/a")
    assert not files.exists(f"file://{tmp_path}/b")
    files.move(f"file://{tmp_path}/a", f"file://{tmp_path}/b")
    assert files.names(str(tmp_path)) == ["b"]
