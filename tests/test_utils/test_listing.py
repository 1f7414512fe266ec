"""Which files are data: not the hidden ones, and endings in any case."""

from mmbsa.utils.listing import visible_files


def test_visible_files(tmp_path):
    for name in (
        'a.JPG',
        'b.jpg',
        '._a.jpg',
        '.c.jpg',
        'd.png',
        'deep/e.jpg',
        'deep/._e.jpg',
        '.hidden/f.jpg',
        '__MACOSX/g.jpg',
        'deep/Thumbs.db',
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b'')
    (tmp_path / 'folder.jpg').mkdir()
    assert [path.name for path in visible_files(tmp_path, ['.jpg'])] == ['a.JPG', 'b.jpg']
    found = visible_files(tmp_path, ['.Jpg', '.png'], recursive=True)
    assert [str(path.relative_to(tmp_path)) for path in found] == [
        'a.JPG',
        'b.jpg',
        'd.png',
        'deep/e.jpg',
    ]
    assert visible_files(tmp_path / 'none', ['.jpg']) == []
