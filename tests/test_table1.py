"""The command ``fedshap table1`` and the paper's printed numbers that it is compared with."""

from __future__ import annotations

import inspect
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

import fedshap as fs

pytest.importorskip("torch")

from fedshap.cli import main  # noqa: E402
from fedshap.federated import TrainingConfig, load_dataset, train  # noqa: E402
from fedshap.federated import store as kept  # noqa: E402
from fedshap.paper import command as command_module  # noqa: E402
from fedshap.paper.command import COLUMNS  # noqa: E402
from fedshap.paper.experiment import EXPERIMENTS, Clients, deal_out, expected_clients, f1_score, game_of, judge  # noqa: E402
from fedshap.paper.published import LUMPY_SHARES, MECHANISMS, SPREAD, TABLE_1, WEIGHTS  # noqa: E402
from fedshap.paper.settings import BETA, COST_TO_WORTH, STEP  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
QUICK = ["table1", "--dataset", "digits", "--quick", "--device", "cpu", "--rounds", "1"]
RULES = {"M0": fs.NoPayment(), "MBG": fs.CostSharing(0.8), "MShap": fs.ShapleyPayment()}


def command(out: Path, *more: str) -> list[str]:
    return [*QUICK, "--out", str(out), *more]


def read(out: Path, name: str = "table1_digits_quick") -> dict:
    return json.loads((out / f"{name}.json").read_text())


def numbers(record: dict) -> dict:
    """A result without the day and the durations."""
    bare = {key: value for key, value in record.items() if key != "date"}
    return bare | {"repetitions": [each | {"training_seconds": None} for each in record["repetitions"]]}


@pytest.fixture
def trained(monkeypatch) -> list[np.ndarray]:
    """The contributions trained so far in this test."""
    done, real = [], kept.federated_averaging

    def counted(federation, s, config, **more):
        result = real(federation, s, config, **more)
        done.append(s)
        return result

    monkeypatch.setattr(kept, "federated_averaging", counted)
    return done


