//! `/metrics`, `/healthz` and `/readyz` of a process that has no HTTP connector, where `telemetry.listen` says.

use std::{future::pending, sync::Arc};

use anyhow::Context;
use axum::{Router, http::StatusCode, routing::get};
use connectors::http::Door;
use tokio::net::TcpListener;

use crate::{control::Control, telemetry};

/// Serves the metrics until the runtime ends.
///
/// # Errors
/// When the address cannot be listened on.
pub fn serve(listen: &str, runtime: &tokio::runtime::Runtime, control: Arc<Control>) -> anyhow::Result<()> {
    let bound = runtime.block_on(TcpListener::bind(listen));
    let listener = bound.with_context(|| format!("telemetry.listen {listen}"))?;
    let ready = async move || match control.held() {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    };
    let router = Router::new()
        .route("/metrics", get(async || telemetry::metrics_text()))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready));
    tracing::info!(address = listen, "the metrics are served");
    runtime.spawn(Door::small("metrics").serve(listener, router, pending()));
    Ok(())
}
