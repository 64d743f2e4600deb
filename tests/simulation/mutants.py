"""The protocol with one rule broken at a time: what the tests of the protocol must notice."""

from __future__ import annotations

import msgspec

from ballot.replication_copy import Follower
from ballot.replication_peer import Peer
from ballot.replication_writer import NEED, Writer
from ballot.wire import Ack, Adopt, Append, Prepare, Record, Replica
from tests.simulation.ghost import AlreadyVoted, Command
from tests.simulation.hosts import FreshRead, WriterHost
from tests.simulation.world import Kinds


class SealsTwo(Writer):
    """R4 broken: two promises are enough."""

    def _elect(self, now: float) -> None:
        votes = self.votes
        if len(votes) == 2:
            self.votes = {**votes, "nobody": min(votes.values(), key=lambda v: v.last.position)}
        super()._elect(now)

    def _best(self) -> str:
        self.votes.pop("nobody", None)
        return super()._best()


class LongestLog(Writer):
    """R4 broken: the longest log is the best."""

    def _best(self) -> str:
        return max(sorted(self.votes), key=lambda node: self.votes[node].last.position)


class NoBarrier(Writer):
    """R5 broken: entries of older epochs are counted."""

    def _recovered(self, now: float) -> None:
        if self._first:
            super()._recovered(now)
            return
        self.peers = {node: Peer(now) for node in self.record.members if node != self.node}
        self.commit, self.copy.voter, self.phase = self.copy.commit, True, "adopt"
        self._barrier = self.copy.last.position
        for peer in self.peers.values():
            peer.sent = self._barrier
        self._send(tuple(self.peers), self._frame(self.copy.last, ()))


class AnyAck(Writer):
    """R6 broken: an acknowledgement of an older epoch is counted."""

    def _message(self, message: Replica, now: float) -> None:
        if isinstance(message, Ack) and self.peers:
            upto = min(message.upto, self.copy.last.position)
            message = msgspec.structs.replace(message, epoch=self.epoch, upto=upto)
        super()._message(message, now)


class NoActivation(Writer):
    """R7 broken: serves while the record still says that nothing was ever recorded."""

    def _activate(self, now: float) -> None:
        self._activated(now)


class OneFollower(Writer):
    """R1 broken: one follower is enough."""

    def _held_by(self, count: int) -> int:
        return super()._held_by(count - 1 if count == NEED else count)


class SameEpoch(Writer):
    """R2 broken: a restarted process goes on in the epoch of the one before it."""

    def _judge_claim(self, record: Record, now: float) -> None:
        if self.phase == "record" and record.status == "active":
            self._want, self.epoch = record, record.epoch
            self._claimed(now)
        else:
            super()._judge_claim(record, now)


class NoFence(Follower):
    """R3 broken: an older epoch is obeyed."""

    def _obeys(self, message: Replica, now: float) -> bool:
        if self.copy.voter and message.epoch < self.copy.promised:
            return True
        return super()._obeys(message, now)


class Overwrites(Follower):
    """R6 broken: the log becomes what the frame says."""

    def _append(self, message: Append, now: float) -> None:
        prev = message.prev
        if (
            self.copy.voter
            and message.epoch >= self.copy.promised
            and self.copy.head(prev.position) == prev
            and prev.position < self.copy.last.position
            and message.entries
        ):
            self.copy.commit = min(self.copy.commit, prev.position)
            self.copy.cut(prev.position + 1)
        super()._append(message, now)


class AcksLength(Follower):
    """R6 broken: acknowledges its length, a dead tail with it."""

    def _acknowledge(self, message: Replica) -> None:
        self._matched = self.copy.last.position
        super()._acknowledge(message)


class CommitsTail(Follower):
    """R11 broken: takes the writer's commit for a tail that is not the writer's."""

    def _commit(self, commit: int) -> None:
        self.copy.commit = max(self.copy.commit, min(commit, self.copy.last.position))


class NoNonce(Follower):
    """R8 broken: any frame makes a copy count that has read the record."""

    def _obeys(self, message: Replica, now: float) -> bool:
        if isinstance(message, Append) and 0 < self.copy.promised <= message.epoch:
            self.copy.voter = True
        return super()._obeys(message, now)


class AnyAdoption(Follower):
    """R8 broken: a part that was meant for the copy before it makes this one count."""

    def _adopt(self, message: Adopt, now: float) -> None:
        mine = self._incarnation
        self._incarnation = message.incarnation
        super()._adopt(message, now)
        self._incarnation = mine


class PromisesBlank(Follower):
    """R8 broken: a copy without a log makes promises."""

    def _prepare(self, message: Prepare, now: float) -> None:
        was, self.copy.voter = self.copy.voter, True
        super()._prepare(message, now)
        self.copy.voter = was


class ShowsAll(Follower):
    """R11 broken: readers see what is not committed."""

    @property
    def visible(self) -> int:
        return self.copy.last.position if self.copy.voter else 0


class NoDedupe(WriterHost):
    """R10 broken: a repeated command is a new one."""

    def decide(self, command: Command) -> None:
        self.voted.pop(command.actor, None)
        self.dedupe = type(self.dedupe)()
        super().decide(command)


class DedupeInMemory(WriterHost):
    """R10 broken: what was recorded is forgotten with the process."""

    def rebuild(self) -> None:
        return


class EarlyReject(WriterHost):
    """R10 broken: a refusal does not wait for what it rests on."""

    def refuse(self, refusal: AlreadyVoted) -> None:
        self.world.ghost.answered(refusal)
        self.world.answered(self, refusal)


class LocalRead(WriterHost):
    """R12 broken: the writer asks nobody whether it still is the writer."""

    def read(self, item: FreshRead) -> None:
        self.world.ghost.read_confirmed(self.machine.commit, len(self.world.ghost), self.name)


MUTANTS: dict[str, Kinds] = {
    "seal-2-of-5": Kinds(writer=SealsTwo),
    "best-by-length": Kinds(writer=LongestLog),
    "no-barrier": Kinds(writer=NoBarrier),
    "ack-without-epoch": Kinds(writer=AnyAck),
    "no-activation": Kinds(writer=NoActivation),
    "commit-on-2-of-5": Kinds(writer=OneFollower),
    "same-epoch-resumed": Kinds(writer=SameEpoch),
    "no-fence": Kinds(follower=NoFence),
    "overwrite": Kinds(follower=Overwrites),
    "ack-by-length": Kinds(follower=AcksLength),
    "commit-of-a-dead-tail": Kinds(follower=CommitsTail),
    "join-without-nonce": Kinds(follower=NoNonce),
    "adopt-without-nonce": Kinds(follower=AnyAdoption),
    "amnesia-votes": Kinds(new_copy_votes=True),
    "amnesia-promises": Kinds(follower=PromisesBlank),
    "read-uncommitted": Kinds(follower=ShowsAll),
    "no-dedupe": Kinds(writer_host=NoDedupe),
    "dedupe-in-memory": Kinds(writer_host=DedupeInMemory),
    "early-reject": Kinds(writer_host=EarlyReject),
    "writer-local-read": Kinds(writer_host=LocalRead),
}
