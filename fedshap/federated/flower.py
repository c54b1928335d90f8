"""FedBR-Shap on Flower: the clients of a federation behind its messages, and the two apps that Flower runs.

A client is known by her number, the ``partition-id`` that her SuperNode was started with. Numbers are self-declared:
whoever comes first with one keeps it, for as long as Flower counts her node among the living and she answers; a second
node with the same number is refused. Where SuperNodes are authenticated, so is who came first.

Whatever goes wrong with one client, an error, silence, nonsense, becomes a `Refusal` with the reason.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

try:
    from flwr.app import Context, Message, MessageType, RecordDict
    from flwr.clientapp import ClientApp
    from flwr.serverapp import Grid, ServerApp
except ModuleNotFoundError as _error:
    raise ImportError(
        "fedshap.federated.flower needs flwr, which is not installed: pip install fedshap[flower]"
    ) from _error

from fedshap._types import Array
from fedshap._validation import as_count, as_interval
from fedshap.federated import flower_messages as messages
from fedshap.federated.exchange import Description, Refusal, ScoreTask, Trained, TrainTask
from fedshap.federated.members import Member, same_start
from fedshap.federated.reports import progress, table
from fedshap.federated.tasks import MakeClient, MakeRules, run_federation

POLL = 0.2  # seconds between looks for answers: Flower's own loop waits 3
JOIN = 120.0  # seconds for all to join
LOOK = 5.0  # seconds between looks at who is still there
SAID, TABLE, FAILED = "fedshap| ", "fedshap= ", "fedshap! "
"""What lines of the server's log begin with that are meant for who watches: news, the result, why it failed."""
GONE = Refusal("her SuperNode is gone")

T = TypeVar("T")


