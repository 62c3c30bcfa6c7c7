-- Readings that came after their windows had closed: in the window in which they arrived.
ALTER TABLE {database}.quality {cluster}
    ADD COLUMN IF NOT EXISTS beyond_revision UInt64 CODEC(T64, ZSTD(1)) COMMENT 'readings that arrived in the window and revise nothing: their own was closed' AFTER score;
