"""Views, tables and counted arrays."""

from __future__ import annotations

import msgspec
import pytest

from caremesh import codec
from caremesh.errors import BadInput
from caremesh.ledger.state import CountedList, Table, View, read_value


class Row(msgspec.Struct, frozen=True):
    number: int


ROWS = Table(b"test/row/", Row)
ITEMS = CountedList(b"test/item/", Row)


def view(**content: bytes) -> View:
    return View({key.encode(): value for key, value in content.items()})


def test_a_view_shows_its_changes_and_leaves_what_is_below() -> None:
    below = {b"a": b"1", b"b": b"2"}
    top = View(below)
    top.put(b"a", b"9")
    top.delete(b"b")
    top.put(b"c", b"3")
    top.delete(b"never")
    assert [top.get(key) for key in (b"a", b"b", b"c", b"d")] == [b"9", None, b"3", None]
    assert below == {b"a": b"1", b"b": b"2"}
    assert top.changes() == [(b"a", b"1", b"9"), (b"b", b"2", None), (b"c", None, b"3")]


def test_what_is_set_to_what_it_was_is_no_change() -> None:
    top = view(a=b"1")
    top.put(b"a", b"2")
    top.put(b"a", b"1")
    top.put(b"b", b"1")
    top.delete(b"b")
    assert top.changes() == []


def test_rolling_back_undoes_all_since_the_mark() -> None:
    top = view(a=b"1")
    top.put(b"b", b"2")
    mark = top.checkpoint()
    top.put(b"a", b"9")
    top.put(b"b", b"9")
    top.put(b"b", b"8")
    top.delete(b"a")
    top.put(b"c", b"9")
    top.rollback(mark)
    assert [top.get(key) for key in (b"a", b"b", b"c")] == [b"1", b"2", None]
    assert top.changes() == [(b"b", None, b"2")]
    top.rollback(0)
    assert top.changes() == []


def test_keys_have_one_to_65535_bytes() -> None:
    top = view()
    top.put(b"k" * 65_535, b"")
    for key in (b"", b"k" * 65_536):
        with pytest.raises(BadInput, match=r"state\.01"):
            top.put(key, b"")


def test_a_table_keeps_typed_values_under_keys_of_its_own() -> None:
    top = view()
    ROWS.put(top, Row(1), b"ab", b"c")
    ROWS.put(top, Row(2), b"a", b"bc")
    ROWS.put(top, Row(3), b"")
    assert [ROWS.get(top, *parts) for parts in ((b"ab", b"c"), (b"a", b"bc"), (b"",), ())] == [
        Row(1),
        Row(2),
        Row(3),
        None,
    ]
    ROWS.delete(top, b"ab", b"c")
    assert ROWS.get(top, b"ab", b"c") is None
    assert ROWS.key(b"a", b"bc") == b"test/row/\x00\x01a\x00\x02bc"


WRONG = [b"", b"row", b"Row/", b"a b/", b"a\x00/", b"a\x80/", b"a\x20/", b"a{/", b"A/", b"Z/", b"/a"]


@pytest.mark.parametrize("prefix", WRONG)
def test_a_prefix_is_text_that_ends_in_a_slash(prefix: bytes) -> None:
    with pytest.raises(BadInput, match=r"state\.02"):
        Table(prefix, Row)


@pytest.mark.parametrize("prefix", [b"/", b"a!/", b"z/", b"a@/", b"a[/", b"a9-_/b/"])
def test_a_prefix_may_be_any_other_text(prefix: bytes) -> None:
    assert Table(prefix, Row).prefix == prefix
    assert Table(prefix, Row).kind is Row


def test_an_array_has_keys_of_its_own() -> None:
    items = CountedList(b"test/item/", Row)
    owner = b"test/item/\x00\x01o"
    assert items.first_key(b"o") == owner + b"/first"
    assert items.count_key(b"o") == owner + b"/count"
    assert items.key(258, b"o") == owner + b"/" + bytes(6) + b"\x01\x02"


