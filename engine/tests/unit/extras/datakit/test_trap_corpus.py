import re
import statistics
from pathlib import Path

from markdown_it import MarkdownIt

from sluice.core.text import ALONE
from sluice.data.contract import check_characters
from sluice.data.privacy import DataPolicy, PrivacyPolicy
from sluice.data.rows import Document, load_corpus, scan_corpus
from sluice.extras.datakit.documents import import_documents
from sluice.retrieval.index_files import ChunkerSettings, chunk
from sluice.retrieval.markdown_chunks import size_of
from support.trap_corpus import write_corpus

PAGES, LIMIT = 500, 200
KEPT_WHOLE = ("fence", "code_block", "list_item_open")


def whole(document: Document) -> list[str]:
    lines = document.text.split("\n")
    tokens = [one for one in MarkdownIt("commonmark").parse(document.text) if one.type in KEPT_WHOLE and one.level < 2]
    parts = ("\n".join(lines[one.map[0] : one.map[1]]).strip() for one in tokens if one.map)
    return [part for part in parts if size_of(part) <= LIMIT]


def test_every_page_is_in_whole_or_named_with_a_remedy(tmp_path: Path) -> None:
    source, out = tmp_path / "pages", tmp_path / "corpus"
    reasons = write_corpus(source, PAGES)
    (source / "gone.md").symlink_to(tmp_path / "nowhere.md")
    (source / "more").symlink_to(tmp_path)
    reasons |= {"gone.md": "a link that leads out", "more": "a link that leads out"}
    policy = DataPolicy(privacy=PrivacyPolicy(allow=("http://user:password" + "@",)))
    report = import_documents(source, out, licence="CC0-1.0", origin="tests", policy=policy)
    named = dict(re.match(rf"{source}/(.*?):\d+: (.*)", line, re.DOTALL).groups() for line in report.left_out)  # type: ignore[union-attr]
    assert named.keys() == reasons.keys()
    assert [(name, named[name]) for name, why in reasons.items() if not re.search(why, named[name])] == []
    documents = load_corpus(out)
    assert len(documents) == report.documents == PAGES + 2 - len(reasons)
    assert check_characters(scan_corpus(out)[0]) == []

    words = []
    for document in documents:
        texts = [one.text for one in chunk([document], ChunkerSettings(name="structure", max_words=LIMIT))]
        assert "".join("".join(texts).split()) == "".join(document.text.split())
        assert [part for part in whole(document) if not any(part in text for text in texts)] == [], document.id
        words += [len(re.findall(rf"[{ALONE}]|[^\W{ALONE}]+", text)) for text in texts]
    assert 60 <= statistics.median(words) <= 200
    assert sum(count < 15 for count in words) < len(words) / 50
