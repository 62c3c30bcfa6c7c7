-- Which rejects were redriven and taken: a copy of the notes on the topic `rejects.redriven`, by the key of `rejects`.
CREATE TABLE IF NOT EXISTS {database}.rejects_redriven {cluster}
(
    at          DateTime64(3, 'UTC'),
    reason      LowCardinality(String),
    origin      String,
    epoch       UInt64,
    row         UInt64,
    redriven_at DateTime64(3, 'UTC')
)
ENGINE = {replacing}(redriven_at)
ORDER BY (at, reason, origin, epoch, row)
TTL toDateTime(redriven_at) + INTERVAL {retention_years} YEAR
SETTINGS {deduplication};
