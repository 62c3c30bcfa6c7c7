-- Trusted readings: a revision is a row with the same key and a higher epoch.
-- Retention counts from the load (`written_at`), so that a replayed history is not deleted as soon as it is loaded.
CREATE TABLE IF NOT EXISTS {database}.readings {cluster}
(
    facility    LowCardinality(String),
    device      LowCardinality(String),
    metric      LowCardinality(String),
    observed_at DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    received_at DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    value       Float64 CODEC(Gorilla, ZSTD(1)),
    flag        UInt8 CODEC(ZSTD(1)) COMMENT 'QARTOD: 1 good, 2 not evaluated, 3 suspect, 4 fail, 9 missing',
    failed      Array(LowCardinality(String)) CODEC(ZSTD(1)) COMMENT 'quality tests that did not pass',
    epoch       UInt64 CODEC(Delta, ZSTD(1)),
    written_at  DateTime('UTC') DEFAULT now() CODEC(Delta, ZSTD(1))
)
ENGINE = {replacing}(epoch)
PARTITION BY toYYYYMM(observed_at)
ORDER BY (facility, device, metric, observed_at)
TTL written_at + INTERVAL {retention_years} YEAR
SETTINGS {deduplication}, ttl_only_drop_parts = 0;
