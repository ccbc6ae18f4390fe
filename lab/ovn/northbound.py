"""Writes a :class:`Northbound` into OVN's northbound database, by difference and in one transaction.

What is already there is left alone, so that a reconcile opens no gap in any ACL. The database belongs to the lab: what
the wanted configuration does not have is removed.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lab.ovn.daemons import Sockets
from lab.ovn.model import Acl, Northbound

Value = str | int | frozenset[str] | Mapping[str, str]
Key = tuple[Hashable, ...]

COLUMNS = {
    "Logical_Switch": ("name",),
    "Logical_Switch_Port": ("name", "type", "addresses", "port_security", "options"),
    "Logical_Router": ("name",),
    "Logical_Router_Port": ("name", "mac", "networks", "peer"),
    "Logical_Router_Static_Route": ("ip_prefix", "nexthop", "policy", "route_table"),
    "Logical_Router_Policy": ("priority", "match", "action", "nexthops"),
    "ACL": ("direction", "priority", "match", "action", "options"),
    "Port_Group": ("name", "ports"),
    "Address_Set": ("name", "addresses"),
}
# Columns that hold the rows belonging to a row, and their table.
OWNED = {
    "Logical_Switch": {"ports": "Logical_Switch_Port", "acls": "ACL"},
    "Logical_Router": {
        "ports": "Logical_Router_Port",
        "static_routes": "Logical_Router_Static_Route",
        "policies": "Logical_Router_Policy",
    },
    "Port_Group": {"acls": "ACL"},
}
NAMED = frozenset({"Logical_Switch_Port", "Logical_Router_Port"})
SETS = frozenset({"addresses", "port_security", "networks", "peer", "policy", "nexthops", "ports"})


@dataclass(frozen=True)
class Row:
    """A row of the database: its columns, and the row that owns it with the owner's column."""

    table: str
    columns: Mapping[str, Value]
    owner: Key | None = None
    column: str = ""

    @property
    def key(self) -> Key:
        """Name for rows that have one; the whole content for the others. Two rows of one key are one row."""
        if self.owner is None:
            return (self.table, self.columns["name"])
        if self.table in NAMED:
            return (self.table, self.owner, self.columns["name"])
        content = (
            value if isinstance(value, Hashable) else frozenset(value.items()) for value in self.columns.values()
        )
        return (self.table, self.owner, *content)


def rows(wanted: Northbound) -> dict[Key, Row]:
    """The database rows of a configuration. A port group's ``ports`` are given by name."""
    return {row.key: row for row in _rows(wanted)}


def _rows(wanted: Northbound) -> Iterator[Row]:
    for switch in wanted.switches:
        owner = Row("Logical_Switch", {"name": switch.name})
        yield owner
        yield from (_acl(acl, owner.key) for acl in switch.acls)
    for port in wanted.switch_ports:
        columns: dict[str, Value] = {
            "name": port.name,
            "type": "router" if port.router_port else "",
            "addresses": frozenset(port.addresses),
            "port_security": frozenset(port.port_security),
            "options": {"router-port": port.router_port} if port.router_port else {},
        }
        yield Row("Logical_Switch_Port", columns, ("Logical_Switch", port.switch), "ports")
    for router in wanted.routers:
        owner = Row("Logical_Router", {"name": router.name})
        yield owner
        for route in router.routes:
            columns = {
                "ip_prefix": route.prefix,
                "nexthop": route.nexthop,
                "policy": frozenset({route.policy}),
                "route_table": route.table,
            }
            yield Row("Logical_Router_Static_Route", columns, owner.key, "static_routes")
        for policy in router.policies:
            columns = {
                "priority": policy.priority,
                "match": policy.match,
                "action": policy.action,
                "nexthops": frozenset(policy.nexthops),
            }
            yield Row("Logical_Router_Policy", columns, owner.key, "policies")
    for link in wanted.router_ports:
        columns = {
            "name": link.name,
            "mac": link.mac,
            "networks": frozenset(link.networks),
            "peer": frozenset({link.peer} if link.peer else ()),
        }
        yield Row("Logical_Router_Port", columns, ("Logical_Router", link.router), "ports")
    for group in wanted.port_groups:
        owner = Row("Port_Group", {"name": group.name, "ports": group.ports})
        yield owner
        yield from (_acl(acl, owner.key) for acl in group.acls)
    for found in wanted.address_sets:
        yield Row("Address_Set", {"name": found.name, "addresses": found.addresses})


def _acl(acl: Acl, owner: Key) -> Row:
    columns: dict[str, Value] = {
        "direction": acl.direction,
        "priority": acl.priority,
        "match": acl.match,
        "action": acl.action,
        "options": {"apply-after-lb": "true"} if acl.after_lb else {},
    }
    return Row("ACL", columns, owner, "acls")