def test_an_array_starts_at_zero() -> None:
    top = view()
    items = CountedList(b"test/item/", Row)
    items.append(top, Row(7), b"o")
    assert items.get(top, 0, b"o") == Row(7)
    items.put(top, 0, Row(8), b"o")
    assert items.items(top, b"o") == [Row(8)]


def test_an_error_names_the_element() -> None:
    top = view()
    for number in range(3):
        ITEMS.append(top, Row(number), b"o")
    ITEMS.drop_first(top, b"o")
    with pytest.raises(BadInput) as caught:
        ITEMS.put(top, 3, Row(1), b"o")
    assert caught.value.place == "3"
    with pytest.raises(BadInput) as caught:
        ITEMS.put(top, 0, Row(1), b"o")
    assert caught.value.place == "0"
    top.delete(ITEMS.key(2, b"o"))
    with pytest.raises(BadInput) as caught:
        ITEMS.items(top, b"o")
    assert caught.value.place == "2"
    for _ in range(2):
        ITEMS.drop_first(top, b"o")
    with pytest.raises(BadInput) as caught:
        ITEMS.drop_first(top, b"o")
    assert caught.value.place == "3"


def test_a_value_of_another_shape_is_noticed() -> None:
    with pytest.raises(BadInput, match=r"codec\.03"):
        read_value(codec.encode({"number": "one"}), Row)
    with pytest.raises(BadInput, match=r"codec\.01"):
        read_value(b"\xff", Row)
    with pytest.raises(BadInput, match=r"codec\.03"):
        read_value(codec.encode("AAAA"), bytes)  # text is no other spelling of bytes


def test_a_counted_list_is_exactly_what_lies_between_its_bounds() -> None:
    top = view()
    assert ITEMS.bounds(top, b"o") == (0, 0)
    assert [ITEMS.append(top, Row(number), b"o") for number in range(4)] == [0, 1, 2, 3]
    ITEMS.append(top, Row(9), b"other")
    assert ITEMS.items(top, b"o") == [Row(0), Row(1), Row(2), Row(3)]
    ITEMS.drop_first(top, b"o")
    ITEMS.put(top, 2, Row(22), b"o")
    assert ITEMS.bounds(top, b"o") == (1, 4)
    assert ITEMS.items(top, b"o") == [Row(1), Row(22), Row(3)]
    assert [ITEMS.get(top, index, b"o") for index in (-1, 0, 1, 4)] == [None, None, Row(1), None]
    assert top.get(ITEMS.first_key(b"o")) == codec.encode(1)
    assert top.get(ITEMS.count_key(b"o")) == codec.encode(4)
    assert top.get(ITEMS.key(3, b"o")) == codec.encode(Row(3))
    for _ in range(3):
        ITEMS.drop_first(top, b"o")
    assert ITEMS.items(top, b"o") == []
    assert ITEMS.append(top, Row(5), b"o") == 4
    assert ITEMS.items(top, b"other") == [Row(9)]


def test_a_counted_list_refuses_what_is_not_there() -> None:
    top = view()
    with pytest.raises(BadInput, match=r"state\.03"):
        ITEMS.drop_first(top, b"o")
    ITEMS.append(top, Row(0), b"o")
    for index in (-1, 1):
        with pytest.raises(BadInput, match=r"state\.03"):
            ITEMS.put(top, index, Row(1), b"o")
    top.delete(ITEMS.key(0, b"o"))
    with pytest.raises(BadInput, match=r"state\.03"):
        ITEMS.items(top, b"o")


def test_the_same_bytes_are_decoded_once_for_each_kind_and_errors_are_not_kept() -> None:
    data = codec.encode({"number": 7})
    first = read_value(data, Row)
    assert read_value(bytes(bytearray(data)), Row) is first
    assert read_value(data, dict) == {"number": 7}
    assert read_value(codec.encode({"number": 8}), Row) == Row(8)
    for _ in range(2):
        with pytest.raises(BadInput) as error:
            read_value(data, int)
        assert error.value.code == "codec.03"
