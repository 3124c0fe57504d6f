"""Edge lists as spreadsheets and other programs write them."""

import json
from pathlib import Path

import pytest

from data_builders.sources.networkx_graphs import NetworkX

nx = pytest.importorskip("networkx", reason="needs the extra 'graph'")


@pytest.mark.parametrize(
    ("name", "content", "edges"),
    [
        ("crlf.csv", b"a,b\r\nb,c\r\n", ["a>b", "b>c"]),
        ("hash.tsv", b"#cats\t#dogs\nC#\tF#\n#\tx\n", ["#cats>#dogs", "C#>F#", "#>x"]),
        ("remark.csv", b'# Nodes: 3, "Edges: 2\n#\na,b\n\n# more, or less\nlone\nb,c,7\n', ["a>b", "b>c"]),
        ("bom.csv", b"\xef\xbb\xbfa,b\nb,a\n", ["a>b", "b>a"]),
        ("bom.txt", b"\xef\xbb\xbfa b\nb a\n", ["a>b", "b>a"]),
        ("blanks.csv", b"a, b\nb ,c\n", ["a>b", "b>c"]),
        ("quotes.csv", b'"Smith, John", "Li ""Bo"" Bo"\n5" pipe,b\n', ['Smith, John>Li "Bo" Bo', '5" pipe>b']),
        ("header.csv", b"\xef\xbb\xbfSource,Target,Weight\r\na,b,1\r\nsource,target,2\r\n", ["a>b", "source>target"]),
        ("header.tsv", b"# found\n#from\tTo\na\tb\n", ["a>b"]),
        ("three.tsv", b"head\trelation\ttail\na\tknows\tb\n", ["a>b"]),
        ("empty.csv", b'id,source,target\n1,a,b\n2,b,\n3, ,c\n4,"",d\n', ["a>b"]),
        ("none.csv", b"to,be\nbe,to\n", ["to>be", "be>to"]),
    ],
)
def test_an_edge_list_is_read_as_it_is_written(name: str, content: bytes, edges: list[str], tmp_path: Path):
    (tmp_path / name).write_bytes(content)
    source = NetworkX.open(str(tmp_path / name), directed="true")
    assert sorted(entry.id for entry in source.index("edge")) == sorted(
        json.dumps(edge.split(">"), separators=(",", ":")) for edge in edges
    )