@pytest.fixture(scope="module")
def result(tmp_path_factory) -> dict:
    """One quick repetition, by the command line in a process of its own."""
    out = tmp_path_factory.mktemp("reproduce")
    run = subprocess.run(
        [sys.executable, "-m", "fedshap", *command(out, "--seeds", "1")], capture_output=True, text=True, cwd=ROOT
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip().endswith("table1_digits_quick.json")
    assert [path.name for path in out.iterdir()] == ["table1_digits_quick.json"]  # no work folder left
    return read(out)


def played(record: dict) -> list[tuple[str, str, dict]]:
    """Answer, mechanism and what is said of it, in the first repetition's fitted game."""
    answers = record["repetitions"][0]["games"]["fitted"]["answers"]
    return [(answer, name, judged) for answer, profiles in answers.items() for name, judged in profiles.items()]


def game(record: dict) -> fs.Game:
    """The fitted game, built again from what the result says."""
    repetition = record["repetitions"][0]
    fitted = repetition["games"]["fitted"]
    payoff = fs.PowerLaw(weights=fitted["weights"], groups=repetition["groups"])
    capacity = np.minimum(repetition["owned"], record["settings"]["cap"])
    return fs.Game(payoff, fs.LinearCost(fitted["rates"]), capacity=capacity)


@pytest.mark.slow
def test_a_quick_run_says_so_and_says_where_it_ran(result):
    assert result["quick"] is True
    assert result["device"] == "cpu"
    assert [repetition["seed"] for repetition in result["repetitions"]] == [0]
    assert set(result["versions"]) == {"python", "fedshap", "numpy", "scipy", "torch"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", result["date"])
    assert result["repetitions"][0]["training_seconds"] > 0
    assert result["settings"]["movers"] == 3
    assert result["content"] == "verified"  # scikit-learn's digits


@pytest.mark.slow
def test_three_answers_for_three_mechanisms(result):
    assert [(answer, name) for answer, name, _ in played(result)] == [
        (answer, name) for answer in ("protocol", "all move", "equilibrium") for name in MECHANISMS
    ]


@pytest.mark.slow
def test_the_numbers_of_the_game_follow_from_the_record(result):
    g = game(result)
    owned = np.array(result["repetitions"][0]["owned"])
    first = {(answer, name): judged for answer, name, judged in played(result)}
    for answer, name, judged in played(result):
        s, base = np.array(judged["contributions"]), first[answer, "M0"]
        assert judged["share"] == pytest.approx(s.sum() / owned.sum(), rel=1e-12)
        assert judged["share_of_cap"] == pytest.approx(s.sum() / 90, rel=1e-12)
        assert judged["data_gain"] == pytest.approx(s.sum() / sum(base["contributions"]), rel=1e-12)
        a = 1 - 1 / (1 + np.array([np.bincount(g.payoff.groups, s) @ w for w in g.payoff.weights]))  # (3,)
        assert judged["fitted_accuracies"] == pytest.approx(a, rel=1e-12)
        assert judged["welfare"] == pytest.approx(3 * a.sum() - g.cost.rates @ s, rel=1e-12)
        assert judged["fitted_accuracy_gain"] == pytest.approx(a.mean() / base["fitted_accuracy"], rel=1e-12)
        assert judged["regret"] == pytest.approx(fs.regret(g, RULES[name], s), abs=1e-14)
        assert judged["reciprocity"] == pytest.approx(fs.reciprocity(g, RULES[name], s), rel=1e-12)
        if answer == "equilibrium":
            assert judged["regret"] <= 1e-9


@pytest.mark.slow
def test_the_protocol_is_the_papers(result):
    """Walked again by hand for M^0: gradient steps of ten, three of nine at a time, from one, clipped."""
    g, rng = game(result), np.random.default_rng((0, 1))
    s = np.ones(9)
    w = g.payoff.weights[g.payoff.groups][:, g.payoff.groups]  # (9, 9)
    for _ in range(1000):
        slope = np.diagonal(w) / (1 + w @ s) ** 2 - g.cost.rates
        moving = rng.choice(9, size=3, replace=False)
        s[moving] = np.clip(s + 10 * slope, 0, 10)[moving]
    by_record = {(answer, name): judged["contributions"] for answer, name, judged in played(result)}
    np.testing.assert_allclose(by_record["protocol", "M0"], s, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_the_accuracies_are_those_of_real_training(result):
    federation = deal_out(EXPERIMENTS["digits"], load_dataset("digits"), 0)
    settings = {name: result["settings"][name] for name in ("model", "rounds", "batch_size", "learning_rate", "dtype")}
    for answer, name, judged in played(result)[-3:]:
        again = train(federation, np.round(judged["contributions"], 6), seed=0, **settings)
        assert judged["trained"]["client_accuracies"] == again.client_accuracies.tolist(), (answer, name)
        assert judged["accuracy"] == pytest.approx(again.client_accuracies.mean(), rel=1e-12)
        base = played(result)[-3][2]["accuracy"]
        assert judged["accuracy_gain"] == pytest.approx(judged["accuracy"] / base, rel=1e-12)


@pytest.mark.slow
def test_the_fit_is_in_the_record(result):
    fit = result["repetitions"][0]["fit"]
    assert np.shape(fit["contributions"]) == (8, 9)
    again = fs.federated.fit_payoff(fit["contributions"], fit["group_accuracies"], [0] * 3 + [1] * 3 + [2] * 3)
    assert fit["by_chance"][0]["weights"] == again.weights.tolist()
    assert [each["chance"] for each in fit["by_chance"]] == [0.0, 0.1]
    assert fit["by_chance"][0]["weights"] == result["repetitions"][0]["games"]["fitted"]["weights"]


@pytest.mark.slow
def test_a_killed_command_goes_on_to_the_same_numbers(result, tmp_path, trained):
    process = subprocess.Popen(
        [sys.executable, "-m", "fedshap", *command(tmp_path, "--seeds", "1")], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    folder, deadline = tmp_path / ".table1_digits_quick", time.monotonic() + 60
    while len(list(folder.glob("*.json"))) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL
    before = len(list(folder.glob("*.json")))
    assert before >= 3
    assert not (tmp_path / "table1_digits_quick.json").exists()
    assert main(command(tmp_path, "--seeds", "1")) == 0
    assert numbers(read(tmp_path)) == numbers(result)
    assert 0 < len(trained) < len(different_runs(result))
    assert len(trained) + before == len(different_runs(result))
    assert not folder.exists()


def different_runs(record: dict) -> set[tuple[float, ...]]:
    """Contributions of all runs that a repetition needs."""
    profiles = [judged["contributions"] for *_, judged in played(record)]
    return {tuple(np.round(s, 6)) for s in [*record["repetitions"][0]["fit"]["contributions"], *profiles]}


@pytest.mark.slow
def test_seeds_are_added_and_nothing_is_overwritten(result, tmp_path, trained, capsys):
    assert main(command(tmp_path, "--seeds", "1", "--keep")) == 0
    assert numbers(read(tmp_path)) == numbers(result)
    assert len(trained) == len(different_runs(result)) < 8 + 9  # equal profiles once
    text = (tmp_path / "table1_digits_quick.json").read_text()
    capsys.readouterr()
    assert main(command(tmp_path, "--seeds", "2", "--keep")) == 2
    assert "is finished; --force replaces it" in capsys.readouterr().err
    assert (tmp_path / "table1_digits_quick.json").read_text() == text
    trained.clear()
    assert main(command(tmp_path, "--seeds", "2", "--force")) == 0
    both = read(tmp_path)
    assert both["repetitions"][0] == json.loads(text)["repetitions"][0]
    assert len(trained) <= 8 + 9  # those of the second repetition alone
    for row in both["summary"]:
        each = [r["games"]["fitted"]["answers"][row["answer"]][row["mechanism"]] for r in both["repetitions"]]
        for column in COLUMNS:
            values = [one[column] for one in each]
            if None in values:
                assert row[column] is None
            else:
                expected = {"mean": np.mean(values), "median": np.median(values), "sd": np.std(values, ddof=1)}
                assert row[column] == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_two_agents_have_an_f1(tmp_path):
    assert main([*command(tmp_path, "--seeds", "1"), "--dataset", "quadratic"]) == 0
    record = read(tmp_path, "table1_quadratic_quick")
    for answer, _, judged in played(record):
        assert answer != "all move"  # both agents move anyway
        (_, false), (missed, true) = np.sum(judged["trained"]["confusion"], axis=0)
        assert judged["f1"] == pytest.approx(2 * true / (2 * true + false + missed))
    fitted = record["repetitions"][0]["games"]["fitted"]
    limit = 0.4 * np.trace(fitted["weights"]) / 2
    np.testing.assert_allclose(fitted["rates"], np.random.default_rng((0, 0)).uniform(0, limit, size=2), rtol=1e-12)


def test_fractions_of_a_batch_are_trained(tmp_path):
    assert main([*command(tmp_path, "--seeds", "1"), "--dataset", "breast-cancer"]) == 0
    profiles = [judged for *_, judged in played(read(tmp_path, "table1_breast-cancer_quick"))]
    for judged in profiles:
        np.testing.assert_allclose(judged["trained"]["contributions"], judged["contributions"], atol=1e-6)
    assert any(s % 1 for judged in profiles for s in judged["trained"]["contributions"])


def test_without_data_the_published_game_is_played(tmp_path):
    assert main(["table1", "--dataset", "cifar10", "--untrained", "--seeds", "1", "--out", str(tmp_path)]) == 0
    record = read(tmp_path, "table1_cifar10")
    repetition = record["repetitions"][0]
    assert record["trained"] is False
    assert record["content"] is None
    assert repetition["owned"] == [27] * 30  # App. E
    assert repetition["fit"] is None
    assert list(repetition["games"]) == ["published"]
    assert max(repetition["games"]["published"]["rates"]) <= 0.001
    row = next(each for each in record["summary"] if each["mechanism"] == "MShap" and each["answer"] == "protocol")
    assert row["accuracy"] is None
    assert 100 * row["share"]["mean"] == pytest.approx(TABLE_1["cifar10"]["share"][2], abs=0.5)
    assert record["printed"]["table_1"]["share"] == [25.6, 28.9, 99.6]


def test_an_interrupted_command_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(kept, "federated_averaging", interrupted)
    assert main(command(tmp_path)) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.json"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dataset", "mnits"], "dataset must be one of 'mnist', .*; got 'mnits'"),
        (["--dataset", "lumpy", "--data", "nowhere.csv"], "lumpy skin disease data"),
        (["--seeds", "0"], "seeds must be an integer of at least 1; got 0"),
        (["--rounds", "0"], "rounds must be an integer of at least 1; got 0"),
        (["--device", "tpu"], "device must be 'cpu', 'cuda' or 'cuda:k'; got 'tpu'"),
        (["--device", "cuda:99"], "device 'cuda:99' is not there"),
        (["--weights", "best"], "weights must be 'both', 'fitted' or 'published'; got 'best'"),
        (["--weights", "published"], "weights must be 'fitted'.* for 'digits': App. E has weights for mnist"),
        (["--untrained"], "weights must be 'fitted', with training, for 'digits'"),
        (["--dataset", "mnist", "--untrained", "--weights", "fitted"], "weights must be 'published'.*got 'fitted'"),
        (["--dataset", "lumpy", "--untrained"], "without data and training dataset must be .* 'cifar10'.*got 'lumpy'"),
    ],
)
def test_bad_options_end_with_one_line(options, message, tmp_path, capsys):
    assert main([*command(tmp_path), *options]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("fedshap: error: ")
    assert re.search(message, error)
    assert not list(tmp_path.glob("*.json"))


def test_content_that_no_checksum_knows_is_called_unknown(tmp_path, monkeypatch):
    def other(name, root):
        return replace(load_dataset(name), verified=False)

    monkeypatch.setattr(command_module, "load_dataset", other)
    assert main(command(tmp_path, "--seeds", "1")) == 0
    assert read(tmp_path)["content"] == "unknown"


# ---- the settings ------------------------------------------------------------------------------------

IMAGES = ("mnist", "fashion-mnist", "cifar10")


def test_the_settings_are_the_papers_where_it_prints_them():
    """The words are those of Sec. 5.1 and App. E."""
    for name in IMAGES:
        each = EXPERIMENTS[name]
        # Sec. 5.1: "We set the number of agents as 30 for the three image-based datasets [...] and randomly sample 10
        # agents to update their shares in each iteration"; "equally partitioned into three groups [...] 10 agents"
        assert (each.n_clients, each.movers, each.rotated) == (30, 10, True)
        # App. E: "chosen uniformly at random from [0, 0.001] for MNIST, FashionMNIST, and CIFAR-10"
        assert each.rate_limit == 0.001
        # App. E: "using 0 and 200 batches from each group, respectively"
        assert each.given * 10 == 200
    for name in ("lumpy", "quadratic"):
        each = EXPERIMENTS[name]
        # Sec. 5.1: "For the remaining two datasets, we set the number of agents to two and perform no sampling"
        assert (each.n_clients, each.movers, each.rotated) == (2, 2, False)
        assert each.given == 200  # App. E, as above: either agent is a group
    # App. E: "a simple CNN network with two 5x5 convolution layers followed by two fully connected layers [...] for
    # MNIST/FashionMNIST and the ResNet-18 for CIFAR-10. We use ResMLP for local training of the healthcare dataset and
    # a simple quadratic regression for the synthetic dataset."
    models = {"mnist": "lenet", "fashion-mnist": "lenet", "cifar10": "resnet18", "lumpy": "resmlp"}
    assert {name: EXPERIMENTS[name].model for name in (*models, "quadratic")} == models | {"quadratic": "quadratic"}
    # App. E: "We run the best response dynamics for all three mechanisms for 1000 iterations. We set the step size
    # of best response dynamics to be 10, and the learning rate is set as 0.1 for the local training."
    assert {(each.iterations, each.learning_rate) for each in EXPERIMENTS.values()} == {(1000, 0.1)}
    assert STEP == 10.0


@pytest.mark.parametrize(
    ("name", "fewest", "most"), [("mnist", 175, 191), ("fashion-mnist", 173, 192), ("cifar10", 27, 27)]
)
def test_clients_own_as_many_batches_as_in_app_e(name, fewest, most):
    """App. E: MNIST "175-191 batches of training data", FashionMNIST "173-192", CIFAR "27"."""
    owned = expected_clients(EXPERIMENTS[name]).owned
    assert fewest <= owned.min() <= owned.max() <= most


def test_batches_of_test_data_in_app_e_agree_for_cifar_alone():
    """App. E: CIFAR "6 batches of testing data"; MNIST's 17-18 are not 10,000 images of 30 clients in batches of 11."""
    batches = {name: 10_000 / 30 / EXPERIMENTS[name].batch_size for name in IMAGES}
    assert 5 < batches["cifar10"] <= 6
    assert batches["mnist"] == batches["fashion-mnist"] == pytest.approx(30.3, abs=0.01)


def test_the_data_sets_have_the_published_sizes_and_test_parts():
    """60,000 and 10,000 images of MNIST and Fashion-MNIST, 50,000 and 10,000 of CIFAR-10."""
    sizes = {name: (EXPERIMENTS[name].n_inputs, EXPERIMENTS[name].test_fraction) for name in IMAGES}
    for name in IMAGES:
        total, fraction = sizes[name]
        assert (round((1 - fraction) * total), round(fraction * total)) == (
            (50_000, 10_000) if name == "cifar10" else (60_000, 10_000)
        )
    assert all(each.n_inputs is None for name, each in EXPERIMENTS.items() if name not in IMAGES)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_settings_are_those_of_the_stored_results(name):
    """What the paper does not print was chosen once: a change makes the stored results those of another experiment."""
    stored = json.loads((ROOT / "book" / "results" / f"table1_{name}.json").read_text())["settings"]
    here = asdict(EXPERIMENTS[name]) | {"movers": EXPERIMENTS[name].movers, "step": STEP, "beta": BETA}
    assert here == stored
    assert COST_TO_WORTH == 0.4


def test_three_clients_are_groups_of_rotated_images_and_two_are_not():
    three, two = (replace(EXPERIMENTS["digits"], n_clients=n) for n in (3, 2))
    assert (three.rotated, three.movers, two.rotated, two.movers) == (True, 1, False, 2)


def test_a_quick_run_is_smaller_in_each_respect():
    for each in EXPERIMENTS.values():
        quick = each.quick()
        assert (quick.rounds, quick.cap, quick.given) == (2, 10, 5)
        assert quick.given < quick.cap
        changed = {name for name, value in asdict(quick).items() if value != asdict(each)[name]}
        assert changed == {"rounds", "cap", "given"}


def test_the_defaults_of_training_stand_in_one_place(monkeypatch):
    """`train` repeats the defaults of `TrainingConfig` in its signature, for the reader; the digits experiment has
    them too, but for its precision."""
    declared = {
        name: parameter.default
        for name, parameter in inspect.signature(train).parameters.items()
        if name in TrainingConfig.__dataclass_fields__
    }
    assert declared == asdict(TrainingConfig())
    assert (declared["rounds"], declared["batch_size"], declared["learning_rate"]) == (25, 8, 0.1)
    digits = asdict(EXPERIMENTS["digits"])
    for name in ("rounds", "batch_size", "learning_rate", "model"):
        assert digits[name] == declared[name], name


def test_arguments_of_the_function_are_checked_before_anything_is_made(tmp_path):
    for options, message in [
        ({"dataset": ["mnist"]}, r"dataset must be one of .*; got \['mnist'\]"),
        ({"out": 3}, "out must be a path; got 3"),
        ({"data": 3}, "data must be a path; got 3"),
        ({"device": None}, "device must be 'cpu'"),
    ]:
        with pytest.raises(ValueError, match=message):
            command_module.table1(**{"out": tmp_path / "new"} | options)
    assert not (tmp_path / "new").exists()


def test_the_expected_clients_are_those_dealt_out():
    for n_inputs in (1797, 901, 1234):
        experiment = replace(EXPERIMENTS["digits"], n_clients=30, n_inputs=n_inputs, batch_size=1)
        digits = load_dataset("digits")
        some = type(digits)(digits.inputs[:n_inputs], digits.labels[:n_inputs], 10)
        expected, dealt = expected_clients(experiment), Clients.of(experiment, deal_out(experiment, some, 0))
        assert expected.groups.tolist() == dealt.groups.tolist()
        assert expected.owned.tolist() == dealt.owned.tolist()


def test_a_gain_over_nothing_has_no_value():
    clients = Clients(np.array([0, 1, 2]), np.array([40, 40, 40]))
    g = game_of(EXPERIMENTS["mnist"], np.eye(3), clients, 0)
    judged = judge(g, "MShap", {"M0": np.zeros(3), "MShap": np.ones(3)}, clients)
    assert judged["data_gain"] is None
    assert judged["fitted_accuracy_gain"] is None
    assert judged["share"] == pytest.approx(3 / 120)


def test_the_same_clients_are_dear_whatever_the_weights():
    clients = expected_clients(EXPERIMENTS["mnist"])
    dear = [
        game_of(replace(EXPERIMENTS["mnist"], rate_limit=limit), weights, clients, 3).cost.rates.argsort().tolist()
        for limit, weights in ((None, WEIGHTS["mnist"]), (None, np.eye(3)), (0.001, np.eye(3)))
    ]
    assert dear[0] == dear[1] == dear[2]


def test_f1_is_a_hand_count():
    assert f1_score(np.array([[50, 10], [5, 35]])) == pytest.approx(2 / (1 / (35 / 45) + 1 / (35 / 40)))
    assert f1_score(np.array([[7, 0], [0, 0]])) is None
    with pytest.raises(ValueError, match=r"confusion must have shape \(2, 2\), .*; got \(1, 3\)"):
        f1_score([[1, 2, 3]])


# ---- the printed numbers --------------------------------------------------------------------------

GAINS = [
    (name, gain, of, k)
    for name in TABLE_1
    for gain, of in (("data_gain", "share"), ("accuracy_gain", "accuracy"))
    for k in (1, 2)
]
NOT_THE_RATIO = {
    ("fashion-mnist", "accuracy_gain", 1),
    ("fashion-mnist", "accuracy_gain", 2),
    ("lumpy", "data_gain", 2),
    ("lumpy", "accuracy_gain", 1),
    ("quadratic", "data_gain", 2),
    ("quadratic", "accuracy_gain", 2),
}
"""Printed gains of Table 1 that are not the ratio of the printed numbers, whichever way these were rounded."""


def ratio_is_printed(name: str, gain: str, of: str, k: int) -> bool:
    base, ours = TABLE_1[name][of][0], TABLE_1[name][of][k]
    low, high = (ours - 0.05) / (base + 0.05), (ours + 0.05) / (base - 0.05)
    printed = TABLE_1[name][gain][k]
    return low <= printed + 0.005 and printed - 0.005 <= high


@pytest.mark.parametrize(("name", "gain", "of", "k"), GAINS)
def test_printed_gains_are_ratios_of_printed_numbers_or_known_not_to_be(name, gain, of, k):
    assert ratio_is_printed(name, gain, of, k) == ((name, gain, k) not in NOT_THE_RATIO)


@pytest.mark.parametrize("name", SPREAD)
def test_tables_2_to_4_agree_with_table_1(name):
    for k, mechanism in enumerate(MECHANISMS):
        for column, (mean, _, _) in SPREAD[name][mechanism].items():
            digits = 1 if column in ("share", "accuracy") else 2
            assert abs(TABLE_1[name][column][k] - mean) <= 0.5 * 10**-digits + 0.0051 * (digits == 2), (column, k)


@pytest.mark.parametrize("name", SPREAD)
def test_printed_medians_are_possible(name):
    """Three numbers have |mean - median| <= their standard deviation / sqrt(3) (with n - 1), or / sqrt(2) (with n)."""
    for mechanism in MECHANISMS:
        for column, (mean, median, sd) in SPREAD[name][mechanism].items():
            percent = column in ("share", "accuracy")
            half, unit = (0.05, 100) if percent else (0.0005, 1)
            assert abs(mean - median) - 2 * half <= unit * (sd + 0.0005) / np.sqrt(2), (mechanism, column)


def test_not_every_deviation_of_shapley_payment_is_small():
    """App. E says that all are at most 0.1."""
    largest = {name: max(sd for *_, sd in SPREAD[name]["MShap"].values()) for name in SPREAD}
    assert largest == {"mnist": 0.354, "fashion-mnist": 0.795, "cifar10": 0.078}


def test_the_text_and_the_table_disagree_on_the_lumpy_equilibria():
    """Agents own as much as each other, or nearly: shares of all data lie between the two agents' shares."""
    outside = [
        name
        for k, name in enumerate(MECHANISMS)
        if not min(LUMPY_SHARES[name]) <= TABLE_1["lumpy"]["share"][k] <= max(LUMPY_SHARES[name])
    ]
    assert outside == list(MECHANISMS)


def test_published_weights_have_the_shape_of_their_groups():
    assert {name: weights.shape for name, weights in WEIGHTS.items()} == {
        "mnist": (3, 3),
        "fashion-mnist": (3, 3),
        "cifar10": (3, 3),
        "lumpy": (2, 2),
    }
    assert all((weights > 0).all() for weights in WEIGHTS.values())


def test_all_agents_moving_gives_the_printed_shares_of_mnist():
    """A third of the agents moving, as the paper says, gives about half of them; CIFAR-10's fit that (see above)."""
    experiment = EXPERIMENTS["mnist"]
    clients = expected_clients(experiment)
    g = game_of(experiment, WEIGHTS["mnist"], clients, 0)
    for rule, printed in zip((fs.NoPayment(), fs.CostSharing(0.8)), TABLE_1["mnist"]["share"], strict=False):
        shares = [
            100
            * fs.best_response_dynamics(
                g, rule, step=10, steps=1000, sample_size=size, rng=0, start=np.ones(30)
            ).final.sum()
            / clients.owned.sum()
            for size in (30, 10)
        ]
        assert shares[0] == pytest.approx(printed, rel=0.06)
        assert shares[1] == pytest.approx(printed / 2, rel=0.08)
