-- Several threshold rules over one side of a metric: each has a name, the first an empty one.
ALTER TABLE {database}.registry_thresholds {cluster}
    ADD COLUMN IF NOT EXISTS rule LowCardinality(String) COMMENT 'tells several rules of one side apart' AFTER side,
    MODIFY ORDER BY (scope, metric, side, rule);
