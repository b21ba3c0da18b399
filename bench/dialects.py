"""What the engines write differently of the SQL that is written by hand: `HERE` is the connected engine's.

One place for the measurements and for tests/many.py, which fills tables with many rows.
"""

from dataclasses import dataclass

from django.db import connection


@dataclass(frozen=True)
class Dialect:
    """Pieces of SQL: for statements with named parameters, unless they are said to be for those without."""

    learners: str
    """A relation `new(k, a, u)` of keys, addresses and uuids: `%(keys)s`, `%(addresses)s` and `%(uuids)s`, or
    the JSON of their triples, `%(json)s`."""
    uuid: str
    later: str
    """`%(now)s` and as many seconds more as `{}` says."""
    ignoring: str
    """What begins an insert that leaves out rows which are there."""
    ignored: str
    """What ends it."""
    locks: str
    skips: str
    numbers: str
    """A relation `numbers(number)`, from one number to another."""
    sha256: str
    moment: str
    """So many days and seconds from now, for statements without parameters."""
    joined: str = "('link:' || {})"
    """What a link's action is stored with."""
    address: str = "'learner-' || number || '@many.example'"
    """The address of a learner by `number`."""
    least: str = "least"

    @property
    def takes_json(self) -> bool:
        return "%(json)s" in self.learners


_DIALECTS = {
    "postgresql": Dialect(
        learners="unnest(%(keys)s::text[], %(addresses)s::text[], %(uuids)s::uuid[]) AS new(k, a, u)",
        uuid="gen_random_uuid()",
        later="%(now)s::timestamptz + ({}) * interval '1 second'",
        ignoring="INSERT INTO",
        ignored="ON CONFLICT DO NOTHING",
        locks="FOR NO KEY UPDATE",
        skips="FOR NO KEY UPDATE SKIP LOCKED",
        numbers="generate_series({}, {}) numbers(number)",
        sha256="encode(sha256(({})::bytea), 'hex')",
        moment="now() + ({}) * interval '1 day' + ({}) * interval '1 second'",
    ),
    "sqlite": Dialect(
        learners="(SELECT json_extract(value, '$[0]') AS k, json_extract(value, '$[1]') AS a,"
        " json_extract(value, '$[2]') AS u FROM json_each(%(json)s)) AS new",
        uuid="lower(hex(randomblob(16)))",
        later="strftime('%%Y-%%m-%%d %%H:%%M:%%f', %(now)s, '+' || ({}) || ' seconds')",
        ignoring="INSERT OR IGNORE INTO",
        ignored="",
        locks="",
        skips="",
        numbers="(WITH RECURSIVE n(number) AS (SELECT {} UNION ALL"
        " SELECT number + 1 FROM n WHERE number < {}) SELECT number FROM n) numbers",
        sha256="SHA256({})",  # Django's
        moment="strftime('%Y-%m-%d %H:%M:%f', 'now', ({}) || ' days', ({}) || ' seconds')",
        least="min",
    ),
    "mysql": Dialect(
        learners="JSON_TABLE(%(json)s, '$[*]' COLUMNS (k VARCHAR(64) PATH '$[0]', a VARCHAR(254) PATH '$[1]',"
        " u VARCHAR(36) PATH '$[2]')) AS new",
        uuid="UUID()",
        later="TIMESTAMPADD(SECOND, {}, CAST(%(now)s AS DATETIME(6)))",
        ignoring="INSERT IGNORE INTO",
        ignored="",
        joined="CONCAT('link:', {})",
        locks="FOR UPDATE",
        skips="FOR UPDATE SKIP LOCKED",
        numbers="(SELECT CAST(seq AS SIGNED) AS number FROM seq_{}_to_{}) numbers",  # MariaDB's
        address="CONCAT('learner-', number, '@many.example')",
        sha256="SHA2({}, 256)",
        moment="NOW(6) + INTERVAL ({}) DAY + INTERVAL ({}) SECOND",
    ),
}

HERE = _DIALECTS[connection.vendor]
