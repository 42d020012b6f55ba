"""Logs in to every cell of a matrix, and goes on with every session when told to.

Argument: the client, a module in `clients`. Standard input: one JSON object a line. The first is
the list of cells; each later line is a step, and what it holds is ignored. Standard output: for
each step one JSON object, cell -> "ok" or what went wrong. A step logs in where there is no session
yet (the first), else it uses the sessions, and logs in to each cell once more beside them.

A cell: name, host or socket, port, user, passwords (of all factors), tls (null, "1.2" or "1.3"),
ca, compress, question (bytes of the longest statement), server_tls (whether the server must see
TLS), change (a user and passwords for COM_CHANGE_USER, or null), forbidden (another user and
passwords, and words of the error that such a change must get, or null), refused (words of the error
that the log-in must get, or null), before (a statement to be said first, by the administrator: its
user and passwords are `admin`).
"""

import importlib
import json
import os
import sys
import traceback

# The client has the standard streams for itself.
commands = os.fdopen(os.dup(0))
outcomes = os.fdopen(os.dup(1), "w")
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "clients"))
Connection = importlib.import_module(sys.argv[1]).Connection


def expect(what, found, expected):
    if found != expected:
        raise AssertionError(f"{what}: {found!r}, expected {expected!r}")


def begin(cell):
    if cell["before"]:
        admin = Connection(cell | {"tls": None}, *cell["admin"])
        admin.one(cell["before"])
        admin.close()
    connection = Connection(cell, cell["user"], cell["passwords"])
    if cell["tls"]:
        expect("client TLS", connection.tls(), cell["tls"])
    connection.one("SET @kept = 'x'")
    return connection


def use(cell, connection, user):
    expect("user", connection.one("SELECT SUBSTRING_INDEX(USER(), '@', 1)")[0], user)
    expect("variable", connection.one("SELECT @kept")[0], "x")
    cipher = connection.one("SHOW STATUS LIKE 'Ssl_cipher'")
    if cipher is not None:
        expect("server TLS", cipher[1] != "", cell["server_tls"])
    expect("a long answer", connection.one("SELECT REPEAT('y', 300000)")[0], "y" * 300000)
    length = cell["question"]
    found = connection.one(f"SELECT CONCAT(LENGTH('{'z' * length}'))")[0]
    expect("a long question", found, str(length))


def be_refused(words, what, *arguments):
    try:
        what(*arguments)
    except Exception as error:  # each client has its own
        expect("the refusal", words in str(error) or str(error), True)
    else:
        raise AssertionError("it was let in")


def step(cell, sessions):
    if cell["refused"]:
        return be_refused(cell["refused"], begin, cell)
    name = cell["name"]
    user = cell["user"]
    if name in sessions:
        connection, user = sessions[name]
        use(cell, connection, user)
        if cell["change"]:
            user, passwords = cell["change"]
            connection.change_user(user, passwords)
            connection.one("SET @kept = 'x'")
            use(cell, connection, user)
            if cell["forbidden"]:
                user, passwords, words = cell["forbidden"]
                be_refused(words, connection.change_user, user, passwords)
            connection.close()
            del sessions[name]
    connection = begin(cell)
    use(cell, connection, cell["user"])
    if name in sessions:
        connection.close()
    else:
        sessions[name] = (connection, cell["user"])


def main():
    cells = json.loads(commands.readline())
    sessions = {}
    for _ in commands:
        outcome = {}
        for cell in cells:
            try:
                step(cell, sessions)
                outcome[cell["name"]] = "ok"
            except Exception as error:  # whatever it is, it is this cell's
                where = traceback.extract_tb(error.__traceback__)[-1]
                outcome[cell["name"]] = f"{where.name}:{where.lineno} {error!r}"
        print(json.dumps(outcome), file=outcomes, flush=True)


main()
