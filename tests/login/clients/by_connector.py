"""MySQL's connector for Python: it knows several factors."""

import mysql.connector


class Connection:
    def __init__(self, cell, user, passwords):
        arguments = {"user": user, "database": "p", "use_pure": True, "connection_timeout": 60}
        arguments |= by_number(passwords)
        if "socket" in cell:
            # It takes a Unix socket for no more secure than any other.
            arguments |= {"unix_socket": cell["socket"], "ssl_disabled": True}
        else:
            arguments |= {"host": cell["host"], "port": cell["port"]}
        if cell["tls"]:
            versions = ["TLSv" + cell["tls"]]
            arguments |= {"ssl_ca": cell["ca"], "tls_versions": versions}
            arguments |= {"ssl_verify_cert": True, "ssl_verify_identity": True}
        else:
            arguments["ssl_disabled"] = True
        self.connection = mysql.connector.connect(**arguments)

    def tls(self):
        return self.connection._socket.sock.version().removeprefix("TLSv")

    def one(self, sql):
        cursor = self.connection.cursor()
        try:
            cursor.execute(sql)
            return cursor.fetchone() if cursor.with_rows else None
        finally:
            cursor.close()

    def change_user(self, user, passwords):
        self.connection.cmd_change_user(user, database="p", **by_number(passwords))

    def close(self):
        self.connection.close()


def by_number(passwords):
    named = {f"password{number}": password for number, password in enumerate(passwords, 1)}
    return {"password": passwords[0]} | named