def read(at: Sockets) -> tuple[dict[Key, Row], dict[Key, str]]:
    """The rows in the database, and their ids.

    Raises:
        FabricError: the database does not answer.
    """
    arguments: list[str] = []
    for table, columns in COLUMNS.items():
        wanted = ",".join(("_uuid", *columns, *OWNED.get(table, ())))
        arguments += ["--", f"--columns={wanted}", "list", table]
    lines = at.nbctl("--format=json", *arguments).splitlines()
    tables = {table: _parse(line) for table, line in zip(COLUMNS, lines, strict=True)}
    names = {uuid: str(row["name"]) for uuid, row in tables["Logical_Switch_Port"].items()}
    found: dict[Key, Row] = {}
    ids: dict[Key, str] = {}

    def keep(table: str, uuid: str, owner: Key | None = None, column: str = "") -> None:
        columns = {name: tables[table][uuid][name] for name in COLUMNS[table]}
        if table == "Port_Group":
            columns["ports"] = frozenset(names[port] for port in columns["ports"])
        row = Row(table, columns, owner, column)
        found[row.key], ids[row.key] = row, uuid
        for owned, child in OWNED.get(table, {}).items():
            for each in tables[table][uuid][owned]:
                keep(child, each, row.key, owned)

    for table in ("Logical_Switch", "Logical_Router", "Port_Group", "Address_Set"):
        for uuid in tables[table]:
            keep(table, uuid)
    return found, ids


def _parse(line: str) -> dict[str, dict[str, Any]]:
    """One table in OVSDB's JSON notation (RFC 7047, section 5.1), by row id."""
    document = json.loads(line)
    result: dict[str, dict[str, Any]] = {}
    owned = {column for columns in OWNED.values() for column in columns}
    for data in document["data"]:
        row: dict[str, Any] = {}
        for column, value in zip(document["headings"], data, strict=True):
            kind, inner = value if isinstance(value, list) else ("", value)
            if kind == "map":
                row[column] = dict(inner)
            elif kind == "set" or column in SETS | owned:
                atoms = inner if kind == "set" else [value]
                row[column] = frozenset(atom[1] if isinstance(atom, list) else atom for atom in atoms)
            else:
                row[column] = inner
        result[row.pop("_uuid")] = row
    return result


def apply(at: Sockets, wanted: Northbound, wait: str | None = None) -> int:
    """Make the database hold ``wanted``.

    Args:
        at: the daemons.
        wanted: the configuration.
        wait: ``sb`` to wait for northd, ``hv`` for the switch too.

    Returns:
        How many commands the transaction had, 0 when nothing differed.

    Raises:
        FabricError: OVN refused the transaction; nothing of it was done.
    """
    found, ids = read(at)
    commands = changes(found, ids, rows(wanted))
    if commands:
        arguments = [argument for words in commands for argument in ("--", *words)]
        at.nbctl(*([f"--wait={wait}"] if wait else []), *arguments)
    return len(commands)


def changes(found: Mapping[Key, Row], ids: Mapping[Key, str], wanted: Mapping[Key, Row]) -> list[list[str]]:
    """The ``ovn-nbctl`` commands, of one transaction, that turn the rows found into those wanted."""
    new = [key for key in wanted if key not in found]
    names = {**ids, **{key: f"@new{number}" for number, key in enumerate(new)}}
    ports = {str(row.columns["name"]): names[key] for key, row in wanted.items() if row.table == "Logical_Switch_Port"}

    def settings(row: Row, columns: Iterator[str]) -> list[str]:
        return [f"{column}={_format(column, row, ports)}" for column in columns]

    commands = []
    for key, row in found.items():
        if key in wanted:
            continue
        if row.owner is None:
            commands.append(["destroy", row.table, ids[key]])
        elif row.owner in wanted:
            commands.append(["remove", str(row.owner[0]), ids[row.owner], row.column, ids[key]])
    owned: dict[Key, dict[str, list[str]]] = {}
    for key in new:
        row = wanted[key]
        if row.owner is not None:
            owned.setdefault(row.owner, {}).setdefault(row.column, []).append(names[key])
    for key in new:
        row = wanted[key]
        own = [f"{column}=[{','.join(each)}]" for column, each in owned.get(key, {}).items()]
        commands.append([f"--id={names[key]}", "create", row.table, *settings(row, iter(row.columns)), *own])
    for owner in owned.keys() & found.keys():
        for column, each in owned[owner].items():
            commands.append(["add", str(owner[0]), ids[owner], column, *each])
    for key in wanted.keys() & found.keys():
        row = wanted[key]
        differing = (column for column in row.columns if row.columns[column] != found[key].columns[column])
        if words := settings(row, differing):
            commands.append(["set", row.table, ids[key], *words])
    return commands


def _format(column: str, row: Row, ports: Mapping[str, str]) -> str:
    """A column's value in the notation of ``ovn-nbctl``'s database commands."""
    value = row.columns[column]
    if isinstance(value, frozenset):
        if row.table == "Port_Group":
            return "[" + ",".join(ports[name] for name in sorted(value)) + "]"
        return "[" + ",".join(json.dumps(item) for item in sorted(value)) + "]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{json.dumps(k)}={json.dumps(v)}" for k, v in sorted(value.items())) + "}"
    return json.dumps(value)
