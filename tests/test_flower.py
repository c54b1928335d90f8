"""FedBR-Shap behind Flower's messages, in one process: the same books to the last bit, and whatever clients may do."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

pytest.importorskip("flwr", reason="Flower is not installed: pip install fedshap[flower]")

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.app import Error as FlowerError
from flwr.supercore.task_identity import TaskIdentity

from federations import make_client, make_rules
from fedshap.federated import FederationOptions, Members, QuorumError
from fedshap.federated import flower_messages as messages
from fedshap.federated.exchange import Curve, Decision, Keep, ScoreTask, Slope, Trained, TrainTask
from fedshap.federated.flower import FlowerClients, client_app, server_app

OPTIONS = {"clients": 3, "rounds": 5, "stage": 2, "seed": 0}


class Grid:
    """Flower's grid and SuperNodes, without Flower between them: every message is answered where it is sent.

    ``nodes`` maps node ids to partition ids; ``dead`` ones are listed and say nothing; ``meddle`` may change a reply.
    """

    def __init__(self, options, nodes=None, make=make_client):
        self.options, self.app = options, client_app(make)
        self.nodes = {100 + 7 * i: i for i in reversed(range(options["clients"]))} if nodes is None else nodes
        self.dead, self.sent, self.replies = set(), [], {}
        self.meddle = lambda message, reply: reply
        self._numbers = itertools.count(1)

    def get_node_ids(self):
        return list(self.nodes)

    def push_messages(self, sent):
        return [self._deliver(message) for message in sent]

    def pull_messages(self, numbers):
        return [self.replies.pop(number) for number in numbers if number in self.replies]

    def _deliver(self, message):
        node, number = message.metadata.dst_node_id, f"message-{next(self._numbers)}"
        message.metadata.__dict__["_message_id"] = number
        self.sent.append((message.metadata.message_type, node, message.content))
        if node not in self.dead:
            reply = self.meddle(message, self._answer(message, node))
            if reply is not None:
                reply.metadata.__dict__["_reply_to_message_id"] = number
                self.replies[number] = reply
        return number

    def _answer(self, message, node):
        config = {} if self.nodes[node] is None else {"partition-id": self.nodes[node]}
        context = Context(1, node, config, RecordDict(), dict(self.options))
        try:
            return self.app(message=message, context=context)
        except Exception as error:  # what Flower does with whatever a client raises
            reason = f"{type(error)}:<'{error}'>"
            return Message(FlowerError(code=2, reason=reason), reply_to=message)


@pytest.fixture(autouse=True)
def identity(monkeypatch):
    """Messages name the process that makes them."""
    for name in ("_run_id", "_node_id", "_task_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


def clients(grid, **settings):
    return FlowerClients(grid, grid.options["clients"], **{"timeout": 1.0, "join": 1.0} | settings)


def books(folder):
    return (folder / "ledger.jsonl").read_bytes()


def in_process(options, folder, rounds=None):
    members = Members([make_client(number, options) for number in range(options["clients"])])
    return make_rules(options).run(members, rounds or options["rounds"], out=folder, progress=False)


# ---- the same bits -----------------------------------------------------------------------------------


@pytest.mark.parametrize("search", [False, True], ids=["settled", "searched"])
def test_the_books_are_those_of_one_process_to_the_last_bit(search, tmp_path):
    options = {**OPTIONS, "search": search}
    here = in_process(options, tmp_path / "here")
    there = make_rules(options).run(clients(Grid(options)), 5, out=tmp_path / "there", progress=False)
    assert books(tmp_path / "here") == books(tmp_path / "there")
    np.testing.assert_array_equal(here.weights, there.weights)


def test_torchs_clients_are_the_same_behind_messages_too(tmp_path):
    options = FederationOptions(clients=3, rounds=2, stage=2, search=False, batch_size=16)
    make = lambda number, table: FederationOptions.of(table).client(number)  # noqa: E731
    for name, each in {"here": Members([options.client(i) for i in range(3)]), "there": None}.items():
        found = each or clients(Grid(options.table, make=make), timeout=60.0)
        options.rules().run(found, 2, out=tmp_path / name, progress=False)
    assert books(tmp_path / "here") == books(tmp_path / "there")


def test_the_order_of_nodes_decides_nothing(tmp_path):
    for name, nodes in {"up": {1: 0, 2: 1, 3: 2}, "down": {9: 0, 5: 1, 4: 2}}.items():
        make_rules(OPTIONS).run(clients(Grid(OPTIONS, nodes)), 3, out=tmp_path / name, progress=False)
    assert books(tmp_path / "up") == books(tmp_path / "down")


def test_requests_and_answers_survive_the_way():
    rng = np.random.default_rng(0)
    awkward = np.array([0.1, 1e-320, -0.0, np.nextafter(1.0, 2.0), 1e308])
    offers = [Keep(0.1 + 0.2), Slope(1 / 3, 1e-17, 1e5), Curve(awkward, rng.normal(size=(4, 5)), 0.95)]
    for offer in offers:
        task = TrainTask(awkward, {0: Keep(1.0), 2: offer}, ((3,), (3, 1)), (-2.0, 1 / 3), (0.0, 1e-9))
        found = messages.read_training(messages.training(task, 2))
        assert list(found.offers) == [2]  # and nobody else's offer
        assert found.streams == task.streams
        assert (found.offsets, found.levels) == (task.offsets, task.levels)
        np.testing.assert_array_equal(found.weights.view(np.int64), awkward.view(np.int64))  # -0.0 too
        assert repr(found.offers[2]) == repr(offer)
        if not isinstance(offer, Curve):
            assert found.offers[2] == offer
    curve = found.offers[2]
    np.testing.assert_array_equal(curve.shares, offers[2].shares)
    answer = Trained(np.array([1.0, 2.0]), rng.normal(size=(3, 2, 5)), Decision(1 / 3, 0.1, 0.2, float("inf")))
    again = messages.read_trained(messages.trained(answer))
    np.testing.assert_array_equal(again.models, answer.models)
    assert again.decision == answer.decision
    score = ScoreTask(awkward, rng.normal(size=(2, 3, 5)), rng.random((4, 3)))
    again = messages.read_scoring(messages.scoring(score))
    for name in ("weights", "models", "mixing"):
        np.testing.assert_array_equal(getattr(again, name), getattr(score, name))


def test_nothing_leaves_a_client_but_what_the_exchange_lists():
    grid = Grid(OPTIONS | {"search": True})
    replies = []
    grid.meddle = lambda message, reply: replies.append((message.metadata.message_type, reply.content)) or reply
    make_rules(grid.options).run(clients(grid), 2, progress=False)
    names = {"query": {"weights"}, "train": {"amounts", "models"}, "evaluate": {"scores"}}
    words = {"query": {"number", "description"}, "train": {"decision"}, "evaluate": set()}
    for kind, content in replies:
        assert set(content.array_records["arrays"]) == names[kind]
        assert set(json.loads(content.config_records["words"]["json"])) == words[kind]
        assert set(content) == {"arrays", "words"}


# ---- what clients may do -----------------------------------------------------------------------------


def balanced(lines, rounds):
    """Every round once, every stage settled once, and its payments add up to nothing."""
    played = [line for line in lines if "payments" not in line]
    stages = [line for line in lines if "payments" in line]
    assert [line["round"] for line in played] == list(range(1, rounds + 1))
    assert [line["stage"] for line in stages] == list(range(1, len(stages) + 1))
    assert [r for line in stages for r in range(line["rounds"][0], line["rounds"][1] + 1)] == list(range(1, rounds + 1))
    for line in stages:
        assert abs(sum(line["payments"])) <= 1e-12
    for line in played:
        for client in map(int, line["refused"]):  # a null player
            assert line["amounts"][client] is None
            assert line["shares"][client] == line["gains"][client] == line["transfers"][client] == 0.0


@pytest.mark.parametrize(
    ("mishap", "reason"),
    [
        ("2:1:raises", "training: her app raised ValueError: the scanner is broken"),
        ("2:1:nan", "training: sent a local model with NaN or infinite weights"),
        ("2:1:shape", "training: sent local models of shape (1, 3, 17), not (1, 3, 18)"),
    ],
)
def test_a_failing_client_is_out_of_her_round_with_the_reason(mishap, reason):
    run = make_rules(OPTIONS).run(clients(Grid(OPTIONS | {"mishap": mishap})), 4, progress=False)
    assert [line["refused"] for line in run.rounds] == [{}, {"1": reason}, {}, {}]
    balanced(run.lines, 4)


def test_an_answer_that_is_late_is_none():
    grid = Grid(OPTIONS)
    late = []

    def keep_back(message, reply):
        if message.metadata.message_type == "train" and message.metadata.dst_node_id == 107 and not late:
            late.append(reply)
            return None
        return reply

    grid.meddle = keep_back
    run = make_rules(OPTIONS).run(clients(grid, timeout=0.3), 3, progress=False)
    assert [line["refused"] for line in run.rounds] == [{"1": "training: no answer within 0.3 s"}, {}, {}]
    balanced(run.lines, 3)


def bad_scores(**arrays):
    content = RecordDict()
    content["arrays"] = messages._packed(arrays, {})["arrays"]
    content["words"] = ConfigRecord({"json": "{}"})
    return content


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (RecordDict(), "sent what is no answer of FedBR-Shap"),
        (RecordDict({"words": ConfigRecord({"json": "[1"})}), "sent what is no answer of FedBR-Shap"),
        (bad_scores(), "sent no scores that can be read"),
        (bad_scores(scores=np.zeros(3)), "sent scores as 1-dimensional float64, not 2-dimensional float64"),
        (bad_scores(scores=np.full((1, 64), np.nan)), "sent scores of shape (1, 64), not (1, 32)"),
    ],
    ids=["nothing", "no JSON", "no array", "a row", "another shape"],
)
def test_nonsense_for_scores_is_refused_and_said(content, reason):
    grid = Grid(OPTIONS)
    done = []

    def lie(message, reply):
        if message.metadata.message_type == "evaluate" and message.metadata.dst_node_id == 114 and not done:
            done.append(message)
            return Message(content, reply_to=message)
        return reply

    grid.meddle = lie
    run = make_rules(OPTIONS).run(clients(grid), 2, progress=False)
    refused = run.rounds[0]["refused"]["2"]
    assert refused.startswith("scoring: sent") if "shape" in reason else refused == f"scoring: {reason}"
    assert run.rounds[1]["refused"] == {}
    balanced(run.lines, 2)


def test_scores_in_another_precision_are_refused():
    record = messages.scores(np.zeros((1, 4)))
    record["arrays"]["scores"] = type(record["arrays"]["scores"])(np.zeros((1, 4), dtype=np.float32))
    with pytest.raises(ValueError, match="sent scores as 2-dimensional float32, not 2-dimensional float64"):
        messages.read_scores(record)
    record["arrays"]["scores"] = type(record["arrays"]["scores"])(
        dtype="object", shape=(1,), stype="numpy.ndarray", data=b"\x93NUMPY nonsense"
    )
    with pytest.raises(ValueError, match="sent no scores that can be read"):
        messages.read_scores(record)


def test_fewer_answers_than_the_quorum_end_the_run_and_it_goes_on(tmp_path):
    mishap = "3:0:raises 3:1:raises"
    with pytest.raises(QuorumError, match="1 of 3 clients can be counted on and the quorum is 2"):
        make_rules(OPTIONS).run(clients(Grid(OPTIONS | {"mishap": mishap})), 5, out=tmp_path / "a", progress=False)
    make_rules(OPTIONS).run(clients(Grid(OPTIONS)), 5, out=tmp_path / "a", progress=False)
    in_process(OPTIONS, tmp_path / "b")
    assert books(tmp_path / "a") == books(tmp_path / "b")


# ---- nodes that come and go --------------------------------------------------------------------------


def test_a_dead_node_is_waited_for_once_and_her_successor_takes_over():
    grid = Grid(OPTIONS)
    found = clients(grid, timeout=0.3)
    steps = make_rules(OPTIONS).steps(found, 6)
    lines = [next(steps)[0]]
    grid.dead.add(107)  # killed: Flower lists her for a minute
    grid.nodes[999] = 1  # started again
    lines += [next(steps)[0] for _ in range(3)]
    assert [line["refused"] for line in lines if "round" in line] == [{}, {"1": "training: no answer within 0.3 s"}, {}]
    del grid.nodes[107]
    lines += [line for line, _ in steps]
    assert all(line["refused"] == {} for line in lines[4:] if "round" in line)
    balanced(lines, 6)


def test_a_node_that_is_gone_is_not_waited_for():
    grid = Grid(OPTIONS)
    found = clients(grid, timeout=30.0)
    steps = make_rules(OPTIONS).steps(found, 2)
    next(steps)
    del grid.nodes[107]
    assert next(steps)[0]["refused"] == {"1": "training: her SuperNode is gone"}


def test_a_second_node_with_a_number_gets_nothing_while_the_first_answers():
    grid = Grid(OPTIONS)
    found = clients(grid)
    steps = make_rules(OPTIONS).steps(found, 4)
    next(steps)
    grid.nodes[999] = 1
    lines = [line for line, _ in steps]
    assert {node for kind, node, _ in grid.sent if kind != "query"} == {100, 107, 114}
    assert all(line["refused"] == {} for line in lines if "round" in line)


def test_another_client_under_an_old_number_is_not_let_in():
    grid = Grid(OPTIONS)
    found = clients(grid, timeout=0.3)
    steps = make_rules(OPTIONS).steps(found, 4)
    next(steps)
    del grid.nodes[107]
    grid.nodes[999] = 1
    other = make_client(2, OPTIONS).description
    grid.meddle = lambda message, reply: (
        Message(
            messages.introduction(1, other, make_client(1, OPTIONS).weights),
            reply_to=message,
        )
        if message.metadata.message_type == "query"
        else reply
    )
    assert [line["refused"] for line, _ in steps if "round" in line] == [{"1": "training: her SuperNode is gone"}] * 3


# ---- before the first round --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nodes", "more", "message"),
    [
        ({1: 0, 2: 1}, {}, "2 of 3 are; client 2: no SuperNode with partition-id=2 joined within 0.5 s"),
        ({1: 0, 2: 1, 3: 1}, {}, "client 1: two SuperNodes have partition-id=1; give each a number of its own"),
        ({1: 0, 2: 1, 3: 3}, {}, "her partition-id is 3, and clients are numbered 0 to 2"),
        ({1: 0, 2: 1, 3: None}, {}, "start the SuperNode with --node-config partition-id=NUMBER"),
        (
            {1: 0, 2: 1, 3: 2},
            {"wider": "1"},
            "train the same network; weights: client 0 18, client 1 19",
        ),
        ({1: 0, 2: 1, 3: 2}, {"concave": "1"}, "her app raised ValueError: .* must be convex"),
        ({1: 0, 2: 1, 3: 2}, {"rates": "0.1 0.2 -1"}, "rates must be at least 0; got -1"),
    ],
    ids=["missing", "twice", "out of range", "no number", "another network", "concave cost", "negative cost"],
)
def test_what_is_wrong_is_said_before_anybody_trains(nodes, more, message, tmp_path):
    grid = Grid(OPTIONS | more, nodes)
    with pytest.raises(ValueError, match=message):
        make_rules(OPTIONS).run(clients(grid, join=0.5), 3, out=tmp_path, progress=False)
    assert {kind for kind, _, _ in grid.sent} == {"query"}
    assert not (tmp_path / "ledger.jsonl").exists()


def test_clients_that_start_from_other_weights_are_refused():
    grid = Grid(OPTIONS, make=lambda number, options: make_client(number, {**options, "seed": number}))
    with pytest.raises(ValueError, match="client 1: her network starts from other weights than the first client's"):
        make_rules(OPTIONS).run(clients(grid, join=0.5), 3, progress=False)
    with pytest.raises(ValueError, match="her network starts from other weights than the first client's"):
        make_rules(OPTIONS).run(Members([make_client(i, {**OPTIONS, "seed": i}) for i in range(3)]), 3)


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="n_clients must be an integer of at least 1; got 0"):
        FlowerClients(Grid(OPTIONS), 0)
    with pytest.raises(ValueError, match="timeout must lie in"):
        FlowerClients(Grid(OPTIONS), 3, timeout=-1.0)
    with pytest.raises(ValueError, match="members must hold at least one client"):
        Members([])


# ---- the server's app --------------------------------------------------------------------------------


def serve(options, grid=None):
    app = server_app(make_rules)
    app(grid or Grid(options), Context(1, 0, {}, RecordDict(), dict(options)))


def test_the_servers_app_keeps_the_books_and_tells_the_table(tmp_path, capsys):
    options = {**OPTIONS, "out": str(tmp_path / "books"), "timeout": 5}
    serve(options)
    in_process(OPTIONS, tmp_path / "here")
    assert books(tmp_path / "books") == books(tmp_path / "here")
    said = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("fedshap| round") for line in said) == 5
    assert [line.split()[1] for line in said if line.startswith("fedshap= ")] == ["client", "0", "1", "2", "sum"]


def test_the_servers_app_says_why_it_fails(tmp_path, capsys):
    options = {**OPTIONS, "out": str(tmp_path), "timeout": 5, "mishap": "1:0:raises 1:1:raises"}
    with pytest.raises(QuorumError):
        serve(options)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("fedshap! 1 of 3 clients can be counted on and the quorum is 2")
    (tmp_path / "ledger.jsonl").touch()
    with pytest.raises(ValueError, match="was begun with other options: mishap"):
        serve({**options, "mishap": ""})


def test_an_audited_federation_keeps_its_public_inputs_on_the_server():
    options = FederationOptions(clients=3, rounds=2, stage=2, audit=20, batch_size=16, search=False)
    rules = options.rules()
    assert rules.audit is not None
    assert rules.search is None
    run = rules.run(Members([options.client(i) for i in range(3)]), 2, progress=False)
    assert "audit" in run.stages[0]
