-- Records that could not be used. `row` tells equal records of one epoch apart: bucket × 2^32 + place in the block.
CREATE TABLE IF NOT EXISTS {database}.rejects {cluster}
(
    at         DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    origin     String CODEC(ZSTD(1)),
    reason     LowCardinality(String),
    detail     String CODEC(ZSTD(1)),
    raw        String CODEC(ZSTD(3)) COMMENT 'the bytes as received',
    stage      LowCardinality(String) COMMENT 'connector, dataflow, sink',
    readings   UInt32 COMMENT 'readings it stands for; 0 when they cannot be counted',
    epoch      UInt64 CODEC(Delta, ZSTD(1)),
    row        UInt64 CODEC(Delta, ZSTD(1)),
    written_at DateTime('UTC') DEFAULT now() CODEC(Delta, ZSTD(1))
)
ENGINE = {replacing}(epoch)
PARTITION BY toYYYYMM(at)
ORDER BY (at, reason, origin, epoch, row)
TTL written_at + INTERVAL {retention_years} YEAR
SETTINGS {deduplication};
