"""The steps that rebuild Consul's quorum, one by one, on servers of the made-up world (I3, I5)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from habeat.act.raft_folder import RaftFolder
from habeat.errors import FolderError
from habeat.http import Reply
from habeat.machine import Command
from habeat.model import Done, Failed, Outcome, Unknown, Waiting
from habeat.quorum import Epoch, Stage, to_json
from habeat.roles import EPOCH, RECOVERY, STARTING
from habeat.roles.attempt import ATTEMPTS
from habeat.roles.consulserver import Recoverer
from habeat.simulator.instance import Instance
from habeat.simulator.locks import Store, said
from made_up import JOB, MadeUp, made_up

NO_ROUTE = "cannot be pinged (no route)"


@pytest.fixture
def svc2() -> MadeUp:
    """Give the one server of the minority site, in mid-recovery: the others are lost, and its Consul is stopped."""
    server = made_up("svc2")
    server.recoverer.attempt.save(server.configuration)
    server.lose("svc1", "svc3")
    server.scene.mesh.stop("svc2")
    return server


def unable(server: MadeUp) -> Recoverer:
    """Return its steps, on a host that can send no ping."""
    return replace(server.recoverer, looks=lambda addresses: [Unknown(NO_ROUTE) for _ in addresses])


def why(outcome: Outcome, kind: type[Done | Failed | Waiting]) -> str:
    """Return what an outcome of a kind says."""
    assert isinstance(outcome, kind), outcome
    return outcome.detail if isinstance(outcome, Done) else outcome.why


# -- what is there already


def test_a_leader_that_is_there_ends_a_recovery() -> None:
    """I3: where Consul has a leader nothing is stopped, not even where a recovery was begun."""
    svc2 = made_up("svc2")
    svc2.plan(Stage.SAVED, backup="raft.copy")
    for step in (svc2.recoverer.preflight, svc2.recoverer.stop, svc2.recoverer.backup, svc2.recoverer.peers):
        assert "Consul has a leader, so there is nothing to rebuild" in why(step(JOB), Done)
    assert svc2.server.running


def test_who_is_left_behind_follows_the_newer_plan() -> None:
    """L: another survivor that rebuilds anew, and counts on this one, is followed, though we had begun before."""
    svc2, svc4 = made_up("svc2", survivors=2), made_up("svc4", survivors=2)
    svc4.scene = svc2.scene
    svc2.recoverer.attempt.save(svc2.configuration)
    newer = svc4.plan(Stage.WRITTEN, "svc2", "svc4", number=2)
    svc4.journal.note(EPOCH, to_json(newer.epoch))
    begun = svc2.plan(Stage.WRITTEN, "svc2", "svc4")
    svc2.journal.note(EPOCH, to_json(begun.epoch))
    svc2.lose("svc1", "svc3", "svc5")
    svc2.scene.mesh.stop("svc4")
    assert "it follows svc2" in why(svc2.recoverer.preflight(JOB), Done)
    followed = svc2.recoverer.attempt.recovery()
    assert followed is not None
    assert (newer.epoch, Stage.PREPARED, begun.epoch) == (
        followed.epoch,
        followed.stage,
        followed.after and followed.after.epoch,
    )


# -- what is undone


@pytest.fixture
def unguarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no guard be installed, which would note that Consul starts."""
    monkeypatch.setattr(Instance, "allows_consul", lambda _self: "there is no guard")


