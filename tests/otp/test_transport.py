"""Frames over sockets: any splits, hostile lengths, descriptors, and the library's handshake."""

from __future__ import annotations

import hashlib
import hmac
import os
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import AuthenticationError as LibraryAuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otp import transport
from otp.transport import AuthenticationError, FrameSocket, Handshake, ProtocolError, peer_uid

Pair = tuple[FrameSocket, FrameSocket]
KEY = b"the cluster's key"
RANDOM = bytes(range(40))
PEER_SECONDS_MAX = 5.0  # the library's side runs in a thread; a broken handshake must not hang


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two ends that carry descriptors."""
    one, other = (FrameSocket(sock, fds=True) for sock in socket.socketpair())
    yield one, other
    one.close()
    other.close()


def open_fds() -> set[str]:
    """The numbers of the descriptors of this process (and of the one that lists them)."""
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def drain(channel: FrameSocket) -> list[bytes]:
    """Every frame that has arrived."""
    frames = channel.receive()
    while not channel.dry:
        frames += channel.receive()
    return frames


# ---------------------------------------------------------------- frames


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.binary(max_size=40), max_size=8),
    st.lists(st.integers(1, 30), max_size=12),
    st.sampled_from([None, 1, 2]),
)
def test_frames_arrive_whole_however_the_bytes_are_split(
    frames: list[bytes], cuts: list[int], most: int | None
) -> None:
    stream = b"".join(struct.pack("!i", len(frame)) + frame for frame in frames)
    raw, end = socket.socketpair()
    got: list[bytes] = []
    with raw, end:
        channel = FrameSocket(end)
        for size in [*cuts, len(stream)]:
            raw.sendall(stream[:size])
            stream = stream[size:]
            got += channel.receive(most)
            assert most is None or len(got) <= len(frames)
        while channel.buffered:
            got += channel.receive(most)
    assert got == frames


@pytest.mark.parametrize("length", [-1, -(2**31), 65, 2**31 - 1])
def test_a_length_beyond_the_bound_is_refused_before_the_frame_comes(length: int) -> None:
    raw, end = socket.socketpair()
    with raw, end:
        raw.sendall(struct.pack("!i", length))
        with pytest.raises(ProtocolError, match=f"a frame of {length} bytes; at most 64"):
            FrameSocket(end, frame_bytes_max=64).receive()


def test_the_longest_frame_travels_and_one_byte_more_is_not_sent() -> None:
    one, other = (FrameSocket(sock, frame_bytes_max=64) for sock in socket.socketpair())
    with pytest.raises(ValueError, match="a frame of 65 bytes; at most 64"):
        one.send(bytes(65))
    assert one.waiting == 0
    one.send(bytes(64))
    assert one.flush() and other.receive() == [bytes(64)]
    one.close()
    other.close()


def test_what_was_sent_before_the_end_counts_and_the_end_comes_after_it(pair: Pair) -> None:
    one, other = pair
    one.send(b"last words")
    assert one.flush()
    one.close()
    assert other.receive() == [b"last words"]
    with pytest.raises(EOFError, match="closed by the other side"):
        other.receive()
    other.send(b"anyone?")
    with pytest.raises(EOFError):
        other.flush()


def test_half_a_frame_before_the_end_is_no_frame() -> None:
    raw, end = socket.socketpair()
    with raw, end:
        channel = FrameSocket(end)
        raw.sendall(struct.pack("!i", 10) + b"half")
        assert channel.receive() == [] and channel.buffered
        raw.close()
        with pytest.raises(EOFError):
            channel.receive()


def test_an_empty_socket_has_nothing_and_says_that_it_is_dry(pair: Pair) -> None:
    one, other = pair
    assert other.receive() == [] and other.dry
    one.send(b"")
    one.flush()
    assert other.receive() == [b""] and not other.dry


def test_a_full_socket_takes_what_it_can_and_the_rest_later(pair: Pair) -> None:
    one, other = pair
    frames = [bytes([number]) * 100_000 for number in range(30)]
    for frame in frames:
        one.send(frame)
    assert one.waiting == sum(len(frame) + 4 for frame in frames)
    rounds, got = 0, list[bytes]()
    while not one.flush():
        rounds += 1
        assert one.waiting > 0
        got += drain(other)
    got += drain(other)
    assert rounds > 1 and got == frames and one.waiting == 0


# ---------------------------------------------------------------- descriptors


def test_descriptors_travel_in_order_and_the_sender_keeps_its_own(pair: Pair) -> None:
    one, other = pair
    ends = [os.pipe() for _ in range(3)]
    for number, (_, write_end) in enumerate(ends):
        one.send(b"frame %d" % number, [write_end])
        os.close(write_end)  # the queue has its own duplicate
    assert one.flush()
    assert drain(other) == [b"frame 0", b"frame 1", b"frame 2"]
    for number, (read_end, _) in enumerate(ends):
        received = other.fds.popleft()
        assert not os.get_inheritable(received), "a program must not inherit it"
        os.write(received, bytes([number]))
        os.close(received)
        assert os.read(read_end, 10) == bytes([number])
        assert os.read(read_end, 10) == b"", "no other copy of the write end is left"
        os.close(read_end)


def test_no_descriptor_leaks_sent_or_unsent_received_or_not() -> None:
    before = open_fds()
    one, other = (FrameSocket(sock, fds=True) for sock in socket.socketpair())
    read_end, write_end = os.pipe()
    one.send(b"arrives and is not taken", [read_end, write_end])
    assert one.flush()
    assert other.receive() and len(other.fds) == 2
    one.send(b"arrives and is not read", [read_end])
    assert one.flush()
    one.send(b"is never sent", [write_end])
    os.close(read_end)
    os.close(write_end)
    one.close()
    other.close()
    assert open_fds() == before
    assert one.waiting == 0


def test_an_unwanted_descriptor_does_not_stay_with_us() -> None:
    one, other = socket.socketpair()
    before = open_fds()
    sender, plain = FrameSocket(one, fds=True), FrameSocket(other)
    sender.send(b"take this", [0])
    assert sender.flush() and plain.receive() == [b"take this"]
    assert not plain.fds and open_fds() == before
    sender.close()
    plain.close()


def test_more_descriptors_than_a_frame_may_carry_end_the_connection(pair: Pair) -> None:
    one, other = pair
    before = open_fds()
    socket.send_fds(one.sock, [b"\0\0\0\0"], [0] * (transport.FDS_MAX + 20))
    with pytest.raises(EOFError, match="descriptors were lost"):
        other.receive()
    other.close()
    assert len(open_fds()) == len(before) - 1, "what did arrive is closed with the socket"


def test_who_is_at_the_other_end(pair: Pair) -> None:
    assert peer_uid(pair[0].sock) == os.getuid()


# ---------------------------------------------------------------- the handshake


def shake(ours: FrameSocket, handshake: Handshake) -> None:
    """Run our side over a socket to its end."""
    ours.sock.settimeout(PEER_SECONDS_MAX)
    for frame in handshake.opening():
        ours.send(frame)
    ours.flush()
    while not handshake.done:
        for frame in ours.receive(1):
            for answer in handshake.feed(frame):
                ours.send(answer)
        ours.flush()


def library_accepts(connection: Connection, key: bytes) -> None:
    """What multiprocessing.connection.Listener does."""
    deliver_challenge(connection, key)
    answer_challenge(connection, key)


def library_connects(connection: Connection, key: bytes) -> None:
    """What multiprocessing.connection.Client does."""
    answer_challenge(connection, key)
    deliver_challenge(connection, key)


LIBRARY: list[tuple[bool, Callable[[Connection, bytes], None]]] = [
    (True, library_connects),
    (False, library_accepts),
]


@pytest.mark.parametrize(("accepting", "library"), LIBRARY)
def test_the_library_and_we_agree(
    accepting: bool, library: Callable[[Connection, bytes], None]
) -> None:
    ours, theirs = socket.socketpair()
    channel = FrameSocket(ours)
    with ThreadPoolExecutor(1) as pool, Connection(theirs.detach()) as connection:
        peer = pool.submit(library, connection, KEY)
        shake(channel, Handshake(KEY, accepting=accepting, random=RANDOM))
        peer.result(PEER_SECONDS_MAX)
        channel.send(b"after it, frames")
        channel.flush()
        assert connection.recv_bytes() == b"after it, frames"
    channel.close()


@pytest.mark.parametrize(("accepting", "library"), LIBRARY)
def test_the_library_with_another_key_is_refused(
    accepting: bool, library: Callable[[Connection, bytes], None]
) -> None:
    ours, theirs = socket.socketpair()
    channel = FrameSocket(ours)
    with ThreadPoolExecutor(1) as pool, Connection(theirs.detach()) as connection:
        peer = pool.submit(library, connection, b"another key")
        with pytest.raises(AuthenticationError):
            shake(channel, Handshake(KEY, accepting=accepting, random=RANDOM))
        channel.close()
        with pytest.raises((LibraryAuthenticationError, EOFError, OSError)):
            peer.result(PEER_SECONDS_MAX)


def together(one: Handshake, other: Handshake) -> None:
    """Pass frames between two of ours until nobody has more to say."""
    to_other, to_one = one.opening(), other.opening()
    while to_other or to_one:
        to_one += [reply for frame in to_other for reply in other.feed(frame)]
        to_other = [reply for frame in to_one for reply in one.feed(frame)]
        to_one = []


def test_two_of_ours_agree_and_say_nothing_after_it() -> None:
    one = Handshake(KEY, accepting=True, random=RANDOM)
    other = Handshake(KEY, accepting=False, random=bytes(40))
    together(one, other)
    assert one.done and other.done
    with pytest.raises(AuthenticationError, match="over"):
        one.feed(b"more")


def test_two_of_ours_with_different_keys_do_not() -> None:
    one = Handshake(KEY, accepting=True, random=RANDOM)
    other = Handshake(b"another", accepting=False, random=bytes(40))
    with pytest.raises(AuthenticationError, match="wrong authkey"):
        together(one, other)
    assert not one.done and not other.done


def test_a_challenge_sent_back_to_us_is_no_answer() -> None:
    """The reflection attack: whoever has no key lets us answer our own question."""
    ours = Handshake(KEY, accepting=True, random=RANDOM)
    (challenge,) = ours.opening()
    with pytest.raises(AuthenticationError):
        ours.feed(challenge)


@pytest.mark.parametrize(
    "digest", ["md5", "sha256", "sha384"], ids=["the old form", "the new form", "and its cousin"]
)
def test_every_digest_of_the_library_is_understood(digest: str) -> None:
    prefix = b"" if digest == "md5" else b"{%s}" % digest.encode()
    ours = Handshake(KEY, accepting=True, random=RANDOM)
    (challenge,) = ours.opening()
    message = challenge.removeprefix(b"#CHALLENGE#")
    answer = prefix + hmac.new(KEY, message, digest).digest()
    assert ours.feed(answer) == [b"#WELCOME#"]
    (reply,) = ours.feed(b"#CHALLENGE#" + prefix + RANDOM)
    assert reply == prefix + hmac.new(KEY, prefix + RANDOM, digest).digest()
    assert ours.feed(b"#WELCOME#") == [] and ours.done


@settings(max_examples=100, deadline=None)
@given(st.booleans(), st.binary(max_size=300), st.sampled_from([b"", b"#CHALLENGE#", b"{sha256}"]))
def test_garbage_is_refused_and_never_accepted(
    accepting: bool, garbage: bytes, head: bytes
) -> None:
    ours = Handshake(KEY, accepting=accepting, random=RANDOM)
    frame = head + garbage
    if not accepting and frame.startswith(b"#CHALLENGE#"):
        (answer,) = ours.feed(frame)
        assert len(answer) in (16, 5 + 16, 8 + hashlib.sha256().digest_size, 8 + 48)
        frame = b"?" + garbage
    with pytest.raises(AuthenticationError):
        ours.feed(frame)
    assert not ours.done


@pytest.mark.parametrize("size", [0, 39, 41])
def test_a_challenge_needs_its_randomness(size: int) -> None:
    with pytest.raises(ValueError, match="40 random bytes"):
        Handshake(KEY, accepting=True, random=bytes(size))
