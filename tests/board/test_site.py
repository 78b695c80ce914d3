"""The board as pages: every text escaped, nothing asked of other hosts, a folder replaced as a whole or not at all."""

import base64
import hashlib
import html.parser
import json
import re

import pytest

from gsbench.board.site import MARKER, write_site
from gsbench.core.parsing import InputError
from tests.board.results import LABELS, make_result

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)> {{ 7 * 7 }} \"' &amp;"


class Page(html.parser.HTMLParser):
    """The elements of a page, and the texts of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag == "script"
        if self.inside:
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag) -> None:
        self.inside = False

    def handle_data(self, data) -> None:
        if self.inside:
            attributes, text = self.scripts[-1]
            self.scripts[-1] = attributes, text + data


def data_of(path) -> dict:
    (text,) = [text for attributes, text in Page(path.read_text()).scripts if attributes.get("id") == "data"]
    return json.loads(text)


@pytest.fixture
def site(board, put, tmp_path):
    leaked = {"files": (next(iter(LABELS)),)}
    put(make_result("good", wrong=2), leaked)
    put(make_result("poor", wrong=30), leaked)
    put(make_result("poor", seed=1, wrong=31), leaked)
    assert write_site(board, tmp_path / "site") == 5
    return tmp_path / "site"


def test_a_page_for_the_board_for_two_rows_and_for_each_entry(site) -> None:
    pages = sorted(str(path.relative_to(site)) for path in site.rglob("*.html"))
    assert len(pages) == 5
    assert {"index.html", "compare.html"} <= set(pages)
    data = data_of(site / "index.html")
    assert [(row["name"], row["n"], row["standing"]) for row in data["rows"]] == [
        ("good", 1, "best"),
        ("poor", 2, "behind"),
    ]
    assert all((site / row["page"]).is_file() for row in data["rows"])
    good, poor = data["rows"]
    assert poor["gap"] > poor["resolution"] > 0
    assert good["without"]["files"] != good["accuracy"]


def test_the_bits_that_are_compared_are_the_entries_answers(site) -> None:
    data = data_of(site / "compare.html")
    good, poor = data["rows"]
    (about,) = data["datasets"]
    assert {name: about["classes"][label] for name, label in zip(about["ids"], about["labels"], strict=True)} == LABELS
    bits = "".join(f"{byte:08b}" for byte in base64.b64decode(good["correct"][0]))
    wrong = {name for name, bit in zip(about["ids"], bits, strict=False) if bit == "0"}
    assert wrong == set(list(LABELS)[:2])
    assert len(poor["correct"]) == 2


def test_an_entry_page_shows_what_is_wrong_and_links_its_other_seed(site) -> None:
    page = next(path for path in site.rglob("poor-s0.html"))
    text = page.read_text()
    assert "30 of 60 test objects wrong" in text
    (link,) = [
        attributes["href"] for tag, attributes in Page(text).tags if tag == "a" and "poor-s1" in str(attributes["href"])
    ]
    assert (page.parent / link).resolve().is_file()
    assert "self-reported" in text


def test_texts_of_others_are_escaped_everywhere(board, put, tmp_path) -> None:
    result = make_result()
    site = tmp_path / "site"
    put(result)
    entry = next(board.rglob("net-s0.json"))
    entry.write_text(entry.read_text().replace('"Net"', json.dumps(HOSTILE)))
    write_site(board, site)
    for path in site.rglob("*.html"):
        page = Page(path.read_text())
        assert not [tag for tag, _ in page.tags if tag == "img"]
        assert len(page.scripts) == (0 if "entries" in path.parts else 2)
        assert not [key for _, attributes in page.tags for key in attributes if key.startswith("on")]
        assert "49" not in re.findall(r"<title>(.*)</title>", path.read_text())[0]


def test_a_page_runs_its_own_script_and_asks_no_host(site) -> None:
    for path in site.rglob("*.html"):
        text = path.read_text()
        page = Page(text)
        policy = next(
            attributes["content"] for tag, attributes in page.tags if tag == "meta" and "http-equiv" in attributes
        )
        assert policy.startswith("default-src 'none'; ")
        for attributes, script in page.scripts:
            if "type" not in attributes:
                digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
                assert f"script-src 'sha256-{digest}'" in policy
        assert not re.search(r"""(?:src|href|action)=["']?(?:https?:)?//""", text)
        assert not [attributes for _, attributes in page.tags if "style" in attributes], "the policy would not allow it"


def test_a_folder_of_other_things_is_left_alone(board, put, tmp_path) -> None:
    put(make_result())
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match=r"other: holds other things \(must be new, empty, or a site"):
        write_site(board, other)
    assert [path.name for path in other.iterdir()] == ["thesis.txt"]
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"holds other things|is a file"):
        write_site(board, tmp_path / "file")


def test_a_site_is_replaced_as_a_whole(site, board, put) -> None:
    (site / "entries" / "left over.html").write_text("of an entry that is gone")
    put(make_result("third", wrong=5), {"files": (next(iter(LABELS)),)})
    assert write_site(board, site) == 6
    assert not (site / "entries" / "left over.html").exists()
    assert (site / MARKER).is_file()
    assert [path.name for path in site.parent.iterdir() if path.name.startswith(".")] == []


def test_a_board_that_does_not_hold_leaves_the_old_site(site, board) -> None:
    before = (site / "index.html").read_bytes()
    entry = next(board.rglob("good-s0.json"))
    record = json.loads(entry.read_text())
    record["metrics"]["accuracy"] = 1.0
    entry.write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"metrics\.accuracy"):
        write_site(board, site)
    assert (site / "index.html").read_bytes() == before


def test_an_empty_board_has_a_page(board, put, tmp_path) -> None:
    put(make_result()).unlink()
    assert write_site(board, tmp_path / "site") == 2
    assert data_of(tmp_path / "site" / "index.html") == {"datasets": [], "rows": []}


def test_provenance_is_what_the_board_found(board, put, tmp_path) -> None:
    entry = put(make_result())
    write_site(board, tmp_path / "site", {entry: "match"})
    assert data_of(tmp_path / "site" / "index.html")["rows"][0]["provenance"] == "recipe"
    write_site(board, tmp_path / "site", {entry: "differ"})
    assert data_of(tmp_path / "site" / "index.html")["rows"][0]["provenance"] == "self-reported"