@pytest.mark.usefixtures("unguarded")
@pytest.mark.parametrize("how", ["a lost server returns", "it cannot be told", "no copy", "no file"])
def test_started_again_without_the_file(svc2: MadeUp, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """I3: where a lost server returns, or a file cannot be written, Consul starts as it was, and the copy is stale."""
    recovery, again = svc2.plan(Stage.SAVED, backup="raft.copy"), "service-discover.service was started again"
    svc2.server.peers = ("id-svc2",)
    if how == "no copy":
        svc2.scene.full.add("svc2")
        assert again in why(svc2.recoverer.attempt.copy(recovery), Failed)
    elif how == "no file":
        monkeypatch.setattr(type(svc2.recoverer.attempt.folder), "write_peers", _no_room)
        assert again in why(svc2.recoverer.peers(JOB), Failed)
    elif how == "it cannot be told":
        assert f"10.0.1.10 {NO_ROUTE}; 10.0.1.11 {NO_ROUTE}, so {again}" in why(unable(svc2).peers(JOB), Waiting)
    else:
        svc2.scene.world.hosts["svc1"].up = True
        assert f"answers ping in 0.5 ms, so {again}" in why(svc2.recoverer.peers(JOB), Waiting)
    assert svc2.server.running
    assert svc2.server.begun is None, "it took no new configuration in"
    noted = svc2.recoverer.attempt.recovery()
    assert noted is not None
    assert (Stage.PREPARED, "") == (noted.stage, noted.backup)


def _no_room(_folder: RaftFolder, _text: str) -> None:
    raise FolderError("No space left on device")


@pytest.mark.usefixtures("unguarded")
def test_what_allowed_a_start_ends_with_it(svc2: MadeUp) -> None:
    """I3: no later start is allowed by it, whoever asks for that."""
    assert "is started" in why(svc2.recoverer.attempt.start(None), Done)
    assert (True, None) == (svc2.server.running, svc2.journal.noted(STARTING))


def test_the_file_is_taken_from_a_server_at_rest(svc2: MadeUp) -> None:
    """I3: one that was started by hand meanwhile may take it in at this moment, so it is stopped before that is judged."""
    recovery = svc2.plan(Stage.WRITTEN, backup="raft.copy")
    svc2.scene.mesh.start("svc2")
    svc2.server.peers, starts = ("id-svc2",), svc2.server.starts
    job = replace(JOB, command=Command.CLOSE)
    assert "runs, and nothing is rebuilt here" in why(svc2.recoverer.attempt.put_back(job, recovery), Done)
    assert starts + 1 == svc2.server.starts
    assert svc2.server.begun is None, "it took no new configuration in"


def test_what_consul_took_in_is_never_put_back(svc2: MadeUp) -> None:
    """I3: from then on it may have had a leader, and what that acknowledged would be lost."""
    data, recovery = svc2.server.data, replace(svc2.plan(Stage.WRITTEN, backup="raft.copy"), failures=ATTEMPTS)
    assert "raft.copy is not put back" in why(svc2.recoverer.attempt.broken(recovery, "no leader"), Failed)
    assert data is svc2.server.data


def test_attempts_end(svc2: MadeUp) -> None:
    """A server that does not start with the new configuration gets its old data back after some attempts (I4)."""
    data = svc2.server.data
    svc2.scene.folders["svc2"] = {"raft.copy": (data, 0)}
    svc2.plan(Stage.WRITTEN, backup="raft.copy")
    svc2.server.peers = ("id-svc2",)
    for number in range(ATTEMPTS):
        recovery = svc2.recoverer.attempt.recovery()
        assert recovery is not None
        assert (number, Stage.WRITTEN) == (recovery.failures, recovery.stage)
        why(svc2.recoverer.attempt.broken(recovery, "it does not start"), Failed)
    undone = svc2.recoverer.attempt.recovery()
    assert undone is not None
    assert (Stage.UNDONE, data) == (undone.stage, svc2.server.data)
    assert svc2.server.begun is None, "it took no new configuration in"


def silent_survivor(*, told: bool = True) -> MadeUp:
    """Return a survivor whose Consul is stopped, with its file written and told, while the other gives no answer."""
    svc2 = made_up("svc2", survivors=2)
    recovery = replace(svc2.plan(Stage.WRITTEN, "svc2", "svc4", backup="raft.copy"), failures=ATTEMPTS)
    svc2.journal.note(RECOVERY, to_json(recovery))
    svc2.journal.note(EPOCH, to_json(recovery.epoch if told else Epoch()))
    svc2.scene.folders["svc2"] = {"raft.copy": (svc2.server.data, svc2.server.starts)}
    svc2.lose("svc4")
    svc2.scene.mesh.stop("svc2")
    svc2.server.peers = ("id-svc2", "id-svc4")
    return svc2


def test_old_data_waits_for_who_may_have_gone_on_alone() -> None:
    """I3: the lost servers return clean in an epoch that was told, and their votes would make the old data lead."""
    svc2 = silent_survivor()
    attempt, recovery = svc2.recoverer.attempt, svc2.recoverer.attempt.recovery()
    assert recovery is not None
    job = replace(JOB, command=Command.CLOSE)
    alone = "server-svc4 (10.0.2.11) gives no answer, and may have rebuilt Consul alone; `habeat ack` allows it"
    assert f"Consul is not started with its old data: {alone}" == why(attempt.put_back(job, recovery), Waiting)
    assert f"no start; its old data is not put back: {alone}" == why(attempt.broken(recovery, "no start"), Failed)
    assert not svc2.server.running
    svc2.scene.world.hosts["svc4"].up = True
    svc2.scene.world.change()
    assert "nothing is rebuilt here" in why(attempt.put_back(job, recovery), Done)
    assert svc2.server.running


def test_what_was_acknowledged_before_it_was_asked_for_does_not_count() -> None:
    """I3: who acknowledged what had been told before did not know of this; the next one does, whatever the clock says."""
    svc2 = silent_survivor()
    attempt, job = svc2.recoverer.attempt, replace(JOB, command=Command.CLOSE)
    svc2.journal.acknowledge("ann", "seen", 9e9)
    for _ in range(2):
        assert "`habeat ack` allows it" in why(attempt.put_back(job, attempt.recovery()), Waiting)
    svc2.journal.acknowledge("ann", "svc4 burnt", 1.0)
    assert "nothing is rebuilt here" in why(attempt.put_back(job, attempt.recovery()), Done)


def test_old_data_that_nobody_heard_of_waits_for_nobody() -> None:
    """L: before an epoch is told nobody throws anything away for it, so the old data has no vote but its own."""
    svc2 = silent_survivor(told=False)
    recovery = svc2.recoverer.attempt.recovery()
    job = replace(JOB, command=Command.CLOSE)
    assert "nothing is rebuilt here" in why(svc2.recoverer.attempt.put_back(job, recovery), Done)


@pytest.mark.usefixtures("unguarded")
def test_who_may_count_on_this_server_is_waited_for() -> None:
    """L: a failover without a plan of its own is not over while the other survivor gives no answer."""
    svc4 = made_up("svc4", survivors=2)
    svc4.recoverer.attempt.save(svc4.configuration)
    assert not svc4.recoverer.survivors.mute(), "all answer"
    svc4.lose("svc2")
    assert not svc4.recoverer.survivors.mute(), "there is a leader, without it"
    svc4.lose("svc1", "svc3", "svc5")
    svc4.scene.mesh.stop("svc4")
    waiting = why(svc4.recoverer.start(replace(JOB, command=Command.CLOSE)), Waiting)
    assert "server-svc2 (10.0.2.10) gives no answer, and may be rebuilding Consul" in waiting
    svc4.scene.world.hosts["svc2"].up = True
    assert "nothing is rebuilt here" in why(svc4.recoverer.start(replace(JOB, command=Command.CLOSE)), Done)


@pytest.mark.usefixtures("unguarded")
@pytest.mark.parametrize("stage", [Stage.SAVED, Stage.WRITTEN])
def test_who_stood_still_looks_again(stage: Stage) -> None:
    """I3: while this server was frozen in mid-recovery another one, which was frozen before, rebuilt Consul alone."""
    svc2, svc4 = made_up("svc2", survivors=2), made_up("svc4", survivors=2)
    svc4.scene = svc2.scene
    svc2.lose("svc1", "svc3", "svc5")
    svc2.scene.mesh.stop("svc2")
    recovery, rival = svc2.plan(stage, backup="raft.copy"), Epoch(1, "theirs", "svc4")
    svc4.journal.note(EPOCH, to_json(rival))
    if stage is Stage.SAVED:
        assert "epoch 1 (led by svc4) was begun meanwhile" in why(svc2.recoverer.peers(JOB), Waiting)
        assert svc2.recoverer.attempt.epoch() != recovery.epoch, "it is told to nobody"
        assert svc2.server.running
    else:
        svc2.server.peers = ("id-svc2",)
        svc2.journal.note(EPOCH, to_json(recovery.epoch))
        assert "rebuilt twice, each time without the other" in why(svc2.recoverer.start(JOB), Waiting)
        assert not svc2.server.running


# -- what is proved


def rebuilt(svc2: MadeUp) -> MadeUp:
    """Let Consul be rebuilt, and not yet be proved."""
    recovery = svc2.plan(Stage.WRITTEN, backup="raft.copy")
    svc2.journal.note(EPOCH, to_json(recovery.epoch))
    svc2.scene.folders["svc2"] = {"raft.copy": (svc2.server.data, svc2.server.starts)}
    svc2.server.peers = ("id-svc2",)
    svc2.scene.mesh.start("svc2")
    return svc2


def test_proved_by_a_read_and_a_write(svc2: MadeUp) -> None:
    """Only then is the recovery proved."""
    assert "proved by a consistent read and a write" in why(rebuilt(svc2).recoverer.prove(JOB), Done)
    recovery = svc2.recoverer.attempt.recovery()
    assert recovery is not None
    assert Stage.PROVED is recovery.stage


def test_a_write_that_is_not_there_proves_nothing(svc2: MadeUp, monkeypatch: pytest.MonkeyPatch) -> None:
    """I5: what Consul says it wrote is read back."""
    real = Store.key

    def forgetful(store: Store, method: str, name: str, query: dict[str, list[str]], value: str, now: float) -> Reply:
        return said(data=True) if method == "PUT" else real(store, method, name, query, value, now)

    svc2 = rebuilt(svc2)
    monkeypatch.setattr(Store, "key", forgetful)
    assert "was written to" in (told := why(svc2.recoverer.prove(JOB), Failed))
    assert "in Consul, and is not there" in told


def test_an_agent_that_does_not_answer_is_no_missing_leader(svc2: MadeUp) -> None:
    """I5: what cannot be told is no failed attempt, of which the third would be undone."""
    svc2 = rebuilt(svc2)
    svc2.scene.mesh.trouble["svc2"] = "slow"
    assert "it cannot be told whether Consul has a leader" in why(svc2.recoverer.prove(JOB), Failed)
    recovery = svc2.recoverer.attempt.recovery()
    assert recovery is not None
    assert (Stage.WRITTEN, 0) == (recovery.stage, recovery.failures)


@pytest.mark.parametrize("led", [True, False])
def test_who_votes_for_whom(*, led: bool) -> None:
    """Made-up raft, like the real one: a server whose new data nobody led votes for one that had a leader since."""
    svc1 = made_up("svc1", survivors=2)
    mesh, world = svc1.scene.mesh, svc1.scene.world
    old, svc4 = svc1.server.data, mesh.servers["svc4"]
    assert old is not None
    mesh.stop("svc4")
    svc4.peers = ("id-svc2", "id-svc4")
    svc1.scene.folders["svc4"] = {"raft.copy": (old, svc4.starts)}
    svc1.lose("svc3", "svc5")
    world.hosts["svc4"].plugged = False
    mesh.start("svc4")
    if led:  # a third vote from the lost site, for a while
        svc1.boot("svc3")
        assert mesh.leads(old)
        svc1.lose("svc3")
    assert not mesh.leads(old)
    assert svc4.data is not old
    world.hosts["svc4"].plugged = True
    world.change()
    world.wait(60.0)
    assert (led, led) == (mesh.leads(old), svc4.data is old)


def test_a_failback_waits_for_the_servers_that_return() -> None:
    """I5: it is over once those that answer vote, and at least one of them does."""
    svc2 = made_up("svc2")
    svc2.plan(Stage.PROVED)
    history = svc2.server.data
    assert history is not None
    voters = dict(history.voters)
    del history.voters["id-svc1"]
    assert "10.0.1.10 answers ping in 0.5 ms, and does not vote" in why(svc2.recoverer.returned(JOB), Waiting)
    del history.voters["id-svc3"]
    svc2.scene.world.hosts["svc1"].up = svc2.scene.world.hosts["svc3"].up = False
    silent = "10.0.1.10 does not answer ping (3 sent); 10.0.1.11 does not answer ping (3 sent)"
    assert f"{silent}, and does not vote" in why(svc2.recoverer.returned(JOB), Waiting)
    history.voters = voters
    del history.voters["id-svc1"]
    assert f"10.0.1.10 {NO_ROUTE}, and does not vote" in why(unable(svc2).returned(JOB), Waiting)
    assert "vote again, 10.0.1.10 is still gone" in why(svc2.recoverer.returned(JOB), Done)
    assert svc2.recoverer.attempt.recovery() is None


def test_only_who_is_surely_silent_loses_the_vote(svc2: MadeUp) -> None:
    """I1: of a voter that did not rebuild the quorum and cannot be asked it is told that it keeps its vote."""
    history = rebuilt(svc2).server.data
    assert history is not None
    svc2.plan(Stage.WRITTEN)
    history.group, history.leader_at = frozenset({"svc2"}), svc2.scene.world.now
    history.voters["id-svc1"] = "svc1"
    assert f"vote; 10.0.1.10 {NO_ROUTE}" in why(unable(svc2).voters(JOB), Done)
    assert "id-svc1" in history.voters
    assert "removed server-svc1" in why(svc2.recoverer.voters(JOB), Done)
    assert "id-svc1" not in history.voters


def test_nothing_is_rebuilt_by_a_majority() -> None:
    """I1: a site that has the quorum by itself looks for the cause instead."""
    svc1 = made_up("svc1")
    svc1.recoverer.attempt.save(svc1.configuration)
    svc1.lose("svc2")
    svc1.scene.mesh.stop("svc3")
    svc1.scene.world.wait(10.0)
    assert "which is a quorum without the others" in why(svc1.recoverer.preflight(JOB), Waiting)
