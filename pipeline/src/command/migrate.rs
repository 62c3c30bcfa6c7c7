//! `migrate`: the topics and the tables.

use crate::config::Config;

/// Creates what is missing and brings the tables up to date; says what it did.
///
/// # Errors
/// When the brokers or the server refuse.
pub fn run(config: &Config) -> anyhow::Result<()> {
    super::runtime()?.block_on(migrate(config))
}

/// As [`run`], from within a runtime.
///
/// # Errors
/// As [`run`].
pub async fn migrate(config: &Config) -> anyhow::Result<()> {
    connectors::publish::ensure_topics(&config.kafka).await?;
    tracing::info!(prefix = config.kafka.prefix, "the topics are there");
    sinks::clickhouse::migrate(&config.clickhouse, |file| {
        let done = if file.now { "applied" } else { "was applied before" };
        tracing::info!("{} {done}", file.name);
    })
    .await?;
    tracing::info!(database = config.clickhouse.database, "the tables are up to date");
    Ok(())
}
