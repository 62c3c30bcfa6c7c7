-- The record that brought a revision or a transition about: topic/partition/offset, empty where it was none.
ALTER TABLE {database}.kpis {cluster}
    ADD COLUMN IF NOT EXISTS caused_by String CODEC(ZSTD(1)) COMMENT 'the record behind late, redriven, corrected and registry: topic/partition/offset' AFTER cause;

ALTER TABLE {database}.kpis {cluster}
    COMMENT COLUMN cause 'live, closed, late, redriven, corrected, registry';

ALTER TABLE {database}.alarm_events {cluster}
    ADD COLUMN IF NOT EXISTS caused_by String CODEC(ZSTD(1)) COMMENT 'the record that brought it about: topic/partition/offset' AFTER cause;
