"""A federation's books as a table: what each client gave, earned and paid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fedshap.federated.ledger import Line

_HEADS = ("client", "given", "share", "gain", "payment", "could gain")


def table(lines: Sequence[Line]) -> str:
    """What each client gave, earned and paid, from the lines of a ledger.

    ``given`` is batches a round, on average over the rounds that she took part in. ``share``, ``gain`` and
    ``payment`` are sums over all settled stages, in the unit of the scores. ``could gain`` is the last certificate:
    what her best other amount would have added to her utility of a round, with its standard error.

    Examples
    --------
    >>> rounds = [{"amounts": [4.0, 2.0, None]}, {"amounts": [6.0, 2.0, 1.0]}]
    >>> stage = {"payments": [0.25, -0.05, -0.2], "shares": [0.75, 0.4, 0.1], "gains": [0.5, 0.45, 0.3]}
    >>> print(table([*rounds, stage]))
    client  given   share    gain  payment  could gain
         0  5.000   0.750   0.500    0.250           -
         1  2.000   0.400   0.450   -0.050           -
         2  1.000   0.100   0.300   -0.200           -
       sum  8.000   1.250   1.250    0.000
    """
    amounts = [line["amounts"] for line in lines if "payments" not in line]
    stages = [line for line in lines if "payments" in line]
    n = len((stages or [{"payments": amounts[0]}])[0]["payments"])
    given = [_mean([each[i] for each in amounts if each[i] is not None]) for i in range(n)]
    share, gain, payment = (
        np.sum([stage[name] for stage in stages], axis=0) if stages else np.zeros(n)
        for name in ("shares", "gains", "payments")
    )
    columns = (given, share, gain, payment)
    rows = [[str(i), *(f"{column[i]:.3f}" for column in columns), _could_gain(stages, i)] for i in range(n)]
    total = f"{np.sum(given):.3f}", *(f"{np.sum(column):.3f}" for column in (share, gain))
    balance = f"{abs(float(np.sum(payment))):.3f}"  # of -0.000
    return "\n".join(_in_columns([list(_HEADS), *rows, ["sum", *total, balance, ""]]))


def progress(line: Line) -> str:
    """A line of the ledger in a few words."""
    if "payments" in line:
        first, last = line["rounds"]
        paid = ", ".join(f"{each:+.3f}" for each in line["payments"])
        return f"stage {line['stage']}, rounds {first} to {last}, is settled: payments {paid}"
    given = ", ".join("out" if each is None else f"{each:.3g}" for each in line["amounts"])
    refused = "".join(f"; client {client} is out: {why}" for client, why in line["refused"].items())
    return f"round {line['round']}: given {given}; gained {sum(line['gains']):+.3f} together{refused}"


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0


def _could_gain(stages: Sequence[Line], client: int) -> str:
    """The certificate of the last stage, for one client."""
    found = stages[-1].get("certificate") if stages else None
    if found is None or found["gains"][client] is None:
        return "-"
    return f"{found['gains'][client]:.4f} +- {found['standard errors'][client]:.4f}"


def _in_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    widths[2:4] = [max(width, 6) for width in widths[2:4]]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
