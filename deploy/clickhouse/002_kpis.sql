-- KPI states and data-quality figures: a revision is a row with the same key and a higher epoch.
CREATE TABLE IF NOT EXISTS {database}.kpis {cluster}
(
    kpi          LowCardinality(String),
    scope_kind   LowCardinality(String) COMMENT 'facility, building, community, station, source, enterprise, district, city, device_type',
    scope        LowCardinality(String),
    period       LowCardinality(String) COMMENT 'hour, day, month, season',
    window_start DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)),
    value        Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'in the unit of the KPI; NULL when nothing was measured',
    previous     Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'the value before this revision',
    coverage     Float32 CODEC(ZSTD(1)) COMMENT 'share of the expected data behind it, 0 to 1',
    cause        LowCardinality(String) COMMENT 'live, closed, late, corrected, registry',
    epoch        UInt64 CODEC(Delta, ZSTD(1)),
    written_at   DateTime('UTC') DEFAULT now() CODEC(Delta, ZSTD(1))
)
ENGINE = {replacing}(epoch)
PARTITION BY toYYYYMM(window_start)
ORDER BY (kpi, scope_kind, scope, period, window_start)
TTL written_at + INTERVAL {retention_years} YEAR
SETTINGS {deduplication};

CREATE TABLE IF NOT EXISTS {database}.quality {cluster}
(
    scope_kind   LowCardinality(String),
    scope        LowCardinality(String),
    period       LowCardinality(String) COMMENT 'hour, day, month, season',
    window_start DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)),
    completeness Float32 CODEC(ZSTD(1)),
    timeliness   Float32 CODEC(ZSTD(1)),
    validity     Float32 CODEC(ZSTD(1)),
    consistency  Float32 CODEC(ZSTD(1)),
    uniqueness   Float32 CODEC(ZSTD(1)),
    score        Float32 CODEC(ZSTD(1)) COMMENT 'weighted mean of the five',
    epoch        UInt64 CODEC(Delta, ZSTD(1)),
    written_at   DateTime('UTC') DEFAULT now() CODEC(Delta, ZSTD(1))
)
ENGINE = {replacing}(epoch)
PARTITION BY toYYYYMM(window_start)
ORDER BY (scope_kind, scope, period, window_start)
TTL written_at + INTERVAL {retention_years} YEAR
SETTINGS {deduplication};
