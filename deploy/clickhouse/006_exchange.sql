-- What was delivered to the provincial platform, when, and what it answered; a mirror of the local ledger.
CREATE TABLE IF NOT EXISTS {database}.exchange_ledger {cluster}
(
    table      LowCardinality(String),
    key        String,
    window     DateTime64(3, 'UTC') COMMENT 'start of the window or time of the transition that the record is about',
    attempt    UInt32,
    at         DateTime64(3, 'UTC'),
    outcome    LowCardinality(String) COMMENT 'pending, attempted, delivered, refused, uncertain',
    code       LowCardinality(String) COMMENT 'answer code: 0, 10001 to 10005, or the HTTP status',
    detail     String CODEC(ZSTD(1)),
    sequence   UInt64 COMMENT 'line of the ledger',
    written_at DateTime('UTC') DEFAULT now()
)
ENGINE = {replacing}(sequence)
ORDER BY (table, key, window, sequence)
TTL written_at + INTERVAL {retention_years} YEAR
SETTINGS {deduplication};