class FlowerClients:
    """Clients that a Flower grid reaches, as :class:`~fedshap.federated.exchange.Clients`.

    Parameters
    ----------
    grid : flwr.serverapp.Grid
        What Flower gives to the server's app.
    n_clients : int
        How many there are, numbered 0 to ``n_clients - 1``.
    timeout : float
        Seconds that a client has for an answer.
    join : float
        Seconds within which all must have joined before the first round.

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    def __init__(self, grid: Grid, n_clients: int, *, timeout: float = 600.0, join: float = JOIN) -> None:
        self.grid = grid
        self.n_clients = as_count("n_clients", n_clients)
        self.timeout = as_interval("timeout", timeout, 0.0, np.inf)
        self.join = as_interval("join", join, 0.0, np.inf)
        self._nodes: dict[int, int] = {}  # node of each client
        self._known: dict[int, str] = {}  # nodes that were asked who they are, and what is wrong with them
        self._waiting: dict[int, int] = {}  # second nodes of clients whose first one may be dead
        self._silent: set[int] = set()  # nodes that left a request unanswered
        self._described: dict[int, Description] = {}
        self._start: Array | None = None
        self._until: float | None = None

    @property
    def weights(self) -> Array:
        """Initial weights of the network, shape (P,), as the first client sent them."""
        self._gather()
        return np.empty(0) if self._start is None else self._start

    @property
    def descriptions(self) -> list[Description | Refusal]:
        """What each says of herself, or why she is not there."""
        self._gather()
        return [
            self._described[number] if number in self._nodes and number not in self._waiting else self._absent(number)
            for number in range(self.n_clients)
        ]

    def train(self, task: TrainTask) -> Mapping[int, Trained | Refusal]:
        """Local models of those who are asked."""
        self._welcome(min(self.timeout, self.join))
        asked = {number: messages.training(task, number) for number in task.offers}
        return self._ask(MessageType.TRAIN, asked, messages.read_trained)

    def score(self, task: ScoreTask, who: Sequence[int]) -> Mapping[int, Array | Refusal]:
        """Scores by some of them."""
        content = messages.scoring(task)
        return self._ask(MessageType.EVALUATE, dict.fromkeys(who, content), messages.read_scores)

    def _gather(self) -> None:
        """Wait until everybody has joined, or as many as are expected and somebody among them is not acceptable."""
        if self._until is None:
            self._until = time.monotonic() + self.join
        while len(self._nodes) < self.n_clients and time.monotonic() < self._until:
            self._welcome(max(self._until - time.monotonic(), POLL))
            wrong = any(self._known.values()) or self._waiting
            if wrong and len(self._known) >= self.n_clients:
                return
            time.sleep(POLL)

    def _welcome(self, patience: float) -> None:
        """Ask nodes that have joined meanwhile who they are."""
        there = set(self.grid.get_node_ids())
        for number, node in list(self._waiting.items()):
            if node in there and self._gone(number, there):
                self._nodes[number] = self._waiting.pop(number)
        new = sorted(there - set(self._known))
        if not new:
            return
        answers = self._exchange(MessageType.QUERY, {node: messages.hello() for node in new}, patience)
        for node in new:
            self._known[node] = self._introduce(node, answers[node], there)

    def _introduce(self, node: int, answer: RecordDict | Refusal, there: set[int]) -> str:
        """Note whose node it is; return what is wrong with it, or an empty string."""
        if isinstance(answer, Refusal):
            return answer.reason
        try:
            number, description, weights = messages.read_introduction(answer)
        except ValueError as error:
            return str(error)
        if not 0 <= number < self.n_clients:
            return f"her partition-id is {number}, and clients are numbered 0 to {self.n_clients - 1}"
        if self._start is None:
            self._start = weights
        if wrong := same_start(weights, self._start):
            return f"client {number}: {wrong}"
        if self._described.setdefault(number, description) != description:
            return f"she is not the client {number} that was here before: {description}"
        if number in self._nodes and not self._gone(number, there):
            self._waiting[number] = node
        else:
            self._nodes[number] = node
        return ""

    def _gone(self, number: int, there: set[int]) -> bool:
        node = self._nodes[number]
        return node not in there or node in self._silent

    def _absent(self, number: int) -> Refusal:
        """Why a client is not there."""
        if number in self._waiting:
            return Refusal(f"two SuperNodes have partition-id={number}; give each a number of its own")
        wrong = "; ".join(why for why in self._known.values() if why)
        return Refusal(wrong or f"no SuperNode with partition-id={number} joined within {self.join:g} s")

    def _ask(
        self, kind: str, asked: Mapping[int, RecordDict], read: Callable[[RecordDict], T]
    ) -> dict[int, T | Refusal]:
        """Answers by client."""
        nodes = {self._nodes[number]: content for number, content in asked.items()}
        answers = self._exchange(kind, nodes, self.timeout)
        return {number: _read(answers[self._nodes[number]], read) for number in asked}

    def _exchange(
        self, kind: str, contents: Mapping[int, RecordDict], patience: float
    ) -> dict[int, RecordDict | Refusal]:
        """Answers by node, a `Refusal` where there is none in time."""
        end, looked = time.monotonic() + patience, time.monotonic()
        waiting = self._send(kind, contents, patience)
        answers: dict[int, RecordDict | Refusal] = dict.fromkeys(set(contents) - set(waiting.values()), GONE)
        while waiting and time.monotonic() < end:
            for reply in self.grid.pull_messages(list(waiting)):
                node = waiting.pop(reply.metadata.reply_to_message_id, None)
                if node is not None:
                    answers[node] = _refusal(reply.error.reason) if reply.has_error() else reply.content
            if time.monotonic() > looked + LOOK:
                looked, there = time.monotonic(), set(self.grid.get_node_ids())
                for number in [each for each, node in waiting.items() if node not in there]:
                    answers[waiting.pop(number)] = GONE
            if waiting:
                time.sleep(POLL)
        self._silent.difference_update(answers)
        self._silent.update(waiting.values())
        late = Refusal(f"no answer within {patience:g} s")
        return {node: answers.get(node, late) for node in contents}

    def _send(self, kind: str, contents: Mapping[int, RecordDict], patience: float) -> dict[str, int]:
        """Send requests to nodes; what Flower numbers them, and whose they are."""
        there = set(self.grid.get_node_ids())
        sent = {
            node: Message(content, dst_node_id=node, message_type=kind, ttl=patience)
            for node, content in contents.items()
            if node in there
        }
        numbers = self.grid.push_messages(list(sent.values()))
        return {number: node for number, node in zip(numbers, sent, strict=True) if number}


def client_app(make_client: MakeClient) -> ClientApp:
    """Flower's side of a client.

    Parameters
    ----------
    make_client : callable
        Takes the client's number and the options of the run; returns a :class:`~fedshap.federated.Client`, or what
        behaves like one.

    Returns
    -------
    flwr.clientapp.ClientApp
    """
    app = ClientApp()

    @app.query()
    def introduce(message: Message, context: Context) -> Message:
        number, member = _member(make_client, context)
        return Message(messages.introduction(number, member.description, member.weights), reply_to=message)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        task = messages.read_training(message.content)
        return Message(messages.trained(_member(make_client, context)[1].train(task)), reply_to=message)

    @app.evaluate()
    def score(message: Message, context: Context) -> Message:
        task = messages.read_scoring(message.content)
        return Message(messages.scores(_member(make_client, context)[1].score(task)), reply_to=message)

    return app


def server_app(make_rules: MakeRules) -> ServerApp:
    """Flower's side of the server: runs the protocol, with its books in the folder ``out`` of the options.

    Parameters
    ----------
    make_rules : callable
        Takes the options of the run, returns a :class:`~fedshap.federated.FedBRShap`.

    Returns
    -------
    flwr.serverapp.ServerApp
    """
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        try:
            _serve(make_rules, grid, context.run_config)
        except (ValueError, OSError, RuntimeError, ArithmeticError) as error:
            _say(FAILED, " ".join(str(error).split()))
            raise

    return app


def _serve(make_rules: MakeRules, grid: Grid, options: Mapping[str, Any]) -> None:
    clients = FlowerClients(grid, int(options["clients"]), timeout=float(options.get("timeout", 600.0)))
    out = Path(str(options["out"])).expanduser().absolute()
    callbacks = [lambda line: _say(SAID, progress(line))]
    run = run_federation(make_rules(options), clients, options, out, progress=False, callbacks=callbacks)
    _say(TABLE, table(run.lines))


def _say(how: str, text: str) -> None:
    print("\n".join(f"{how}{line}" for line in text.splitlines()), flush=True)


def _member(make_client: MakeClient, context: Context) -> tuple[int, Member]:
    """Whose SuperNode this is."""
    number = context.node_config.get("partition-id")
    if not isinstance(number, int) or isinstance(number, bool):
        raise ValueError(f"start the SuperNode with --node-config partition-id=NUMBER; got {dict(context.node_config)}")
    return number, make_client(number, context.run_config)


def _refusal(reason: str | None) -> Refusal:
    """Flower writes an exception as ``<class 'ValueError'>:<'text'>``."""
    raised = re.fullmatch(r"<class '(?:\w+\.)*(\w+)'>:<'(.*)'>", reason or "", re.DOTALL)
    return Refusal(f"her app raised {raised[1]}: {raised[2]}" if raised else f"her app failed: {reason}")


def _read(answer: RecordDict | Refusal, read: Callable[[RecordDict], T]) -> T | Refusal:
    if isinstance(answer, Refusal):
        return answer
    try:
        return read(answer)
    except ValueError as error:
        return Refusal(str(error))
