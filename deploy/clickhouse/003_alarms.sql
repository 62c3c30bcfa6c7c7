-- Alarm episodes: `alarms` holds the last state of each, `alarm_events` every transition.
-- Neither is partitioned: a replacement only works inside one partition, and no time belongs to the key of an episode.
CREATE TABLE IF NOT EXISTS {database}.alarms {cluster}
(
    alarm_id            String,
    rule                LowCardinality(String),
    facility            LowCardinality(String),
    device              LowCardinality(String),
    metric              LowCardinality(String) COMMENT 'empty where the rule is about no single metric',
    level               UInt8 COMMENT '1 gravest to 3',
    state               LowCardinality(String) COMMENT 'active, cleared, retracted',
    raised_at           DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    cleared_at          Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD(1)),
    first_value         Float64 CODEC(ZSTD(1)),
    current_value       Float64 CODEC(ZSTD(1)),
    peak_value          Float64 CODEC(ZSTD(1)),
    peak_at             DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    peak_level          UInt8,
    type                UInt8 COMMENT '0 measured, 1 analysed',
    affected_households UInt32 CODEC(ZSTD(1)),
    affected_area       Float64 CODEC(ZSTD(1)) COMMENT 'm²',
    evidence            String CODEC(ZSTD(3)) COMMENT 'JSON: the readings, flags and rule behind it',
    advice              String CODEC(ZSTD(1)),
    sequence            UInt32 COMMENT 'number of the last transition',
    updated_at          DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    epoch               UInt64 CODEC(Delta, ZSTD(1)),
    written_at          DateTime('UTC') DEFAULT now() CODEC(Delta, ZSTD(1))
)
ENGINE = {replacing}(epoch)
ORDER BY alarm_id
TTL written_at + INTERVAL {retention_years} YEAR
SETTINGS {deduplication};

CREATE TABLE IF NOT EXISTS {database}.alarm_events {cluster}
(
    alarm_id   String,
    sequence   UInt32,
    transition LowCardinality(String) COMMENT 'raised, escalated, de-escalated, updated, cleared, retracted',
    at         DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    level      UInt8,
    value      Float64 CODEC(ZSTD(1)),
    cause      LowCardinality(String),
    epoch      UInt64 CODEC(Delta, ZSTD(1)),
    written_at DateTime('UTC') DEFAULT now() CODEC(Delta, ZSTD(1))
)
ENGINE = {replacing}(epoch)
ORDER BY (alarm_id, sequence)
TTL written_at + INTERVAL {retention_years} YEAR
SETTINGS {deduplication};

CREATE VIEW IF NOT EXISTS {database}.alarms_active {cluster} AS
SELECT * EXCEPT (written_at) FROM {database}.alarms FINAL WHERE state = 'active';
