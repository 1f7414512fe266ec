"""Frames that are read when they are asked for."""

import pickle

import pytest
from mmengine.dataset import pseudo_collate

from mmbsa.structures import FrameSequence

READ = []


def read(source, index):
    READ.append(index)
    return source * 10 + index


def test_frames_are_read_when_indexed():
    READ.clear()
    frames = FrameSequence(read, 3, 4)
    assert len(frames) == 4 and not READ
    assert frames[1] == 31 and frames[-1] == 33 and READ == [1, 3]
    assert list(pickle.loads(pickle.dumps(frames))) == [30, 31, 32, 33]
    with pytest.raises(IndexError, match='frame 4 of a recording with 4'):
        frames[4]


def test_collating_reads_nothing():
    READ.clear()
    sequences = [FrameSequence(read, source, length) for source, length in ((1, 3), (2, 5))]
    batch = pseudo_collate([dict(inputs=dict(frames=frames)) for frames in sequences])
    assert batch['inputs']['frames'] == sequences and not READ
