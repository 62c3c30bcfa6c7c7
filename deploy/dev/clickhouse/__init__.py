"""ClickHouse for development: the engine (chDB) behind ClickHouse's own HTTP interface.

`python -m clickhouse --path DIR --port N` serves what a ClickHouse server serves on port 8123, as far as the product and
its tests need it, so that a real server is a change of URL. README.md lists what is spoken and what is not.
"""
