"""What a Consul server does with its old data when it returns: the guard's notes, and the cleaning."""

from __future__ import annotations

import pytest

from habeat.act.channel import TIMEOUT
from habeat.errors import FolderError
from habeat.guard import Action
from habeat.quorum import Epoch, Stage, to_json
from habeat.roles import ALLOWED, EPOCH, RECOVERY, REJOINING, SAVED
from made_up import MadeUp, made_up

NEWER = Epoch(1, "newer", "svc2")


@pytest.fixture
def svc1() -> MadeUp:
    """Give a server of the majority site whose Consul is stopped."""
    server = made_up("svc1")
    server.scene.mesh.stop("svc1")
    return server


def test_a_clean_server_knows_nothing_of_what_it_had(svc1: MadeUp) -> None:
    """I3: neither who voted nor a recovery that was begun holds for data that is no longer there."""
    svc1.recoverer.attempt.save(svc1.configuration)
    svc1.plan(Stage.SAVED)
    assert "this server rejoins Consul clean, in epoch 1" in svc1.returning.clean(NEWER)
    assert (None, None) == (svc1.journal.noted(SAVED), svc1.journal.noted(RECOVERY))
    assert (to_json(NEWER), None) == (svc1.journal.noted(EPOCH), svc1.server.data)


def test_data_in_use_is_not_moved_away(svc1: MadeUp) -> None:
    """A process that has raft's database open would go on with files that nobody sees any more."""
    data, svc1.server.running = svc1.server.data, True
    with pytest.raises(FolderError, match="open: stop Consul first"):
        svc1.returning.clean(NEWER)
    assert (data, None) == (svc1.server.data, svc1.journal.noted(EPOCH))


def test_consul_does_not_start_in_the_middle_of_an_undo(svc1: MadeUp) -> None:
    """I3: between moving the failed attempt away and putting the copy back there is no data, which is not "clean"."""
    svc1.plan(Stage.UNDOING, backup="raft.copy")
    svc1.server.data = None
    with pytest.raises(FolderError, match=r"habeat is putting raft\.copy back as raft: run `habeat check`"):
        svc1.returning.guard(print)


def test_what_was_allowed_is_used_up_and_ends_with_the_boot(svc1: MadeUp) -> None:
    """An allowed start is one start, in this start of the machine."""
    svc1.lose("svc2")
    svc1.journal.note(ALLOWED, "boot-of-before")
    assert "G10" == svc1.returning.advice()[0].rule
    svc1.returning.allow()
    assert "G2" == svc1.returning.guard(print).rule
    assert svc1.journal.noted(ALLOWED) is None
    assert Action.HOLD is svc1.returning.guard(print).action


def test_who_rejoined_already_is_not_cleaned_again(svc1: MadeUp) -> None:
    """Killed after its Consul was started, it may have taken over the others' data: that is kept."""
    svc1.journal.note(EPOCH, to_json(NEWER))
    svc1.journal.note(REJOINING, to_json(NEWER))
    data = svc1.server.data
    assert "which rejoins: service-discover.service is started" in str(svc1.returning.overtaken())
    assert (data, True, None) == (svc1.server.data, svc1.server.running, svc1.journal.noted(REJOINING))


@pytest.fixture
def svc3() -> MadeUp:
    """Give a server whose Consul has a leader, in an epoch that Consul's data tells."""
    server = made_up("svc3")
    server.journal.note(EPOCH, to_json(NEWER))
    server.tell(NEWER)
    return server


def test_a_leader_of_our_epoch_is_told(svc3: MadeUp) -> None:
    """So that who returns may start beside it (rule G12)."""
    assert svc3.returning.word().led
    returned = MadeUp(svc3.scene, "svc1")
    returned.journal.note(EPOCH, to_json(NEWER))
    returned.lose("svc2")
    assert "G12" == returned.returning.advice()[0].rule


@pytest.mark.parametrize("told", [Epoch(), Epoch(2, "newest", "svc2"), None])
def test_a_leader_of_another_epoch_is_not_told(svc3: MadeUp, told: Epoch | None) -> None:
    """I3: a server that a rebuilt cluster took in has its leader, and may not know of the epoch yet."""
    svc3.tell(told)
    assert not svc3.returning.word().led


@pytest.mark.parametrize("trouble", ["slow", "denied"])
def test_who_cannot_ask_consul_still_tells_its_epoch(svc3: MadeUp, trouble: str) -> None:
    """What a server knows of epochs is told in time, whatever its agent does."""
    svc3.scene.mesh.trouble["svc3"] = trouble
    began, word = svc3.edges.ticks(), svc3.returning.word()
    assert (NEWER, False) == (word.epoch, word.led)
    assert svc3.edges.ticks() - began < TIMEOUT


def test_no_leader_is_told_where_there_is_none(svc3: MadeUp) -> None:
    """A leader that is gone is none, though its data is still there."""
    svc3.lose("svc1", "svc2")
    assert not svc3.returning.word().led
