from __future__ import annotations

import re

import pytest

from pladapt import InputError
from pladapt.reports.document import (
    Bullets,
    Document,
    Figure,
    Gallery,
    Listing,
    Section,
    Table,
    Text,
)
from pladapt.reports.markdown import to_markdown, write_markdown

PICTURE = Figure('<svg viewBox="0 0 1 1"></svg>', "a dot", "A dot.")


def of(*body):
    return Document("Title", "Lead.", (Section("Part", body),))


def test_each_kind_of_block_becomes_markdown():
    text = to_markdown(
        of(
            Text("A `b` c."),
            Bullets(("one", "two")),
            Table("Numbers", ("n", "m"), (("1", "2"),), folded=True),
            Listing("Lines", "x = 1", "python"),
            Section("Inner", (Text("Deep."),)),
        )
    )
    assert text == (
        "# Title\n\nLead.\n\n## Part\n\nA `b` c.\n\n- one\n- two\n\n"
        "Numbers\n\n| n | m |\n| --- | --- |\n| 1 | 2 |\n\n"
        "Lines:\n\n```python\nx = 1\n```\n\n### Inner\n\nDeep.\n"
    )


def test_figures_and_what_is_said_of_them_alone_are_left_to_the_page():
    assert to_markdown(of(Text("See below."), Gallery("Dots", (PICTURE,)))) == (
        "# Title\n\nLead.\n"
    )
    assert "Dots" not in to_markdown(of(Gallery("Dots", (PICTURE,)), Bullets(("kept",))))


def test_no_text_breaks_a_table_or_becomes_an_element():
    table = Table("A <b>", ("a|b",), (("line\nbreak <script>",),))
    assert to_markdown(of(table)).endswith(
        "A &lt;b>\n\n| a\\|b |\n| --- |\n| line break &lt;script> |\n"
    )


def test_a_listing_with_a_fence_gets_a_longer_one():
    assert "````\n```\n````" in to_markdown(of(Listing("Lines", "```")))


def test_a_document_is_written_whole(tmp_path):
    write_markdown(of(Text("A → B")), tmp_path / "report.md")
    assert [path.name for path in tmp_path.iterdir()] == ["report.md"]
    assert (tmp_path / "report.md").read_text(encoding="utf-8").endswith("A → B\n")


def test_a_row_of_another_length_is_refused():
    with pytest.raises(InputError, match="has 1 cells; expected 2"):
        Table("Numbers", ("n", "m"), (("1",),))


@pytest.mark.parametrize(
    ("cells", "numeric"),
    [
        (("1", "0.5 → 0.6", ""), True),
        (("3 of 9", "nan", "-0.1 to +0.2"), True),
        (("0.5 ± 0.1", "2,581", "12%"), True),
        (("all", "1"), False),
        (("1.2.3.x",), False),
        (("",), True),
    ],
)
def test_a_column_of_numbers_alone_is_told_from_words(cells, numeric):
    assert Table("", ("column",), tuple((cell,) for cell in cells)).numeric == (numeric,)


def test_a_table_without_rows_has_columns():
    assert len(Table("", ("a", "b"), ()).numeric) == 2


@pytest.mark.parametrize(
    "name",
    [
        "[x](javascript:alert(1))",
        "![x](http://host/pixel.png)",
        "[x][y]",
        "[y]: http://host",
        r"[x\](http://host)",
        "```[x](http://host)`",
    ],
)
def test_no_name_becomes_a_link(name):
    text = to_markdown(of(Text(name), Table("T", (name,), ((name,),))))
    # a bracket that closes is escaped by an odd number of backslashes
    assert not re.search(r"(?<!\\)(?:\\\\)*\](?=[(\[:])", text)


def test_brackets_that_are_no_link_and_code_stay_as_they_are():
    assert "in [0, 1], `a[0](b)`" in to_markdown(of(Text("in [0, 1], `a[0](b)`")))


def test_control_characters_are_shown():
    assert "a\\\\x1b[31mb" in to_markdown(of(Text("a\x1b[31mb")))
