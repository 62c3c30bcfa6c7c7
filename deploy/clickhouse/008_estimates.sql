-- What models expected of an object in an hour, and what they found: a revision is a row with the same key and a higher epoch.
CREATE TABLE IF NOT EXISTS {database}.estimates {cluster}
(
    model        LowCardinality(String) COMMENT 'energy_signature',
    facility     LowCardinality(String),
    device       LowCardinality(String) COMMENT 'empty when the object is the facility itself',
    hour         DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'start of the hour',
    expected     Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'in unit; NULL when the model cannot tell',
    actual       Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'in unit; NULL when nothing was measured',
    unit         LowCardinality(String),
    state        LowCardinality(String) COMMENT 'of the energy signature: normal, under, over, stopped, intermittent, set_back, idle, unknown',
    reason       LowCardinality(String) COMMENT 'why nothing can be said, or why nothing is expected',
    confidence   Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'how far the expectation can be trusted, 0 to 1',
    method       UInt32 CODEC(ZSTD(1)) COMMENT 'version of method and settings',
    learnt       UInt32 CODEC(ZSTD(1)) COMMENT 'version of what was learnt of the object; 0 before anything was',
    parameters   String CODEC(ZSTD(1)) COMMENT 'what was learnt, as JSON',
    epoch        UInt64 CODEC(Delta, ZSTD(1)),
    written_at   DateTime('UTC') DEFAULT now() CODEC(Delta, ZSTD(1))
)
ENGINE = {replacing}(epoch)
PARTITION BY toYYYYMM(hour)
ORDER BY (model, facility, device, hour)
TTL written_at + INTERVAL {retention_years} YEAR
SETTINGS {deduplication};
