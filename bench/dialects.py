"""What the engines write differently of the SQL that is written by hand: `HERE` is the connected engine's."""

from dataclasses import dataclass

from django.db import connection


@dataclass(frozen=True)
class Dialect:
    """Pieces of SQL, for statements with named parameters."""

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
    joined: str = "('link:' || {})"
    """What a link's action is stored with."""
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
    ),
}

HERE = _DIALECTS[connection.vendor]
