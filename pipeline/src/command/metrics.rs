//! `/metrics` of a process that has no HTTP connector, where `telemetry.listen` says.

use anyhow::Context;
use axum::{Router, routing::get};
use tokio::net::TcpListener;

use crate::telemetry;

/// Serves the metrics until the runtime ends.
///
/// # Errors
/// When the address cannot be listened on.
pub fn serve(listen: &str, runtime: &tokio::runtime::Runtime) -> anyhow::Result<()> {
    let bound = runtime.block_on(TcpListener::bind(listen));
    let listener = bound.with_context(|| format!("telemetry.listen {listen}"))?;
    let router = Router::new().route("/metrics", get(async || telemetry::metrics_text()));
    tracing::info!(address = listen, "the metrics are served");
    runtime.spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the metrics are not served any more");
        }
    });
    Ok(())
}
