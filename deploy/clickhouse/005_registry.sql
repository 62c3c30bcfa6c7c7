-- The registry, for joins. Read with FINAL: removed entries then disappear.
CREATE TABLE IF NOT EXISTS {database}.registry_districts {cluster}
(
    code       String,
    name       String,
    parent     String COMMENT 'empty for a city',
    removed    UInt8,
    epoch      UInt64
)
ENGINE = {replacing}(epoch, removed)
ORDER BY code
SETTINGS {deduplication};

CREATE TABLE IF NOT EXISTS {database}.registry_enterprises {cluster}
(
    code       String,
    name       String,
    removed    UInt8,
    epoch      UInt64
)
ENGINE = {replacing}(epoch, removed)
ORDER BY code
SETTINGS {deduplication};

CREATE TABLE IF NOT EXISTS {database}.registry_facilities {cluster}
(
    code        String,
    kind        LowCardinality(String),
    name        String,
    parent      String,
    enterprise  LowCardinality(String),
    district    LowCardinality(String),
    longitude   Nullable(Float64) COMMENT 'degrees east, WGS-84',
    latitude    Nullable(Float64) COMMENT 'degrees north, WGS-84',
    heated_area Nullable(Float64) COMMENT 'm²',
    attributes  Map(String, String),
    removed     UInt8,
    epoch       UInt64
)
ENGINE = {replacing}(epoch, removed)
ORDER BY code
SETTINGS {deduplication};

CREATE TABLE IF NOT EXISTS {database}.registry_devices {cluster}
(
    code       String,
    facility   String,
    type       LowCardinality(String),
    model      LowCardinality(String),
    maker      LowCardinality(String),
    installed  String,
    attributes Map(String, String),
    removed    UInt8,
    epoch      UInt64
)
ENGINE = {replacing}(epoch, removed)
ORDER BY code
SETTINGS {deduplication};

CREATE TABLE IF NOT EXISTS {database}.registry_thresholds {cluster}
(
    scope      String COMMENT 'device, facility, device type or facility kind',
    metric     LowCardinality(String),
    side       LowCardinality(String) COMMENT 'high, low',
    level1     Nullable(Float64) COMMENT 'the gravest',
    level2     Nullable(Float64),
    level3     Nullable(Float64),
    deadband   Float64,
    on_delay   UInt32 COMMENT 's',
    off_delay  UInt32 COMMENT 's',
    enabled    UInt8,
    advice     String,
    removed    UInt8,
    epoch      UInt64
)
ENGINE = {replacing}(epoch, removed)
ORDER BY (scope, metric, side)
SETTINGS {deduplication};
