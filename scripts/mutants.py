"""Break habeat's guards and write orders one at a time, and show what finds each: `mutants.py [PAGE]`, or `make mutants`.

Each mutant is one line changed in a copy of the sources. What found it the last time, by the page, hunts it first;
then what is quick: the simulator's scenarios, the pure tests, the simulator's schedules by a seed; then the tests that
take longer. Exit code 1 where one survives; PAGE gets the table.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUNS, PATIENCE = 1500, 900
PURE = (
    *("test_machine.py", "test_judge.py", "test_quorum.py", "test_journal.py", "test_saga.py"),
    *("test_survivors.py", "test_recoverer.py", "test_returning.py"),
)
SCENARIOS = sorted((ROOT / "tests" / "scenarios").glob("*.txt"))
REAL = ("test_quorum_mesh.py", "test_quorum_troubles.py")
SLOW = (
    *("test_switch.py", "test_failover.py", "test_kill.py", "test_coordination.py", "test_primary.py"),
    "test_directory.py",
)


@dataclass(frozen=True)
class Mutant:
    """One change: in a file below src/habeat, one text in place of another."""

    what: str
    file: str
    old: str
    new: str


BY_HAND = (
    Mutant("J1: a host that answers is not up", "judge.py", "    if reached:\n", "    if False:\n"),
    Mutant("J2: a living host's witness is no veto", "judge.py", "    if alive:\n        return Verdict(Sight.UNREACHABLE", "    if False:\n        return Verdict(Sight.UNREACHABLE"),
    Mutant("J3: a probe that was not sent is silence", "judge.py", "    if unsent or not", "    if not"),
    Mutant("J4: no gateway answers, and we are not cut off", "judge.py", "    if snapshot.gateways and not any(isinstance", "    if False and not any(isinstance"),
    Mutant("J5: nothing proves that we are not cut off", "judge.py", "    if not snapshot.gateways and not any(vote.networked", "    if False and not any(vote.networked"),
    Mutant("J6: fewer witnesses than required", "judge.py", "    if len(dead) < policy.required:", "    if False:"),
    Mutant("J11: one of several is alive elsewhere", "judge.py", "    if Sight.UNREACHABLE in sights:", "    if False:"),
    Mutant("J12: not all of several are dead", "judge.py", "    if sights != {Sight.DOWN} or leader not in ({Up}, {Down}):", "    if False:"),
    Mutant("J13: a leader that is there does not count", "judge.py", '    return Verdict(Sight.QUORATE, "J10", why) if leader == {Up} else', "    return"),
    Mutant("cycles may follow as closely as they like", "machine.py", "memory.seen_at - memory.since >= policy.lasting", "True"),
    Mutant("cycles may lie as far apart as they like", "machine.py", "near = 0 <= facts.now - memory.seen_at <= facts.policy.window", "near = True"),
    Mutant("a doubt does not break the row", "machine.py", "+ 1 if sight is Sight.DOWN else 0", "+ 1 if sight is Sight.DOWN else memory.downs"),
    Mutant("a decision is journaled after it is told, not at all", "cycle.py", "        memory = self.journal.record(self.target, decision, self.clock(), verdict, grounds)\n", "        memory = decision.memory\n"),
    Mutant("the result of a plan is not journaled", "cycle.py", "        self.journal.record(self.target, settled, self.clock())\n", ""),
    Mutant("a person's pause does not reach a running plan", "cycle.py", "        return self.journal.hold(self.clock())\n", "        return None\n"),
    Mutant("what was met counts for nothing", "cycle.py", "(memory.reached_at, self.met())", "(memory.reached_at,)"),
    Mutant("cycles from before a sign of life confirm", "cycle.py", "            met=self.met(),\n", ""),
    Mutant("who answers a step is not noted as alive", "roles/consulserver.py", "            self.journal.note(ASKED, repr(self.clock()))\n", "            pass\n"),
    Mutant("no intent before a step", "saga.py", "        attempt = self.journal.intend(failover, round_, step.name, self.clock())\n", "        attempt = 1\n"),
    Mutant("a step that is done is done for good", "saga.py", " and step.holds():", ":"),
    Mutant("care runs what needs a dead target", "saga.py", "if step.needs_down and command in (Command.CARE, Command.CLOSE):", "if False:"),
    Mutant("a step that waits is passed over", "saga.py", "            if isinstance(outcome, Waiting):\n", "            if False:\n"),
    Mutant("a step that failed is passed over", "saga.py", "            if isinstance(outcome, Failed):\n", "            if False:\n"),
    Mutant("a lost lock does not stop the work", "saga.py", "self.hold() or self.plan.lost()", "self.hold()"),
    Mutant("another's lock is ours", "act/coordination.py", "        if not got or held is None or held.session != self._session:", "        if False:"),
    Mutant("a lock that was not renewed is not lost", "act/coordination.py", "since > TTL", "False"),
    Mutant("a promotion that may still run is not waited for", "roles/appserver.py", "        if (running := self._running(job)) is not None:\n            return Waiting(running)\n        accounts", "        if False:\n            return Waiting('')\n        accounts"),
    Mutant("another's promotion is not waited for", "roles/appserver.py", "        if (running := self._running(job)) is not None:\n            return Waiting(running)\n        accounts", "        if job.attempt > 1 and (running := self._running(job)) is not None:\n            return Waiting(running)\n        accounts"),
    Mutant("a promotion from before we had the lock does not count", "roles/appserver.py", "            began = tried_at if operation.started is None else operation.started\n", "            began = now - 2 * longest if operation.started and operation.started < tried_at else tried_at\n"),
    Mutant("whatever Carbonio does is a promotion", "act/carbonio.py", '        return "promot" in name or (ours and not any(word in name for word in NO_PROMOTION))\n', "        return True\n"),
    Mutant("what was promoted already is promoted again", "roles/appserver.py", '"pending") if entry.key in there]\n', '"pending")]\n'),
    Mutant("the whole mailstore is promoted", "roles/appserver.py", "        if all(map(_listable, wanted)):", "        if False:"),
    Mutant("nothing is read back", "roles/appserver.py", "        left = self._left(open_)\n", "        left = []\n"),
    Mutant("an account is flushed before it is", "roles/appserver.py", "                    self._flush(host, [entry.key for entry in batch])\n", "                    pass\n"),
    Mutant("the module's note after its stop", "roles/appserver.py", '        self.journal.note(HELD, "stopped by habeat")\n        self.carbonio.stop_module()\n', '        self.carbonio.stop_module()\n        self.journal.note(HELD, "stopped by habeat")\n'),
    Mutant("the module's note goes before its start", "roles/appserver.py", "        if isinstance(outcome, Done):\n            self.journal.note(HELD, None)\n", "        self.journal.note(HELD, None)\n"),
    Mutant("the other site is not asked first", "roles/switch.py", "        if not self.theirs or not self.runs(ACTIVATE):", "        if True:"),
    Mutant("no check after the commands", "roles/switch.py", "        if not _all(probes, wanted):\n            return Failed", "        if False:\n            return Failed"),
    Mutant("a list's note after its first command", "roles/switch.py", "            self._note(Progress(way, job.failover, self.boot, _texts(commands[:start])))\n", ""),
    Mutant("what was cut off before its first command is told as done", "roles/switch.py", "        if progress is None and any(step.outcome is None and", "        if False and any(step.outcome is None and"),
    Mutant("given back before the other announces", "roles/switch.py", '        if not _all(probes, Up):\n            return Waiting(f"the other site is not seen', '        if False:\n            return Waiting(f"the other site is not seen'),
    Mutant("the note goes before the other is proved", "roles/switch.py", "            if isinstance(fallen := self.other_back(job), Waiting):\n                return fallen\n", ""),
    Mutant("a majority rebuilds itself", "quorum.py", "    if len(left) >= configuration.needed:", "    if False:"),
    Mutant("the epoch is told after the file", "roles/attempt.py", "        self.journal.note(EPOCH, to_json(recovery.epoch))\n        try:\n            self.folder.write_peers(peers_json(recovery.peers))\n", "        try:\n            self.folder.write_peers(peers_json(recovery.peers))\n            self.journal.note(EPOCH, to_json(recovery.epoch))\n"),
    Mutant("the epoch is not told", "roles/attempt.py", "        self.journal.note(EPOCH, to_json(recovery.epoch))\n", ""),
    Mutant("no copy before the file", "roles/attempt.py", "            self.folder.copy(RAFT, name)\n", "            pass\n"),
    Mutant("a copy from before Consul ran again counts", "quorum.py", "        if self.stage not in (Stage.PREPARED, Stage.SAVED):", "        if True:"),
    Mutant("a start that the guard allowed does not count against the copy", "roles/returning.py", "        if recovery is not None and recovery.ran != recovery:", "        if False:"),
    Mutant("what was put back was all that was rebuilt", "roles/attempt.py", "None if earlier is None else to_json(earlier)", "None"),
    Mutant("old data starts while another may have gone on alone", "roles/attempt.py", "        if recovery is not None and (unheard := self._unheard(recovery)) is not None:\n            return Waiting(", '        if False and (unheard := ""):\n            return Waiting('),
    Mutant("the copy is put back while another may have gone on alone", "roles/attempt.py", "        if (unheard := self._unheard(recovery)) is not None:\n            return Failed(", '        if False and (unheard := ""):\n            return Failed('),
    Mutant("habeat's own start asks for no rival", "guard.py", "    if (rival := rival_of(own, words)) is not None:", "    if not situation.starting and (rival := rival_of(own, words)) is not None:"),
    Mutant("who stood still starts beside a rival", "roles/consulserver.py", "            if rival is not None:\n                return Waiting(torn", "            if False:\n                return Waiting(torn"),
    Mutant("who stood still tells a rival epoch", "roles/consulserver.py", "        if (rival := self.survivors.rival(recovery)) is not None:\n            self.attempt.start_again", "        if False and (rival := None):\n            self.attempt.start_again"),
    Mutant("what was acknowledged before it was asked for counts", "roles/attempt.py", "            self.note(replace(recovery, asked=given))\n            return False\n", "            return given > 0\n"),
    Mutant("who went on alone matters before anybody heard of the epoch", "roles/attempt.py", "        if recovery.epoch.id != self.epoch().id:\n            return None\n", ""),
    Mutant("what is put back looks as if it was taken in", "roles/attempt.py", "            self.note(replace(recovery, stage=Stage.SAVED))\n            self.folder.remove_peers()\n", "            self.folder.remove_peers()\n"),
    Mutant("what is written and not yet noted is started", "quorum.py", "return self.stage in (Stage.PREPARED, Stage.SAVED, Stage.WRITTEN, Stage.UNDOING)", "return self.stage is Stage.WRITTEN"),
    Mutant("its own epoch is not followed", "roles/survivors.py", "        return waits or plan.epoch.number", "        return plan.epoch.number"),
    Mutant("what was rebuilt and is lost again is given up", "roles/consulserver.py", "(lost := self._lost_again(recovery)) is not None:", "(lost := None) is not None:"),
    Mutant("a majority elsewhere did not go on", "roles/consulserver.py", "        if gone >= found.needed and not", "        if False and not"),
    Mutant("a plan that is proved is followed", "roles/survivors.py", "plan.stage is Stage.WRITTEN and not begun", "not begun"),
    Mutant("a proved recovery waits for the survivors", "roles/consulserver.py", "recovery.stage is not Stage.PROVED and (late", "(late"),
    Mutant("who comes back before the file does not count", "roles/consulserver.py", "        if back := _not_silent(self._seen(self.there)):", "        if back := {}:"),
    Mutant("old data leads", "roles/survivors.py", "        if (old := self._outdated(job, saved)) is not None:", "        if (old := None) is not None:"),
    Mutant("nobody waits for the other survivors", "roles/survivors.py", "        if behind:\n", "        if False:\n"),
    Mutant("a begun recovery is not followed", "roles/consulserver.py", "            if (plan := self.survivors.owed()) is None:", "            if (plan := None) is None:"),
    Mutant("a newer epoch cleans nothing", "guard.py", "    if newest.number > own.number:", "    if False:"),
    Mutant("half of the other site is all of it", "guard.py", "len(answered) >= len(situation.there)", "answered"),
    Mutant("who is about to begin knows of nothing", "guard.py", "    return word.recovery is not None and word.recovery.stage in (Stage.PREPARED, Stage.SAVED)", "    return False"),
    Mutant("any boot is this boot", "guard.py", "last.boot == situation.boot and ", ""),
    Mutant("a clean server's vote is anybody's", "guard.py", "    if situation.empty and behind(situation.epoch, heard):\n        return None\n", ""),
    Mutant("data is given up for what is not proved", "guard.py", "    proved = not plans or _proved(plans)\n", "    proved = True\n"),
    Mutant("who is counted on leaves", "guard.py", "and proved and not _counts_on(words, newest, own)", "and proved"),
    Mutant("who was left behind stays so", "cycle.py", "            told = self.rejoin(snapshot)", "            told = None"),
    Mutant("a pause does not keep a server from rejoining", "node.py", "not wanted or journal.paused(edges.clock()) is not None:", "not wanted:"),
    Mutant("rejoining is not written down first", "roles/returning.py", "            self.journal.note(REJOINING, to_json(epoch))\n", ""),
    Mutant("a sign of life in the future is none", "node.py", "    return min(float(noted), now)\n", "    return float(noted) if float(noted) <= now else None\n"),
    Mutant("a server that runs has taken the file in", "roles/attempt.py", "            return self._begin_anew(recovery)\n", "            return Done('it runs')\n"),
    Mutant("what ran since the copy is as it was", "roles/consulserver.py", "        if recovery is None or recovery.stage is not Stage.SAVED:", "        if recovery is None:"),
    Mutant("data that is counted on is thrown away", "guard.py", "    if _counts_on(words, newest, situation.own) and not _proved(plans) and not situation.empty:", "    if False:"),
    Mutant("a start that was cut off allows a later one", "roles/attempt.py", "        if self.journal.noted(STARTING) is not None:\n            self.journal.note(STARTING, None)\n", ""),
    Mutant("who is silent owes nothing", "node.py", " or bool(recoverer.survivors.mute())", ""),
    Mutant("who is silent is not waited for", "roles/consulserver.py", "        if recovery is not None or not (mute := self.survivors.mute()):", "        if True or not (mute := []):"),
    Mutant("who is silent is waited for beside a leader", "roles/survivors.py", "        if saved is None or isinstance(self.leader(), Up):\n            return []", "        if saved is None:\n            return []"),
    Mutant("who is counted on by the silent leaves", "guard.py", "    return own in newest.peers and not over\n", "    return False\n"),
    Mutant("who is counted on never leaves", "guard.py", "    return own in newest.peers and not over\n", "    return own in newest.peers\n"),
    Mutant("an epoch does not tell with whom it begins", "roles/survivors.py", "peers[0].node, self.clock(), ids)", "peers[0].node, self.clock())"),
    Mutant("a unit that only tries to start runs", "act/unit.py", '        return self.state() == "active"', "        return self.state() not in ENDED"),
    Mutant("any majority starts", "guard.py", "    if len(voters) < last.needed:", "    if True:"),
    Mutant("the directory is not asked before a promotion", "roles/appserver.py", "        if self.directory is not None:\n", "        if False:\n"),
    Mutant("what the directory tells and nobody can read is nothing", "act/carbonio.py", '        unread = _complains(done) or "# name" not in done.stdout', "        unread = _complains(done)"),
    Mutant("a directory that tells nothing holds all up", "roles/appserver.py", "                if job.attempt < CARE_ATTEMPTS:", "                if True:"),
    Mutant("what was acknowledged in the future counts", "journal/__init__.py", '                self._db.execute("UPDATE ack SET at=?1-1 WHERE at>=?1", (now,))\n', ""),
    Mutant("what another's hand announced is not told", "roles/switch.py", '{probed(standing)}" if standing else', '{probed(standing)}" if False else'),
    Mutant("no leader is asked for before a promotion", "roles/appserver.py", "                self.consul.require_leader()\n", "                pass\n"),
    Mutant("Carbonio need not be ready for a promotion", "roles/appserver.py", "            self.carbonio.services()\n", "            pass\n"),
    Mutant("a mailstore that nobody knows is an empty one", "roles/appserver.py", "        if not accounts and not self._knows_source():", "        if False:"),
    Mutant("what turned up since the inventory is not written down", "roles/appserver.py", "        self.journal.enlist(job.failover, accounts)\n        there", "        there"),
    Mutant("a promotion does not ask for the lock", "roles/appserver.py", "        self.lock.check()\n", ""),
    Mutant("a promotion that goes on is not waited for in care", "roles/appserver.py", "        if job.command is not Command.ACTIVATE and (running", "        if False and (running"),
    Mutant("nothing is ever left undone", "roles/appserver.py", "        return tally.refused + max(unflushed, unrestarted)", "        return 0"),
    Mutant("what is nowhere seen is promoted", "roles/appserver.py", "        lost = [entry for entry in moved if entry.key not in homes]", "        lost: list[Entry] = []"),
    Mutant("none was promoted, and that is enough", "roles/appserver.py", "        if said and len(left) == len(pending) and any", "        if False and any"),
    Mutant("the dead mailstore's cache is flushed", "roles/appserver.py", "        hosts = [host for host in hosts if host.lower() != self.options.source.lower()]\n", ""),
    Mutant("a cache that failed is flushed", "roles/appserver.py", "            if not needed & set(failed):", "            if True:"),
    Mutant("a module that somebody else stopped is ours", "roles/appserver.py", "        if self.carbonio.module_runs() is False:", "        if False:"),
    Mutant("the module's state is not read back", "roles/appserver.py", "if state is running else Failed(", "if True else Failed("),
    Mutant("a takeover takes no lock", "roles/switch.py", "        self.lock.acquire()\n        return", "        return"),
    Mutant("mending takes no lock", "roles/switch.py", "        self.lock.acquire()\n        if", "        if"),
    Mutant("mending asks for no proof", "roles/switch.py", "        if isinstance(doubt := self.other_gone(job), Waiting):", "        if isinstance(doubt := None, Waiting):"),
    Mutant("a list goes on after a reboot", "roles/switch.py", "        return (progress.way, progress.failover, progress.boot) == (way, job.failover, self.boot)", "        return (progress.way, progress.failover) == (way, job.failover)"),
    Mutant("a list goes on in another failover", "roles/switch.py", "        return (progress.way, progress.failover, progress.boot) == (way, job.failover, self.boot)", "        return (progress.way, progress.boot) == (way, self.boot)"),
    Mutant("a list goes on the other way", "roles/switch.py", "        return (progress.way, progress.failover, progress.boot) == (way, job.failover, self.boot)", "        return (progress.failover, progress.boot) == (job.failover, self.boot)"),
    Mutant("a pause does not stop a list", "roles/switch.py", "self.hold() or self.lock.lost()", "self.lock.lost()"),
    Mutant("a lost lock does not stop a list", "roles/switch.py", "self.hold() or self.lock.lost()", "self.hold()"),
    Mutant("what is here already is taken over", "roles/switch.py", "        if progress is None and self.ours and _all(_look(self.ours), Up):", "        if False:"),
    Mutant("what was taken over stands for good", "roles/switch.py", "        return self._progress() is None or not any(", "        return True or not any("),
    Mutant("a takeover that was cut short is whole", "roles/switch.py", "        if progress is not None and progress.way == ACTIVATE and not progress.complete:", "        if False:"),
    Mutant("what a person is to give back counts as given back", "roles/switch.py", "        if by_hand and not (self.ours and _all(_look(self.ours), Down)):", "        if False:"),
    Mutant("a command that fails is passed over", "roles/switch.py", "                if told and not self.ours:", "                if False:"),
    Mutant("peers.json stays where Consul starts without it", "roles/attempt.py", '        self.folder.remove_peers()\n        self.note(replace(recovery, backup="", stage=Stage.PREPARED))\n        self.unit.start()', '        self.note(replace(recovery, backup="", stage=Stage.PREPARED))\n        self.unit.start()'),
    Mutant("the copy stays where Consul starts again", "roles/attempt.py", '        self.note(replace(recovery, backup="", stage=Stage.PREPARED))\n        self.unit.start()', "        self.unit.start()"),
    Mutant("what was taken in is put back", "roles/attempt.py", "        if self.taken_in(recovery):\n            return Failed(", "        if False:\n            return Failed("),
    Mutant("peers.json is taken from a server that runs", "roles/attempt.py", '        if recovery is not None and self.folder.has(f"{RAFT}/{PEERS}"):\n            self.halt()\n', '        if recovery is not None and self.folder.has(f"{RAFT}/{PEERS}"):\n'),
    Mutant("a stop does not note that Consul ran", "roles/attempt.py", "                self.note(recovery.ran)", "                pass"),
    Mutant("what allowed a start stays", "roles/attempt.py", "        finally:\n            self.journal.note(STARTING, None)\n", "        finally:\n            pass\n"),
    Mutant("what was undone is put back once more", "roles/attempt.py", "        if recovery is not None and recovery.stage is Stage.UNDONE and job.command is not Command.CLOSE:", "        if False:"),
    Mutant("attempts never end", "roles/attempt.py", "        if recovery.failures < ATTEMPTS:", "        if True:"),
    Mutant("the first attempt is the last", "roles/attempt.py", "        if recovery.failures < ATTEMPTS:", "        if False:"),
    Mutant("undoing is not noted first", "roles/attempt.py", "        recovery = replace(recovery, stage=Stage.UNDOING)\n        self.note(recovery)\n", "        recovery = replace(recovery, stage=Stage.UNDOING)\n"),
    Mutant("a survivor that cannot be told of is dead", "roles/survivors.py", ".sight is not Sight.DOWN:", ".sight is Sight.UP:"),
    Mutant("a plan without this server is followed", "roles/survivors.py", "            if own not in {peer.id for peer in newer.peers}:", "            if False:"),
    Mutant("any survivor leads", "roles/survivors.py", "        if peers[0].id != own:", "        if False:"),
    Mutant("a reboot since the last leader does not count", "roles/survivors.py", "        if not rebooted and began - saved.at <= self.fresh:", "        if began - saved.at <= self.fresh:"),
    Mutant("a leader of long ago is fresh", "roles/survivors.py", "        if not rebooted and began - saved.at <= self.fresh:", "        if not rebooted:"),
    Mutant("nobody is late", "roles/survivors.py", "        return [peer for peer in others if not self._follows(peer, recovery)]", "        return []"),
    Mutant("whoever answers is the server", "roles/survivors.py", "                if word.server != server.id:", "                if False:"),
    Mutant("who was left behind does not follow", "roles/consulserver.py", "(recovery.stage is Stage.LOST or self.survivors.left_behind())", "recovery.stage is Stage.LOST"),
    Mutant("nothing forbids a recovery", "roles/consulserver.py", "        why = obstacle(saved, self.here, self.there, own, self.site)\n", "        why = None\n"),
    Mutant("what was undone is tried again unasked", "roles/consulserver.py", "            if not self.attempt.allowed(recovery):\n                return Waiting(UNDONE", "            if False:\n                return Waiting(UNDONE"),
    Mutant("a leader that is there does not end a recovery", "roles/consulserver.py", "        return isinstance(self.leader(), Up)", "        return False"),
    Mutant("the epoch in Consul is not read back", "roles/consulserver.py", "            if held is None or held.value != told:", "            if False:"),
    Mutant("whatever Consul says means no leader", "roles/consulserver.py", '        if not why.startswith(f"Consul {NO_LEADER}"):', "        if False:"),
    Mutant("who is alive loses the vote", "roles/consulserver.py", "            strangers = [server for server in others if isinstance(seen[server.address], Down)]", "            strangers = others"),
    Mutant("who cannot be asked loses the vote", "roles/consulserver.py", "            strangers = [server for server in others if isinstance(seen[server.address], Down)]", "            strangers = [server for server in others if not isinstance(seen[server.address], Up)]"),
    Mutant("who cannot be asked is silent", "roles/consulserver.py", "for address, evidence in seen.items() if not isinstance(evidence, Down)}", "for address, evidence in seen.items() if isinstance(evidence, Up)}"),
    Mutant("nobody waits for servers that return", "roles/consulserver.py", "            if apart or len(away) == len(self.there):", "            if False:"),
    Mutant("a clean server rebuilds by what it knew", "roles/returning.py", "            self.journal.note(SAVED, None)  # without data this server must rebuild nothing\n", ""),
    Mutant("a clean server goes on with its recovery", "roles/returning.py", "        self.journal.note(RECOVERY, None)\n        return f", "        return f"),
    Mutant("Consul starts in the middle of an undo", "roles/returning.py", "        if recovery is not None and recovery.stage is Stage.UNDOING and not self.folder.has(RAFT):", "        if False:"),
    Mutant("what allowed a start holds after a reboot", "roles/returning.py", "allowed=self.journal.noted(ALLOWED) == self.edges.boot_id(),", "allowed=self.journal.noted(ALLOWED) is not None,"),
    Mutant("what allowed a start is not used up", "roles/returning.py", "            if self.journal.noted(used) is not None:\n                self.journal.note(used, None)\n", "            pass\n"),
    Mutant("who rejoins is cleaned twice", "roles/returning.py", "        if self._epoch().number < epoch.number:", "        if True:"),
    Mutant("a clean server votes for who is behind", "roles/returning.py", "                if behind(advice.epoch, heard):", "                if False:"),
    Mutant("data is moved away under a process", "roles/returning.py", "            if self.folder.busy():", "            if False:"),
    Mutant("two recoveries of one number are one", "guard.py", "    if (rival := rival_of(own, words)) is not None:", "    if False and (rival := own):"),
    Mutant("what was cut off starts", "guard.py", "    if situation.cut_off:", "    if False:"),
    Mutant("a leader of any age was there just now", "guard.py", "0 <= age <= situation.recent", "True"),
    Mutant("a server without data needs nobody", "guard.py", "    near = [item for item in heard if isinstance(item.word, Word) and item.word.epoch.id == situation.epoch.id]", "    near = list(heard)"),
    Mutant("any leader is ours", "guard.py", "    led = [item.address for item in near if", "    led = [item.address for item in heard if"),
    Mutant("who has no leader is as good as one", "guard.py", "isinstance(item.word, Word) and item.word.led]", "isinstance(item.word, Word)]"),
    Mutant("a leader is enough while another begins anew", "guard.py", "    if led and not any(isinstance", "    if led and any(True or isinstance"),
    Mutant("a leader of any data is as good as ours", "roles/returning.py", "held is not None and epoch_of(json.loads(held.value)).id == self._epoch().id", "held is not None"),
    Mutant("data that tells no epoch is as good as ours", "roles/returning.py", "            return held is not None and", "            return held is None or"),
    Mutant("what cannot be told of a leader is good", "roles/returning.py", "            return False\n\n    def asked", "            return True\n\n    def asked"),
    Mutant("what a person allowed is not thrown away", "guard.py", "    if newest.number > own.number:\n        return", "    if newest.number > own.number and not situation.allowed:\n        return"),
    Mutant("a part of the voters is all", "guard.py", "    if voters == last.voters and situation.own", "    if situation.own"),
    Mutant("the plan runs although the server rejoined", "cycle.py", "        if self._rejoins(snapshot) or decision", "        if (self._rejoins(snapshot) and False) or decision"),
)  # fmt: skip


def guards() -> Iterator[Mutant]:
    """Yield a mutant for each guard of the machine: one that never holds."""
    source = (ROOT / "src" / "habeat" / "machine.py").read_text(encoding="utf-8")
    for line in re.findall(r"^    Guard\.\w+: lambda .*,$", source, re.MULTILINE):
        name = line.split()[0].strip(":").removeprefix("Guard.")
        if name != "ALWAYS":
            yield Mutant(f"guard {name} never holds", "machine.py", line, f"    Guard.{name}: lambda *_: False,")


def hunted(mutant: Mutant, folder: Path, last: str = "") -> str | None:
    """Return what found a mutant, or None; `last` is what found it the last time."""
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / "src" / "habeat" / mutant.file
    text = path.read_text(encoding="utf-8")
    if text.count(mutant.old) != 1:
        sys.exit(f"{mutant.what}: {mutant.old!r} stands {text.count(mutant.old)} times in {mutant.file}")
    changed = text.replace(mutant.old, mutant.new)
    compile(changed, str(path), "exec")
    path.write_text(changed, encoding="utf-8")
    return _hunt(folder / "src", last)


def _hunt(source: Path, last: str = "") -> str | None:
    """Return what finds the fault in these sources, the quick ones first; or None."""
    environment = {**os.environ, "PYTHONPATH": str(source)}
    kind, _, name = last.partition(": ")
    finders: dict[str, Callable[[], str | None]] = {
        "scenario": lambda: _simulated(environment, str(ROOT / "tests" / "scenarios" / f"{name}.txt")),
        "suite": lambda: _tested(environment, [name]),
        "simulator": lambda: _simulated(environment, "--runs", str(RUNS), "--seed", "mutants"),
    }
    return (
        (finders[kind]() if kind in finders else None)
        or _simulated(environment, *map(str, SCENARIOS))
        or _tested(environment, PURE)
        or _simulated(environment, "--runs", str(RUNS), "--seed", "mutants")
        or _tested(environment, SLOW)
        or _tested(environment, REAL)
    )


def _simulated(environment: dict[str, str], *words: str) -> str | None:
    """Return what the simulator finds: the scenario, or the invariant that does not hold in a schedule of the seed."""
    command = [sys.executable, "-m", "habeat", "simulate", "--json", *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return "simulator: it hangs"
    if done.returncode == 0:
        return None
    if done.returncode != 1:
        sys.exit(f"the simulator does not run: {done.stderr}")
    found = json.loads(done.stdout)["violations"][0]
    about = found["schedule"].splitlines()[0]
    names = [path.stem for path in SCENARIOS if path.read_text(encoding="utf-8").startswith(about)]
    return f"scenario: {names[0]}" if names else f"simulator: {found['invariant']}"


def _tested(environment: dict[str, str], tests: Sequence[str]) -> str | None:
    """Return the first of some tests that fails."""
    paths = [str(ROOT / "tests" / name) for name in tests]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "2", "-p", "no:cacheprovider", *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=ROOT)
    failed = re.search(r"^(?:FAILED|ERROR) tests/(\S+?::\w+)", done.stdout, re.MULTILINE)
    return f"suite: {failed[1]}" if failed else None  # else the tests did not run


def _known(page: Path) -> dict[str, str]:
    """Return what found each mutant, by the page of the last time."""
    rows = page.read_text(encoding="utf-8").splitlines() if page.exists() else []
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows if row.startswith("| ")]
    return {what: found for what, _, found in cells}


def main() -> None:
    """Hunt all mutants, and write the table."""
    wanted = sys.argv[2:] or [""]
    lines = ["| broken on purpose | in | found by |", "|---|---|---|"]
    if (found := _hunt(ROOT / "src")) is not None:
        sys.exit(f"nothing is broken yet, and {found} finds something: mend that first")
    alive, known = 0, _known(Path(sys.argv[1])) if len(sys.argv) > 1 else {}
    for mutant in (*guards(), *BY_HAND):
        if not any(word in mutant.what for word in wanted):
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = hunted(mutant, Path(folder), known.get(mutant.what, ""))
        alive += found is None
        lines.append(f"| {mutant.what} | `{mutant.file}` | {found or '**nothing**'} |")
        print(lines[-1], flush=True)
    if len(sys.argv) > 1:
        about = (
            "# Mutants\n\nWhat finds each guard and each write order of habeat first when it is broken on purpose, one line at "
            "a time: a scenario of the [simulator](simulator.md), the invariant that fell in one of "
            f"{RUNS} schedules, or a test of the suite. Written by `make mutants`.\n\n"
        )
        Path(sys.argv[1]).write_text(about + "\n".join(lines) + "\n", encoding="utf-8")
    sys.exit(1 if alive else 0)


if __name__ == "__main__":
    main()
